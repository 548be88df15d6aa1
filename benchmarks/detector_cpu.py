"""CPU milliseconds of one detection, on one thread: `detector_cpu.py veil` or `detector_cpu.py deface`, each in its environment.

Prints a line per frame size and setting: the least of several runs. Run both in turn several times and compare within a turn.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

FRAME_SIZES = ((640, 360), (1280, 720), (1920, 1080))
RUNS = 8


def frame_of_faces(folder: Path, size: tuple[int, int]) -> np.ndarray:
    """Sixteen faces in two rows over a grey ramp."""
    width, height = size
    frame = np.tile(np.linspace(60, 200, width, dtype=np.uint8)[None, :, None], (height, 1, 3))
    side = width // 10
    for index, path in enumerate(sorted(folder.glob("*.jpg"))[:16]):
        x, y = (index % 8) * width // 8 + side // 8, (index // 8) * height // 2 + side // 2
        frame[y : y + side, x : x + side] = cv2.resize(cv2.imread(str(path)), (side, side), interpolation=cv2.INTER_AREA)[
            :, :, ::-1
        ]
    return frame


def veil_settings() -> dict[str, Callable[[np.ndarray], object]]:
    from models.detectors import image_render, open_detector

    default, full = open_detector("centerface", "default"), open_detector("centerface", "full")

    def settings(detector, effort):
        return lambda frame: detector.detect(image_render(frame), (frame.shape[1], frame.shape[0]), effort=effort)

    detectors = {"default": default, "full": full}
    return {
        f"veil {size}, {effort}": settings(detector, effort)
        for size, detector in detectors.items()
        for effort in ("quick", "careful", "thorough")
    }


def deface_settings() -> dict[str, Callable[[np.ndarray], object]]:
    import onnxruntime
    from deface.centerface import CenterFace

    session = onnxruntime.InferenceSession

    def on_one_thread(*args, **kwargs):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return session(*args, sess_options=options, **kwargs)

    onnxruntime.InferenceSession = on_one_thread
    small, full = CenterFace(in_shape=(640, 360), backend="onnxrt"), CenterFace(backend="onnxrt")
    return {
        "deface 640x360": lambda frame: small(frame, threshold=0.2),
        "deface full": lambda frame: full(frame, threshold=0.2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=("veil", "deface"))
    parser.add_argument("--faces", type=Path, default=Path(__file__).parents[1] / "streamer" / "demo_faces")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    settings = veil_settings() if arguments.program == "veil" else deface_settings()
    for size in FRAME_SIZES:
        frame = frame_of_faces(arguments.faces, size)
        for name, detect in settings.items():
            spent = []
            for _ in range(RUNS):
                start = time.process_time()
                detect(frame)
                spent.append(time.process_time() - start)
            print(f"{size[0]}x{size[1]} | {name} | {1000 * min(spent):.1f}", flush=True)


if __name__ == "__main__":
    main()

"""CPU milliseconds of painting faces, on one thread.

    python benchmarks/painting.py frames      hiding 1 to 20 faces of one frame of 1280x720, with `gan` and with `heavy-blur`
    python benchmarks/painting.py networks    the generator that ships against the paper's, at 64 and at 128 pixels (needs torch)

Everything in a table is measured in turn, round by round; the least of all rounds counts.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from models.backends.cpu import CpuBackend
from models.weights import PRETRAINED, read_weights
from streamer.config import FilterSettings
from streamer.hiding import Hider, KnownFaces
from streamer.pictures import PictureLayout
from streamer.process import keep_freed_memory

SIZE = (1280, 720)
FACE_PX = (84, 110)
COUNTS = (1, 2, 5, 10, 20)
PLACES = ((0.5, 0.6), (0.68, 0.4), (0.32, 0.4), (0.95, 0.45), (0.05, 0.45), (1.2, 1.3), (-0.2, 1.3))


def least_ms(runs: Mapping[str, Callable[[], object]], *, rounds: int, seconds: float) -> dict[str, float]:
    """CPU milliseconds of each, all of them in every round."""
    least = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            started_s, calls = time.process_time(), 0
            while time.process_time() - started_s < seconds:
                run()
                calls += 1
            least[name] = min(least[name], (time.process_time() - started_s) / calls * 1e3)
    return least


def hide_faces(name: str, count: int) -> Callable[[], object]:
    """Hides this many faces of a frame of noise, the next frame with each call."""
    layout = PictureLayout(width=SIZE[0], height=SIZE[1], pixel_format="yuv420p")
    rng = np.random.default_rng(0)
    raws = [[rng.integers(16, 235, shape, dtype=np.uint8) for shape in layout.plane_shapes] for _ in range(4)]
    safe = [np.zeros(shape, np.uint8) for shape in layout.plane_shapes]
    corners = np.array([(20 + 124 * (row % 10), 120 + 240 * (row // 10)) for row in range(count)], np.float32)
    boxes = np.concatenate((corners, corners + FACE_PX), axis=1)
    keypoints = corners[:, None] + np.array(PLACES, np.float32) * np.array(FACE_PX, np.float32)
    hider = Hider(FilterSettings(name=name), layout, backend="cpu")
    shown = 0

    def hide() -> None:
        nonlocal shown
        shown += 1
        known = KnownFaces(
            time_s=shown / 25,
            tracks=np.arange(count),
            best_scores=np.ones(count, np.float32),
            keypoints=keypoints,
            keypoint_scores=np.ones((count, 7), np.float32),
        )
        assert not hider.hide(raws[shown % 4], safe, boxes, known)

    return hide


def measure_frames() -> None:
    runs = {f"{name} {count}": hide_faces(name, count) for name in ("gan", "heavy-blur") for count in COUNTS}
    least = least_ms(runs, rounds=4, seconds=0.6)
    print("| faces | gan, ms a frame | a face | heavy-blur, ms a frame |\n|---|---|---|---|")
    for count in COUNTS:
        gan = least[f"gan {count}"]
        print(f"| {count} | {gan:.1f} | {gan / count:.1f} | {least[f'heavy-blur {count}']:.1f} |")


SHIPPED = "shipped, 128 pixels"


def paint_noise(network: bytes, resolution: int, *, has_mask: bool) -> Callable[[], object]:
    backend = CpuBackend(network, threads=1)
    inputs = [
        np.zeros((1, 3, resolution, resolution), np.float32),
        np.full((1, 14), 0.5, np.float32),
        np.zeros((1, 32, 4, 4), np.float32),
    ] + [np.ones((1, 1, resolution, resolution), np.float32)] * has_mask
    return lambda: backend.run(inputs)


def measure_networks() -> None:
    from models.generator import Generator, paper_architecture
    from models.generator_export import export_onnx
    from models.generator_weights import Provenance, load_generator

    runs = {SHIPPED: paint_noise(read_weights("generator.onnx"), 128, has_mask=True)}
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "alone.onnx"
        export_onnx(alone, *load_generator(PRETRAINED / "generator.safetensors"))
        runs["the same without its refiner, 64 pixels"] = paint_noise(alone.read_bytes(), 64, has_mask=True)
        for channels, millions in ((256, 12), (512, 46)):
            for resolution in (64, 128):
                path = Path(folder) / "paper.onnx"
                network = Generator(paper_architecture(channels).at(resolution))
                export_onnx(path, network, Provenance(training_data="none", terms="none", images_seen=0))
                runs[f"the paper's {millions} million, {resolution} pixels"] = paint_noise(
                    path.read_bytes(), resolution, has_mask=False
                )
    least = least_ms(runs, rounds=3, seconds=1.0)
    ours = least[SHIPPED]
    print("| generator | ms a face | times the shipped one |\n|---|---|---|")
    for name, ms in least.items():
        print(f"| {name} | {ms:.1f} | {ms / ours:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["frames", "networks"])
    cv2.setNumThreads(1)
    keep_freed_memory()
    {"frames": measure_frames, "networks": measure_networks}[parser.parse_args().what]()


if __name__ == "__main__":
    main()

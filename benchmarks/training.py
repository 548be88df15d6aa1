"""How many images a second a configuration trains with at each of its resolutions, on this machine.

    python benchmarks/training.py configs/train-default.yaml [--precision bfloat16] [--threads 1] [--seconds 20] [--faces FOLDER]

Reading and varying pictures, both steps, and the running average are part of the time; checkpoints and samples are not. Without
--faces, pictures are those of the demo, enlarged to 128 pixels. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import csv
import platform
import tempfile
import time
from pathlib import Path

import cv2
import msgspec
import torch
from loguru import logger

from models.faces import KEYPOINT_NAMES
from trainer.config import DataSettings, Settings, TrainSettings, load_config
from trainer.loop import Run
from trainer.pictures import read_picture
from trainer.schedule import Phase, stage_at

DEMO_FACES = Path(__file__).parents[1] / "streamer" / "demo_faces"
PICTURE_PIXELS = 128
BOX = {"x0": 0.26, "y0": 0.22, "x1": 0.74, "y1": 0.84}
WARM_UP_STEPS = 2


def write_demo_set(folder: Path) -> None:
    """A labels data set of the demo's faces; where their keypoints lie does not matter here."""
    rows: list[dict[str, object]] = []
    for path in sorted(DEMO_FACES.glob("*.jpg")):
        picture = cv2.resize(read_picture(path), (PICTURE_PIXELS, PICTURE_PIXELS), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / path.name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        row: dict[str, object] = {"path": path.name, "group": path.stem, "score": 0.9, **BOX}
        for name in KEYPOINT_NAMES:
            row |= {f"{name}_x": 0.5, f"{name}_y": 0.5, f"{name}_s": 0.9}
        rows.append(row)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def changed(settings: TrainSettings, group: str, **values: object) -> TrainSettings:
    """Settings with some of a group's values replaced."""
    part: Settings = msgspec.structs.replace(getattr(settings, group), **values)
    return msgspec.structs.replace(settings, **{group: part})


def images_per_second(settings: TrainSettings, phase: Phase, folder: Path, seconds: float) -> float:
    """Train at one resolution, faded in, for about so many seconds; counts whole turns of the lazy penalty."""
    alone = Phase(resolution=phase.resolution, batch=phase.batch)
    settings = changed(msgspec.structs.replace(settings, phases=(alone,)), "run", initial_weights=None)
    run = Run(settings, folder / str(phase.resolution))
    stage = stage_at(settings.phases, 0)

    def steps(count: int) -> float:
        began_s = time.perf_counter()
        for _ in range(count):
            run._step(stage)
            run.images_seen += stage.batch
        if run.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began_s

    steps(WARM_UP_STEPS)
    turn = settings.loss.penalty_every
    turns, spent_s = 0, 0.0
    while spent_s < seconds:
        spent_s += steps(turn)
        turns += 1
    return turns * turn * stage.batch / spent_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), help="instead of the configuration's")
    parser.add_argument("--threads", type=int, help="CPU threads instead of the configuration's; 0 leaves the choice to torch")
    parser.add_argument("--seconds", type=float, default=20.0, help="at least so long for each resolution")
    parser.add_argument("--faces", type=Path, help="data set of the configuration's kind; default: the demo's faces")
    arguments = parser.parse_args()
    logger.remove()
    settings = load_config(arguments.config)
    if arguments.precision is not None:
        settings = changed(settings, "run", precision=arguments.precision)
    if arguments.threads is not None:
        settings = changed(settings, "run", threads=arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.faces is None:
            write_demo_set(folder)
            # The published kind needs its own layout; the demo's faces are a labels folder.
            data = DataSettings(kind="labels", root=name, validation_share=0.0, loader_threads=settings.data.loader_threads)
            settings = msgspec.structs.replace(settings, data=data)
        else:
            settings = changed(settings, "data", root=str(arguments.faces))
        where = torch.cuda.get_device_name() if torch.cuda.is_available() and settings.run.device != "cpu" else platform.processor()
        print(f"{arguments.config.name}, {settings.run.precision}, {where or platform.machine()}, torch {torch.__version__}\n")
        print("| pixels | batch | images/s |\n|---|---|---|")
        for phase in settings.phases:
            speed = images_per_second(settings, phase, folder, arguments.seconds)
            print(f"| {phase.resolution} | {phase.batch} | {speed:.1f} |", flush=True)
    if not torch.cuda.is_available():
        print(f"\n{torch.get_num_threads()} CPU threads")


if __name__ == "__main__":
    main()

"""How many faces of each width are found in a large photo, and how long that takes.

    python benchmarks/photos.py [--size 6000x4000] [--detector-size default] [--widths 12 16 20 30 60 90]

Sixteen faces of nobody in random places of a soft background, looked at as the command does. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import msgspec
import numpy as np

from models.detectors import RgbImage, image_render
from models.faces import Boxes
from streamer.config import DetectorSettings
from streamer.workers.image import ImageWorker
from trainer.detection_metrics import box_overlaps

FACES = sorted((Path(__file__).parents[1] / "streamer" / "demo_faces").glob("*.jpg"))
BOX = np.array([0.2, 0.15, 0.8, 0.92])
"""Of the face in each of these pictures, in parts of its side."""
LEAST_OVERLAP = 0.4
GRID = 4


def scattered(face_width: float, width: int, height: int, random: np.random.Generator) -> tuple[RgbImage, Boxes]:
    """A photo with a face in a random place of each part of a grid, and where they are."""
    coarse = random.integers(60, 200, (height // 8, width // 8, 3)).astype(np.uint8)
    photo = np.asarray(cv2.resize(cv2.GaussianBlur(coarse, (0, 0), 3), (width, height)), np.uint8)
    side = round(face_width / (BOX[2] - BOX[0]))
    boxes = []
    for index in range(GRID * GRID):
        x = index % GRID * width // GRID + int(random.integers(0, width // GRID - side))
        y = index // GRID * height // GRID + int(random.integers(0, height // GRID - side))
        face = cv2.cvtColor(cv2.imread(str(FACES[index % len(FACES)])), cv2.COLOR_BGR2RGB)
        photo[y : y + side, x : x + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
        boxes.append(BOX * side + [x, y, x, y])
    return photo, np.array(boxes, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="6000x4000")
    parser.add_argument("--detector-size", default="default")
    parser.add_argument("--widths", type=float, nargs="+", default=[12, 16, 20, 30, 60, 90])
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    size = int(arguments.detector_size) if arguments.detector_size.isdigit() else arguments.detector_size
    detector = ImageWorker({}).open(msgspec.convert({"size": size}, DetectorSettings), "cpu")
    print("| width of the faces, pixels | found of 16 | other boxes | seconds |\n|---|---|---|---|")
    for face_width in arguments.widths:
        photo, boxes = scattered(face_width, width, height, np.random.default_rng(0))
        began_s = time.perf_counter()
        faces = detector.detect(image_render(photo), (width, height))
        spent_s = time.perf_counter() - began_s
        is_same = box_overlaps(faces.boxes, boxes) > LEAST_OVERLAP
        print(f"| {face_width:g} | {is_same.any(0).sum()} | {len(faces) - is_same.any(1).sum()} | {spent_s:.1f} |", flush=True)


if __name__ == "__main__":
    main()

"""How many faces of each width are found in a large photo, and how long that takes.

    python benchmarks/photos.py [--size 6000x4000] [--detector-size default] [--widths 12 16 20 30 60 90]

Sixteen faces of nobody in random places of a soft background, looked at as the command does. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import time

import msgspec

from models.detectors import image_render
from streamer.config import DetectorSettings
from streamer.workers.image import ImageWorker
from tests.models.test_tiles import scattered
from trainer.detection_metrics import box_overlaps

LEAST_OVERLAP = 0.4
FACES = 16


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
        photo, boxes = scattered([face_width] * FACES, (width, height))
        began_s = time.perf_counter()
        faces = detector.detect(image_render(photo), (width, height))
        spent_s = time.perf_counter() - began_s
        is_same = box_overlaps(faces.boxes, boxes) > LEAST_OVERLAP
        print(f"| {face_width:g} | {is_same.any(0).sum()} | {len(faces) - is_same.any(1).sum()} | {spent_s:.1f} |", flush=True)


if __name__ == "__main__":
    main()

"""Cuts what painted faces do not do well yet out of what `veil demo` made: before above, after below, side by side.

    veil demo --identity-seed 1; python benchmarks/limits.py veil-demo docs/limits.jpg

What it shows are faces of nobody.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import numpy as np
from PIL import Image

from models.detectors import RgbImage

SHOWN_PX = 220
GAP_PX = 6
MOMENTS = {
    "half out of the picture": (231, 1000, 150, 280),
    "in front of somebody else": (282, 60, 130, 360),
    "larger than it is painted": (144, 220, 0, 700),
    "light and colour of somebody else": (68, 560, 160, 240),
}
"""What is wrong: the frame, and left, top and side of the square that shows it, in pixels."""


def frames_of(path: Path, numbers: set[int]) -> dict[int, RgbImage]:
    with av.open(path) as container:
        return {
            number: frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            for number, frame in enumerate(container.decode(video=0))
            if number in numbers
        }


def square(picture: RgbImage, left: int, top: int, side: int) -> Image.Image:
    return (
        Image.fromarray(picture).crop((left, top, left + side, top + side)).resize((SHOWN_PX, SHOWN_PX), Image.Resampling.LANCZOS)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder that `veil demo` wrote")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    step = SHOWN_PX + GAP_PX
    sheet = Image.new("RGB", (len(MOMENTS) * step - GAP_PX, 2 * step - GAP_PX), "white")
    for row, name in enumerate(("demo.mp4", "demo_anonymized.mp4")):
        frames = frames_of(arguments.demo / name, {number for number, *_ in MOMENTS.values()})
        for column, (number, *place) in enumerate(MOMENTS.values()):
            sheet.paste(square(frames[number], *place), (column * step, row * step))
    sheet.save(arguments.output, quality=88)


if __name__ == "__main__":
    main()

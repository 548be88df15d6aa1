"""Footage of somebody who does not exist, and what can be done to the face, for the tests of `veil verify`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models import baselines
from models.detectors import Effort, Render, RgbImage, Size, image_render, open_detector
from models.faces import Boxes, Faces
from streamer.cli import main
from streamer.demo_figures import portrait_names, read_portrait
from tests.media import Clip, write_clip

SIZE = (240, 180)
PORTRAIT_PX = 110
FRAMES = 7
RATE = 25
Cover = Callable[[RgbImage, NDArray[np.float32]], None]


@cache
def portrait(index: int = 0, side: int = PORTRAIT_PX, detector_size: int = 256) -> tuple[RgbImage, NDArray[np.float32]]:
    """A face at its size in the footage, side x side pixels, and its box."""
    image = read_portrait(portrait_names()[index])
    box = open_detector("centerface", detector_size).detect(image_render(image), (image.shape[1], image.shape[0])).boxes[0]
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return small, box * (side / image.shape[0])


def corner(number: int) -> tuple[int, int]:
    """Where the portrait's upper left corner is in a frame."""
    return 40 + 3 * number, 30 + number


def box_in(number: int, index: int = 0) -> NDArray[np.float32]:
    return portrait(index)[1] + np.tile(np.array(corner(number), np.float32), 2)


def frame(number: int, index: int = 0) -> RgbImage:
    """Something with structure, and the portrait on it."""
    columns, rows = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    waves = 22 * np.sin(columns / 3) + 22 * np.sin(rows / 4)
    scene = np.stack([110 + waves, 130 + waves, 100 + columns / 4 + waves], axis=2).clip(0, 255).astype(np.uint8)
    x, y = corner(number)
    scene[y : y + PORTRAIT_PX, x : x + PORTRAIT_PX] = portrait(index)[0]
    return scene


def region(box: NDArray[np.float32], *, growth: float = 0.1, shift: float = 0.0) -> tuple[slice, slice]:
    """Rows and columns of a box that is grown and moved to the right, by parts of its size."""
    width, height = float(box[2] - box[0]), float(box[3] - box[1])
    x1, x2 = box[0] + (shift - growth) * width, box[2] + (shift + growth) * width
    y1, y2 = box[1] - growth * height, box[3] + growth * height
    return slice(max(0, int(y1)), int(y2) + 1), slice(max(0, int(x1)), int(x2) + 1)


def nothing(picture: RgbImage, box: NDArray[np.float32]) -> None:
    pass


def blackout(picture: RgbImage, box: NDArray[np.float32]) -> None:
    picture[region(box)] = 0


def heavy_blur(picture: RgbImage, box: NDArray[np.float32]) -> None:
    where = region(box)
    picture[where] = baselines.heavy_blur(picture[where], float(box[2] - box[0]))


def pixelate(picture: RgbImage, box: NDArray[np.float32]) -> None:
    where = region(box)
    picture[where] = baselines.pixelate(picture[where], (float(box[2] - box[0]), float(box[3] - box[1])), 8)


def half_a_face_aside(picture: RgbImage, box: NDArray[np.float32]) -> None:
    picture[region(box, growth=0.0, shift=0.5)] = 0


def another_face(picture: RgbImage, box: NDArray[np.float32]) -> None:
    """The face of somebody else at the same place, as a generator might paint it."""
    image, found = portrait(3)
    rows, columns = region(box)
    source = image[region(found)]
    size = (columns.stop - columns.start, rows.stop - rows.start)
    picture[rows, columns] = cv2.resize(source, size, interpolation=cv2.INTER_AREA)


def covered(number: int, cover: Cover) -> RgbImage:
    picture = frame(number)
    cover(picture, box_in(number))
    return picture


def write_footage(path: Path, covers: Sequence[Cover], *, crf: int = 18, width: int = SIZE[0], every: int = 1) -> Path:
    """A clip with one frame for each cover."""
    pictures = [covered(number, cover)[:, :width] for number, cover in enumerate(covers)]
    clip = Clip(
        width=width,
        height=SIZE[1],
        pictures=pictures,
        pts=[number * 512 * every for number in range(len(pictures))],
        rate=RATE,
        options={"crf": str(crf), "preset": "veryfast"},
    )
    return write_clip(path, clip)


@dataclass
class KnowingDetector:
    """Says for each frame what it was told, in order; satisfies FaceDetector."""

    answers: Sequence[Boxes]
    asked: int = 0

    def detect(self, render: Render, frame_size: Size, *, effort: Effort = "thorough") -> Faces:
        boxes = self.answers[self.asked]
        self.asked += 1
        return Faces(boxes=boxes, scores=np.ones(len(boxes), np.float32))


def knowing_detector(count: int = FRAMES) -> KnowingDetector:
    return KnowingDetector([box_in(number)[None] for number in range(count)])


def verify(*arguments: str | Path) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as caught:
        main(["verify", "-q", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code

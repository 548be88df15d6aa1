"""Says of every picture that comes out whether a face of the footage shows: it knows where each picture of it has faces.

clip -> faces of each picture; picture that came out -> its clock -> picture of the clip -> are those faces black?
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from models.detectors import FaceDetector, image_render
from tests.live.viewer import SeenFrame

Picture = NDArray[np.uint8]  # (height, width, 3)

_INNER = 0.6
"""Part of a face's box, around its middle, that is looked at."""
_BLACK = 64
"""The brightest that what was black may be after encoding."""
_SAMPLED_EVERY = 24
_SAME = 2.0
"""Mean difference of two slates that show the same, between one encoding and another."""


def find_faces(clip: Path, judge: FaceDetector) -> list[list[tuple[slice, slice]]]:
    """For each picture of a clip, the insides of its faces: rows and columns."""
    with av.open(str(clip)) as container:
        pictures: list[Any] = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [[_inside(box) for box in _boxes(judge, picture)] for picture in pictures]


@dataclass
class Witness:
    """Hears of every picture of one viewer, in its thread. Of clips that are shown in their own size and rate.

    For filters that make faces black.
    """

    faces: list[list[tuple[slice, slice]]]
    """Of each picture of the clip, as `find_faces` tells."""
    rate: int
    camera: int

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[Picture] = []
        self.checked = 0
        """Faces that were looked for at their place."""
        self.showing: list[str] = []
        """What should not have come out."""

    def look(self, frame: SeenFrame) -> None:
        picture = frame.picture
        if picture is None:
            return
        with self._lock:
            if frame.media_s is None:
                self._kept.append(picture)  # a slate, or covered whole: nobody can tell by its clock
                return
            if frame.camera != self.camera:
                self.showing.append(f"a picture of camera {frame.camera} at {frame.pts_s:.2f} s")
            number = int(frame.media_s * self.rate + 0.01) % len(self.faces)
            for place in self.faces[number]:
                self.checked += 1
                brightest = int(np.percentile(picture[place], 98))
                if brightest > _BLACK:
                    self.showing.append(f"a face at {frame.pts_s:.2f} s, picture {number} of the clip: {brightest}")
            if round(frame.media_s * self.rate) % _SAMPLED_EVERY == 0:
                self._kept.append(picture)

    def judge(self, judge: FaceDetector) -> int:
        """Faces that a detector sees in a part of the pictures since the last time, among them all without a clock."""
        with self._lock:
            kept, self._kept = self._kept, []
        return sum(len(_boxes(judge, picture)) for picture in _different(kept))


def _different(pictures: list[Picture]) -> Iterator[Picture]:
    """Those that are not like the one before."""
    last: Picture | None = None
    for picture in pictures:
        if last is None or last.shape != picture.shape or np.abs(picture.astype(np.int16) - last).mean() > _SAME:
            yield picture
        last = picture


def _boxes(judge: FaceDetector, picture: Picture) -> NDArray[np.float32]:
    return judge.detect(image_render(picture), (picture.shape[1], picture.shape[0])).boxes


def _inside(box: NDArray[np.float32]) -> tuple[slice, slice]:
    x1, y1, x2, y2 = map(float, box)
    x, y, width, height = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) * _INNER, (y2 - y1) * _INNER
    left, top = max(round(x - width / 2), 0), max(round(y - height / 2), 0)
    return slice(top, max(round(y + height / 2), top + 1)), slice(left, max(round(x + width / 2), left + 1))

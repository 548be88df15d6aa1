"""Says of every picture that comes out whether a face of the footage shows: it knows where each picture of it has faces.

clip -> faces of each picture; picture that came out -> its clock -> picture of the clip -> are those faces black?
"""

from __future__ import annotations

import threading
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
_SAMPLED_EVERY = 60
_SAME = 2.0
"""Mean difference of two slates that show the same, between one encoding and another."""


@dataclass(frozen=True, kw_only=True)
class Footage:
    """A clip, and of each of its pictures the insides of its faces: rows and columns."""

    clip: Path
    faces: list[list[tuple[slice, slice]]]


def look_at_footage(clip: Path, judge: FaceDetector, finder: FaceDetector | None = None) -> Footage:
    """finder: another detector, without which what the judge finds is no face; None leaves it all to the judge."""
    with av.open(str(clip)) as container:
        pictures: list[Any] = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    faces = []
    for picture in pictures:
        boxes = _boxes(judge, picture)
        kept = boxes if finder is None else [box for box in boxes if _is_among(box, _boxes(finder, picture))]
        faces.append([_inside(box) for box in kept])
    return Footage(clip=clip, faces=faces)


@dataclass
class Witness:
    """Hears of every picture of one viewer, in its thread. Of clips that are shown in their own size and rate.

    For filters that make faces black.
    """

    footage: Footage
    rate: int
    camera: int

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[Picture] = []
        self._plain: Picture | None = None
        self._lead_s: float | None = None
        """How far the footage is ahead of the output's times."""
        self.checked = 0
        """Faces that were looked for at their place."""
        self.showing: list[str] = []
        """What should not have come out."""
        self.evidence: list[Picture] = []

    def look(self, frame: SeenFrame) -> None:
        picture = frame.picture
        if picture is None:
            return
        with self._lock:
            media_s = frame.media_s
            if media_s is not None:
                self._lead_s = media_s - frame.pts_s
            elif self._lead_s is not None and self._is_black(picture, self._number(frame.pts_s + self._lead_s)):
                return  # a cover lies over the clock, and the faces are where they must be at this time
            if media_s is None:  # a slate, or covered whole
                if self._plain is None or _differ(picture, self._plain):
                    self._kept.append(picture)
                self._plain = picture
                return
            if frame.camera != self.camera:
                self.showing.append(f"a picture of camera {frame.camera} at {frame.pts_s:.2f} s")
            number = self._number(media_s)
            self.checked += len(self.footage.faces[number])
            if self.footage.faces[number] and not self._is_black(picture, number):
                self.showing.append(f"a face at {frame.pts_s:.2f} s, picture {number} of the clip")
                self.evidence.append(picture)
            if round(media_s * self.rate) % _SAMPLED_EVERY == 0:
                self._kept.append(picture)

    def _number(self, media_s: float) -> int:
        """Of the picture of the clip at a time of the camera's footage."""
        return int(media_s * self.rate + 0.1) % len(self.footage.faces)

    def _is_black(self, picture: Picture, number: int) -> bool:
        """At all faces of a picture of the clip, of which there is at least one."""
        places = self.footage.faces[number]
        return bool(places) and all(float(np.percentile(picture[place], 98)) <= _BLACK for place in places)

    @property
    def kept(self) -> int:
        """Pictures that wait for the detector."""
        return len(self._kept)

    def judge(self, judge: FaceDetector) -> int:
        """Faces that a detector sees in a part of the pictures since the last time, among them all without a clock."""
        with self._lock:
            kept, self._kept = self._kept, []
        return sum(len(_boxes(judge, picture)) for picture in kept)


def _differ(picture: Picture, other: Picture) -> bool:
    return picture.shape != other.shape or bool(np.abs(picture.astype(np.int16) - other).mean() > _SAME)


def _boxes(judge: FaceDetector, picture: Picture) -> NDArray[np.float32]:
    return judge.detect(image_render(picture), (picture.shape[1], picture.shape[0])).boxes


def _is_among(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> bool:
    """Whether the middle of one of them is in the box."""
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    return bool(((middles >= box[:2]) & (middles <= box[2:])).all(axis=1).any())


def _inside(box: NDArray[np.float32]) -> tuple[slice, slice]:
    x1, y1, x2, y2 = map(float, box)
    x, y, width, height = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) * _INNER, (y2 - y1) * _INNER
    left, top = max(round(x - width / 2), 0), max(round(y - height / 2), 0)
    return slice(top, max(round(y + height / 2), top + 1)), slice(left, max(round(x + width / 2), left + 1))

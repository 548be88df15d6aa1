"""How restless a face is from frame to frame, before and after it was anonymized."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.verify.detail import Luma
from streamer.verify.footage import FramePair

FACE_PX = 64
"""Faces are compared at this size, which their boxes are stretched to."""
SMALLEST_FACE_PX = 16
"""Narrower ones are left out: what changes in them is noise."""
LEAST_PAIRS = 5
"""Pairs of neighbouring frames from which the figures of a track mean something."""

_Face = NDArray[np.float32]  # (64, 64)


@dataclass(kw_only=True)
class _Tally:
    number: int
    original_face: _Face
    anonymized_face: _Face
    pairs: int = 0
    original: float = 0.0
    anonymized: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Flicker:
    """Mean change of a pixel inside the face box from one frame to the next, levels of 255."""

    pairs: int
    original: float
    anonymized: float

    @property
    def ratio(self) -> float | None:
        """None where the original stands perfectly still."""
        return self.anonymized / self.original if self.original > 0 else None


class FlickerMeter:
    """Compares each face with itself one frame earlier, both at the place where the detector found it in the original.

    A detector's box trembles a little. That adds to both measures, and the less a cover has of fine structure the less to its own.
    """

    def __init__(self) -> None:
        self._tallies: dict[int, _Tally] = {}

    def take(self, pair: FramePair, track: int, box: NDArray[np.float32]) -> None:
        """Frames that do not follow each other directly are not compared."""
        if box[2] - box[0] < SMALLEST_FACE_PX:
            return
        original, anonymized = _aligned(pair.original.luma, box), _aligned(pair.anonymized.luma, box)
        tally = self._tallies.get(track)
        if tally is None:
            self._tallies[track] = _Tally(number=pair.number, original_face=original, anonymized_face=anonymized)
            return
        if pair.number == tally.number + 1:
            tally.pairs += 1
            tally.original += float(np.abs(original - tally.original_face).mean())
            tally.anonymized += float(np.abs(anonymized - tally.anonymized_face).mean())
        tally.number, tally.original_face, tally.anonymized_face = pair.number, original, anonymized

    def of_track(self, track: int) -> Flicker | None:
        """None where there are too few pairs of frames."""
        tally = self._tallies.get(track)
        if tally is None or tally.pairs < LEAST_PAIRS:
            return None
        return Flicker(pairs=tally.pairs, original=tally.original / tally.pairs, anonymized=tally.anonymized / tally.pairs)

    def median_ratio(self) -> float | None:
        """Over all tracks that have one."""
        ratios = [flicker.ratio for track in self._tallies if (flicker := self.of_track(track)) and flicker.ratio is not None]
        return median(ratios) if ratios else None


def _aligned(luma: Luma, box: NDArray[np.float32]) -> _Face:
    """The box stretched to 64 x 64, exact to parts of a pixel; the picture's border is repeated beyond it."""
    x1, y1, x2, y2 = (float(edge) for edge in box)
    step_x, step_y = (x2 - x1) / FACE_PX, (y2 - y1) / FACE_PX
    shrink = int(max(step_x, step_y))
    if shrink > 1:
        # Halve and more by means of areas first, or single pixels would be picked.
        left, top = max(0, int(x1)), max(0, int(y1))
        part = luma[top : max(top + 1, int(np.ceil(y2))), left : max(left + 1, int(np.ceil(x2)))]
        size = (max(1, part.shape[1] // shrink), max(1, part.shape[0] // shrink))
        scale_x, scale_y = size[0] / part.shape[1], size[1] / part.shape[0]
        luma = cast("Luma", cv2.resize(part, size, interpolation=cv2.INTER_AREA))
        x1, y1, step_x, step_y = (x1 - left) * scale_x, (y1 - top) * scale_y, step_x * scale_x, step_y * scale_y
    place = np.array([[step_x, 0, x1 + step_x / 2 - 0.5], [0, step_y, y1 + step_y / 2 - 0.5]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    face = cv2.warpAffine(luma, place, (FACE_PX, FACE_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cast("_Face", face.astype(np.float32))

"""Small JPEGs of the pictures of the anonymized file for the page; those of the other file never come here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors import Region, RgbImage, Size
from streamer.verify.exposure import Exposure
from streamer.verify.footage import FramePair, Picture

FRAME_PX, FACE_PX = 240, 96
"""Longer side of a thumbnail of a frame, and of a face with its surroundings."""
MOST_FRAMES = 16
GROWTH = 0.4
"""What is shown around a face, on each side, as a part of the longer side of its box."""
QUALITY = 80


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A part of an anonymized frame."""

    frame: int
    time_s: float
    jpeg: bytes
    size: Size


@dataclass(kw_only=True)
class Album:
    """Frames spread evenly over a film of unknown length, and each track where it shows most."""

    frames: list[Thumbnail] = field(default_factory=list)
    faces: dict[int, Thumbnail] = field(default_factory=dict)
    """By track."""
    _worst: dict[int, Exposure] = field(default_factory=dict)
    _step: int = 1
    _turn: int = 0

    def take_frame(self, pair: FramePair) -> None:
        if self._turn % self._step == 0:
            if len(self.frames) == MOST_FRAMES:
                # Half of them, twice as far apart.
                self.frames, self._step = self.frames[::2], self._step * 2
            if self._turn % self._step == 0:
                self.frames.append(_thumbnail(pair, (0, 0, *pair.anonymized.size), FRAME_PX))
        self._turn += 1

    def take_face(self, pair: FramePair, track: int, box: NDArray[np.float32], exposure: Exposure) -> None:
        worst = self._worst.get(track)
        if worst is not None and exposure.rank <= worst.rank:
            return
        region = _around(box, pair.anonymized.size)
        if region is not None:
            self._worst[track] = exposure
            self.faces[track] = _thumbnail(pair, region, FACE_PX)


def _around(box: NDArray[np.float32], size: Size) -> Region | None:
    growth = GROWTH * float(max(box[2] - box[0], box[3] - box[1]))
    x1, y1 = max(0, int(box[0] - growth)) & ~1, max(0, int(box[1] - growth)) & ~1
    x2, y2 = min(size[0], int(np.ceil(box[2] + growth))), min(size[1], int(np.ceil(box[3] + growth)))
    # Chroma samples are shared by two pixels.
    x2, y2 = x1 + (x2 - x1 & ~1), y1 + (y2 - y1 & ~1)
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def _thumbnail(pair: FramePair, region: Region, longer_side: int) -> Thumbnail:
    width, height = region[2] - region[0], region[3] - region[1]
    scale = longer_side / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Thumbnail(frame=pair.number, time_s=pair.time_s, jpeg=_jpeg(pair.anonymized, region, size), size=size)


def _jpeg(anonymized: Picture, region: Region, size: Size) -> bytes:
    rgb = anonymized.render(region, size)
    bgr = cast("RgbImage", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return encoded.tobytes()

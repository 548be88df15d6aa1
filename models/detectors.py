"""Face detectors: a protocol and the table of implementations."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.faces import Faces

RgbImage = NDArray[np.uint8]  # (height, width, 3): R G B, full range

Region = tuple[int, int, int, int]  # x1 y1 x2 y2, pixels, inside the frame
Size = tuple[int, int]  # width, height, pixels


class Render(Protocol):
    """Gives a part of a frame as RGB at a wanted size, so that a detector never needs the whole frame converted."""

    def __call__(self, region: Region, size: Size) -> RgbImage:
        """Returns (height, width, 3) of `size`; anti-aliased where it shrinks."""
        ...


class FaceDetector(Protocol):
    """Finds the faces of one frame. Stateless: the answer depends on nothing but the arguments."""

    def detect(self, render: Render, frame_size: Size, *, is_thorough: bool = True) -> Faces:
        """Faces in pixels of the frame, best first.

        is_thorough: run every pass. False runs only the passes meant for each frame of a video, whose thorough frames lie
        close enough together that tracking makes up for the rest.
        """
        ...

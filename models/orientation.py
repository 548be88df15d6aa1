"""Pictures that are stored turned or mirrored, and how they are set upright."""

from __future__ import annotations

import struct

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.unsignedinteger]  # (height, width), or (height, width, channels)


class Orientation(msgspec.Struct, frozen=True, kw_only=True):
    """How to set a stored picture upright: first transpose it, then mirror it."""

    transposes: bool = False
    """Rows become columns: width and height change places."""
    flips_x: bool = False
    """Left and right change places, after the transposition."""
    flips_y: bool = False
    """Top and bottom change places, after the transposition."""

    @property
    def is_upright(self) -> bool:
        return not (self.transposes or self.flips_x or self.flips_y)

    @property
    def name(self) -> str:
        """What is done to the stored picture, for people; empty where nothing is."""
        return _NAMES[(self.transposes, self.flips_x, self.flips_y)]

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return (height, width) if self.transposes else (width, height)

    def apply(self, stored: Plane, upright: Plane) -> None:
        """Write the plane set upright into `upright`, which has the turned shape and the same type."""
        turned = cv2.transpose(stored) if self.transposes else stored
        if self.flips_x and self.flips_y:
            turned = cv2.flip(turned, -1)
        elif self.flips_x:
            turned = cv2.flip(turned, 1)
        elif self.flips_y:
            turned = cv2.flip(turned, 0)
        np.copyto(upright, turned)


_NAMES = {
    (False, False, False): "",
    (False, True, False): "mirrored left to right",
    (False, False, True): "mirrored top to bottom",
    (False, True, True): "turned by 180 degrees",
    (True, False, False): "turned by 90 degrees and mirrored",
    (True, True, False): "turned by 90 degrees clockwise",
    (True, False, True): "turned by 90 degrees counter-clockwise",
    (True, True, True): "turned by 90 degrees and mirrored",
}


def orientation_of_display_matrix(matrix: bytes) -> Orientation:
    """The orientation that FFmpeg's display matrix asks for, rounded to the nearest quarter turn.

    matrix: nine int32 a b u c d v x y w; the stored point (x, y) is shown at (a x + c y, b x + d y), up to the shift that brings
    the picture back into view. Anything that is no such matrix means upright.
    """
    if len(matrix) != 36:
        return Orientation()
    a, b, _, c, d, _, _, _, _ = struct.unpack("<9i", matrix)
    if a * d == b * c:
        return Orientation()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(flips_x=a < 0, flips_y=d < 0)
    return Orientation(transposes=True, flips_x=c < 0, flips_y=b < 0)


EXIF_ORIENTATIONS: dict[int, Orientation] = {
    1: Orientation(),
    2: Orientation(flips_x=True),
    3: Orientation(flips_x=True, flips_y=True),
    4: Orientation(flips_y=True),
    5: Orientation(transposes=True),
    6: Orientation(transposes=True, flips_x=True),
    7: Orientation(transposes=True, flips_x=True, flips_y=True),
    8: Orientation(transposes=True, flips_y=True),
}
"""The values of EXIF tag 274."""

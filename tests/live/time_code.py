"""A clock in the picture that a program can read: black and white blocks along the bottom edge.

It survives encoding, scaling to the half and double, and conversion; what covers it makes it unreadable and not wrong.

    white black | camera 4 bits | clock 22 bits | media time 22 bits | check 16 bits | black white
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

Luma = NDArray[np.uint8]  # (height, width)

HEIGHT_PART = 1 / 20
"""Of the picture's height that the blocks take."""

_CAMERA_BITS, _CLOCK_BITS, _MEDIA_BITS, _CHECK_BITS = 4, 22, 22, 16
_BITS = _CAMERA_BITS + _CLOCK_BITS + _MEDIA_BITS + _CHECK_BITS
_CLOCK_TURN = 1 << _CLOCK_BITS
_BLACK, _WHITE = 24, 228
_LEAST_CONTRAST = 80
_DOUBT = 0.15
"""A block that lies closer than this to the middle of black (0) and white (1) is neither."""


@dataclass(frozen=True, kw_only=True)
class TimeCode:
    """What a picture says of itself.

    camera: 0 to 15. clock_ms: the machine's monotonic clock when the picture was made, modulo 70 minutes. media_ms: how far the
    camera's footage had run, whatever its rate.
    """

    camera: int
    clock_ms: int
    media_ms: int

    @property
    def age_s(self) -> float:
        """How long ago the picture was made, by the clock of this machine."""
        return age_s(self.clock_ms)


def now_ms() -> int:
    """The clock that is written."""
    return time.monotonic_ns() // 1_000_000 % _CLOCK_TURN


def age_s(clock_ms: int) -> float:
    return (now_ms() - clock_ms) % _CLOCK_TURN / 1000


def burn_in(frame: VideoFrame, code: TimeCode) -> None:
    """Write the code into a picture in 8-bit YUV with 4:2:0 chroma."""
    luma = _plane(frame, 0)
    top = _top(frame.height)
    levels = np.where(_bits(code), _WHITE, _BLACK).astype(np.uint8)
    luma[top:, : frame.width] = levels[np.arange(frame.width) * len(levels) // frame.width]
    for number in (1, 2):
        _plane(frame, number)[top // 2 :] = 128


def read(frame: VideoFrame) -> TimeCode | None:
    """What a picture says, None where nothing (or nothing whole) is written in it."""
    if frame.format.is_rgb or not frame.format.is_planar or frame.format.components[0].bits != 8:
        frame = frame.reformat(format="gray")
    return read_luma(_plane(frame, 0)[:, : frame.width])


def read_luma(luma: Luma) -> TimeCode | None:
    height, width = luma.shape
    top = _top(height)
    edge = max((height - top) // 4, 1)
    row = luma[top + edge : height - edge].mean(axis=0)
    count = _BITS + 4
    if len(row) < 3 * count or not np.isfinite(row).all():
        return None
    lefts, rights = np.arange(count) * width / count, np.arange(1, count + 1) * width / count
    inner = (rights - lefts) / 4
    sums = np.concatenate([[0.0], row.cumsum()])
    first, last = np.rint(lefts + inner).astype(int), np.rint(rights - inner).astype(int)
    levels = (sums[last] - sums[first]) / (last - first)
    white, black = min(levels[0], levels[-1]), max(levels[1], levels[-2])
    if white - black < _LEAST_CONTRAST:
        return None
    whiteness = (levels[2:-2] - black) / (white - black)
    if (abs(whiteness - 0.5) < _DOUBT).any():
        return None
    return _code(int("".join("1" if level > 0.5 else "0" for level in whiteness), 2))


def _bits(code: TimeCode) -> NDArray[np.bool_]:
    number = code.camera
    for value, bits in ((code.clock_ms, _CLOCK_BITS), (code.media_ms, _MEDIA_BITS)):
        number = number << bits | value % 2**bits
    number = number << _CHECK_BITS | _check(number)
    digits = f"10{number:0{_BITS}b}01"
    return np.array([digit == "1" for digit in digits])


def _code(number: int) -> TimeCode | None:
    value, check = number >> _CHECK_BITS, number % 2**_CHECK_BITS
    if _check(value) != check:
        return None
    clock_ms = value >> _MEDIA_BITS & 2**_CLOCK_BITS - 1
    return TimeCode(camera=value >> _MEDIA_BITS + _CLOCK_BITS, clock_ms=clock_ms, media_ms=value % 2**_MEDIA_BITS)


def _check(value: int) -> int:
    return zlib.crc32(value.to_bytes(8, "big")) & (1 << _CHECK_BITS) - 1


def _top(height: int) -> int:
    """The first row of the blocks; even, so that it is a row of chroma too."""
    return height - max(round(height * HEIGHT_PART), 8) & ~1


def _plane(frame: VideoFrame, number: int) -> Luma:
    """A plane with the padding of its rows, to read and write."""
    plane = frame.planes[number]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)

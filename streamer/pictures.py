"""Planar YUV pictures: how they lie in memory and how a part of one becomes RGB and returns."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.unsignedinteger]  # (height, width): uint8, or uint16 above 8 bits


@dataclass(frozen=True)
class PixelFormat:
    """One of FFmpeg's planar formats: chroma is subsampled by 2**shift; samples above 8 bits take two bytes, little endian."""

    chroma_x_shift: int
    chroma_y_shift: int
    bits: int
    has_chroma: bool = True


PIXEL_FORMATS: dict[str, PixelFormat] = {
    "gray": PixelFormat(0, 0, 8, has_chroma=False),
    "gray10le": PixelFormat(0, 0, 10, has_chroma=False),
    "yuv420p": PixelFormat(1, 1, 8),
    "yuv422p": PixelFormat(1, 0, 8),
    "yuv444p": PixelFormat(0, 0, 8),
    "yuv420p10le": PixelFormat(1, 1, 10),
    "yuv422p10le": PixelFormat(1, 0, 10),
    "yuv444p10le": PixelFormat(0, 0, 10),
}
"""The formats that lie in rings; the source converts every other one to the nearest of these that loses nothing."""


class ColorTags(msgspec.Struct, frozen=True, kw_only=True):
    """Colour description as in H.273; the numbers are those of FFmpeg's AVColorRange, AVColorPrimaries, ... (2 = unspecified)."""

    range: int = 0
    """0 unspecified, 1 limited (video), 2 full (JPEG)."""
    primaries: int = 2
    transfer: int = 2
    matrix: int = 2


class PictureLayout(msgspec.Struct, frozen=True, kw_only=True):
    """Size and format of every picture of a stream, upright, as it lies in one slot of a ring."""

    width: int
    """Pixels; even where chroma is subsampled horizontally."""
    height: int
    """Pixels; even where chroma is subsampled vertically."""
    pixel_format: str
    """A key of PIXEL_FORMATS."""
    color: ColorTags = ColorTags()

    @property
    def plane_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each plane, in samples."""
        form = PIXEL_FORMATS[self.pixel_format]
        luma = (self.height, self.width)
        if not form.has_chroma:
            return (luma,)
        chroma = (self.height >> form.chroma_y_shift, self.width >> form.chroma_x_shift)
        return (luma, chroma, chroma)

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        return np.uint8 if PIXEL_FORMATS[self.pixel_format].bits == 8 else np.uint16

    @property
    def nbytes(self) -> int:
        """Bytes of one picture without padding."""
        return sum(h * w for h, w in self.plane_shapes) * np.dtype(self.dtype).itemsize

    def planes(self, buffer: memoryview | NDArray[np.uint8]) -> tuple[Plane, ...]:
        """Views of the planes of a picture that begins at the start of `buffer`; no copy.

        The planes lie one after another without padding, which is also what PyAV's `VideoFrame.from_numpy_buffer` wants.
        """
        flat = np.frombuffer(buffer, np.uint8)
        dtype: type[np.unsignedinteger] = self.dtype
        views: list[Plane] = []
        start = 0
        for shape in self.plane_shapes:
            nbytes = shape[0] * shape[1] * np.dtype(self.dtype).itemsize
            views.append(np.frombuffer(flat[start : start + nbytes], dtype).reshape(shape))
            start += nbytes
        return tuple(views)

"""Planar YUV pictures: how they lie in memory and how a part of one becomes RGB and returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from models.detectors import Region, Render, RgbImage, Size

Plane = NDArray[np.unsignedinteger]  # (height, width): uint8, or uint16 above 8 bits
RgbPixels = NDArray[np.unsignedinteger]  # (height, width, 3): R G B, full range: uint8, or uint16 up to 65535
Transform = NDArray[np.float32]  # (3, 4): three samples of a pixel and 1 -> three samples


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


_LUMA_WEIGHTS: dict[int, tuple[float, float]] = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
"""H.273 table 4: the shares of red and blue in the luma of each matrix; 10 (constant luminance) is treated like 9."""

_PQ, _HLG = 16, 18  # H.273 table 3
_DIFFUSE_WHITE = {_PQ: 0.58, _HLG: 0.75}
"""ITU-R BT.2408: the signal of a white sheet of paper (203 cd/m2) as a part of the full signal."""


def diffuse_white(color: ColorTags) -> float:
    """The signal of a white sheet of paper as a part of the greatest signal: 1 but for HDR."""
    return _DIFFUSE_WHITE.get(color.transfer, 1.0)


@lru_cache
def to_rgb_transform(layout: PictureLayout, rgb_max: float) -> Transform:
    """From the samples of one pixel to R G B between 0 and `rgb_max`; without chroma, its two inputs count nothing.

    A matrix that is unspecified, or none of luma and two colour differences, is taken as BT.709 from 720 lines on, below as BT.601.
    An unspecified range is taken as limited, as players do.
    """
    default = 1 if layout.height >= 720 else 6
    weights = _LUMA_WEIGHTS.get(layout.color.matrix, _LUMA_WEIGHTS[default])
    form = PIXEL_FORMATS[layout.pixel_format]
    return _to_rgb_transform(weights, layout.color.range == 2, form.bits, form.has_chroma, rgb_max).astype(np.float32)


@lru_cache
def from_rgb_transform(layout: PictureLayout, rgb_max: float) -> Transform:
    """The inverse of `to_rgb_transform`; without chroma, the two last outputs mean nothing."""
    with_chroma = layout if PIXEL_FORMATS[layout.pixel_format].has_chroma else _with_chroma(layout)
    square = np.vstack([to_rgb_transform(with_chroma, rgb_max), [0, 0, 0, 1]]).astype(np.float64)
    return np.linalg.inv(square)[:3].astype(np.float32)


def region_to_rgb(planes: Sequence[Plane], layout: PictureLayout, region: Region, size: Size | None = None) -> RgbPixels:
    """A region of a picture as RGB: uint8 from 8 bits, else uint16 scaled to 65535.

    The region is aligned to the chroma samples. Chroma is interpolated as if it lay in the middle of its pixels. size: width and
    height to which the region is brought bilinearly; the planes are, before the colours are mixed.
    """
    x1, y1, x2, y2 = region
    size = size or (x2 - x1, y2 - y1)
    parts = _parts(planes, layout, region)
    full = [plane if plane.shape[::-1] == size else cast("Plane", cv2.resize(plane, size)) for plane in parts]
    return _merge_to_rgb(full, layout, np.iinfo(layout.dtype).max)


def rgb_to_region(rgb: RgbPixels, layout: PictureLayout, size: Size | None = None) -> tuple[Plane, ...]:
    """The planes of an aligned region from its RGB as `region_to_rgb` gives it; a chroma sample is the mean of its pixels.

    size: width and height of the region, to which the RGB is stretched bilinearly if it has another size; the planes are, after the
    colours are mixed, which is what makes it cheap.
    """
    form = PIXEL_FORMATS[layout.pixel_format]
    mixed = cv2.transform(rgb, from_rgb_transform(layout, np.iinfo(layout.dtype).max))
    if form.bits > 8:
        mixed = np.minimum(mixed, (1 << form.bits) - 1)
    full = cast("Sequence[Plane]", cv2.split(mixed))[: 3 if form.has_chroma else 1]
    width, height = size or (rgb.shape[1], rgb.shape[0])
    sizes = ((width, height), *[(width >> form.chroma_x_shift, height >> form.chroma_y_shift)] * 2)
    how = cv2.INTER_AREA if (width, height) == (rgb.shape[1], rgb.shape[0]) else cv2.INTER_LINEAR
    resized = [
        plane if plane.shape[::-1] == wanted else cast("Plane", cv2.resize(plane, wanted, interpolation=how))
        for plane, wanted in zip(full, sizes, strict=False)
    ]
    return tuple(resized)


def add_to_luma(luma: Plane, change: NDArray[np.float32], layout: PictureLayout) -> Plane:
    """A plane of luma that is brighter by so much, 255 = from black to white; values stop at the ends of what samples can be."""
    step = float(from_rgb_transform(layout, 255.0)[0, :3].sum()) * diffuse_white(layout.color)
    bits = PIXEL_FORMATS[layout.pixel_format].bits
    brighter = cv2.addWeighted(luma, 1.0, change, step, 0.0, dtype=cv2.CV_8U if bits == 8 else cv2.CV_16U)
    return cast("Plane", brighter if bits == 8 else np.minimum(brighter, (1 << bits) - 1))


def color_samples(color: tuple[float, float, float], layout: PictureLayout) -> tuple[int, ...]:
    """The sample of each plane for a colour, R G B from 0 to 1 of the signal."""
    matrix = from_rgb_transform(layout, 1.0).astype(np.float64)
    form = PIXEL_FORMATS[layout.pixel_format]
    samples = np.clip(np.rint(matrix @ np.array([*color, 1.0])), 0, (1 << form.bits) - 1)
    return tuple(int(s) for s in samples[: 3 if form.has_chroma else 1])


def picture_render(planes: Sequence[Plane], layout: PictureLayout, hidden: Sequence[Region] = ()) -> Render:
    """A Render of a planar picture; the planes are shrunk before the colours are mixed, which is what makes it cheap.

    HDR is made visible by one gain for everything: diffuse white becomes 255 and what is brighter is clipped. hidden: parts that
    are painted grey before anything is computed, chroma samples that touch them too.
    """
    form = PIXEL_FORMATS[layout.pixel_format]
    steps = (1 << form.chroma_x_shift, 1 << form.chroma_y_shift)

    def render(region: Region, size: Size) -> RgbImage:
        parts = _parts(planes, layout, region)
        if hidden:
            parts = [part.copy() for part in parts]
            for part, part_steps in zip(parts, ((1, 1), steps, steps), strict=False):
                for inner in insides(hidden, region, part_steps):
                    part[inner] = 1 << (form.bits - 1)
        shrunk = [resized(part, size) for part in parts]
        rgb = _merge_to_rgb(shrunk, layout, 255 / diffuse_white(layout.color))
        return cast("RgbImage", rgb if rgb.dtype == np.uint8 else cv2.convertScaleAbs(rgb))

    return render


def resized(plane: Plane, size: Size) -> Plane:
    """Halved as long as possible, which OpenCV does far faster than any other mean over areas, then by less than 2 bilinearly.

    An odd last column or row is left out when halving: less than one pixel of the result.
    """
    while (steps := (1 + (plane.shape[1] >= 2 * size[0]), 1 + (plane.shape[0] >= 2 * size[1]))) != (1, 1):
        halves = (plane.shape[1] // steps[0], plane.shape[0] // steps[1])
        even = plane[: halves[1] * steps[1], : halves[0] * steps[0]]
        plane = cast("Plane", cv2.resize(even, halves, interpolation=cv2.INTER_AREA))
    return plane if plane.shape[::-1] == size else cast("Plane", cv2.resize(plane, size))


def _merge_to_rgb(full: Sequence[Plane], layout: PictureLayout, rgb_max: float) -> RgbPixels:
    samples = full if len(full) == 3 else (full[0], full[0], full[0])
    return cast("RgbPixels", cv2.transform(cv2.merge(samples), to_rgb_transform(layout, rgb_max)))


def _parts(planes: Sequence[Plane], layout: PictureLayout, region: Region) -> list[Plane]:
    """The region of each plane, in chroma rounded outwards to whole samples."""
    form = PIXEL_FORMATS[layout.pixel_format]
    x1, y1, x2, y2 = region
    x, y = form.chroma_x_shift, form.chroma_y_shift
    return [planes[0][y1:y2, x1:x2], *(plane[y1 >> y : -(-y2 >> y), x1 >> x : -(-x2 >> x)] for plane in planes[1:])]


def insides(hidden: Sequence[Region], region: Region, steps: tuple[int, int]) -> list[tuple[slice, slice]]:
    """The rows and columns of a region's samples that the hidden parts touch. steps: pixels per sample across and down."""
    (x_step, y_step), (left, top) = steps, (region[0] // steps[0], region[1] // steps[1])
    insides = []
    for x1, y1, x2, y2 in hidden:
        rows = slice(max(y1 // y_step - top, 0), max(-(-y2 // y_step) - top, 0))
        columns = slice(max(x1 // x_step - left, 0), max(-(-x2 // x_step) - left, 0))
        insides.append((rows, columns))
    return insides


def _with_chroma(layout: PictureLayout) -> PictureLayout:
    bits = PIXEL_FORMATS[layout.pixel_format].bits
    return msgspec.structs.replace(layout, pixel_format="yuv444p" if bits == 8 else "yuv444p10le")


@lru_cache
def _to_rgb_transform(
    weights: tuple[float, float], is_full: bool, bits: int, has_chroma: bool, rgb_max: float
) -> NDArray[np.float64]:
    """H.273 equations 8-10 and following, solved for R G B."""
    red, blue = weights
    green = 1 - red - blue
    scale, greatest = 1 << (bits - 8), (1 << bits) - 1
    luma_offset, luma_range, chroma_range = (0, greatest, greatest) if is_full else (16 * scale, 219 * scale, 224 * scale)
    mix = np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ]
    )
    if not has_chroma:
        mix[:, 1:] = 0
    normalise = np.array(
        [
            [1 / luma_range, 0, 0, -luma_offset / luma_range],
            [0, 1 / chroma_range, 0, -128 * scale / chroma_range],
            [0, 0, 1 / chroma_range, -128 * scale / chroma_range],
        ]
    )
    transform: NDArray[np.float64] = mix @ normalise * rgb_max
    return transform

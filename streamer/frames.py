"""Decoded frames of any pixel format on their way into the planes of a ring slot, and back into frames for an encoder."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from models.orientation import Orientation
from streamer.aperture import Aperture
from streamer.pictures import PIXEL_FORMATS, PictureLayout, Plane

LIMITED_RANGE = 1
FULL_RANGE = 2
BT709 = 1
SRGB_TRANSFER = 13
UNSPECIFIED = 2

_SAME_SAMPLES = {"yuvj420p": "yuv420p", "yuvj422p": "yuv422p", "yuvj444p": "yuv444p"}
"""Formats that differ from those of PIXEL_FORMATS only by saying that their range is full."""


def has_alpha(form: av.VideoFormat) -> bool:
    return form.has_palette or any(component.is_alpha for component in form.components)


def is_gray(form: av.VideoFormat) -> bool:
    return not form.has_palette and sum(not component.is_alpha for component in form.components) == 1


def is_rgb(form: av.VideoFormat) -> bool:
    return form.has_palette or form.is_rgb or form.is_bayer or form.name.startswith("xyz")


def sample_bits(form: av.VideoFormat) -> int:
    """Bits of the deepest sample."""
    return 8 if form.has_palette else max((component.bits for component in form.components), default=8)


def ring_format(form: av.VideoFormat, orientation: Orientation) -> str:
    """The format of PIXEL_FORMATS that holds such frames, upright, with the least loss.

    Nothing is lost but bits beyond the tenth and, for RGB, what rounding takes. Gray becomes 4:2:0 with neutral colour, because
    few players show monochrome video.
    """
    bits = 8 if sample_bits(form) <= 8 else 10
    if is_gray(form):
        chroma_shifts = (1, 1)
    elif is_rgb(form):
        chroma_shifts = (0, 0)
    else:
        probe = av.VideoFormat(form.name, 64, 64)
        chroma_shifts = (int(probe.chroma_width() < 64), int(probe.chroma_height() < 64))
        if chroma_shifts == (0, 1) or (orientation.transposes and chroma_shifts == (1, 0)):
            chroma_shifts = (0, 0)
    for name, row in PIXEL_FORMATS.items():
        if row.has_chroma and row.bits == bits and (row.chroma_x_shift, row.chroma_y_shift) == chroma_shifts:
            return name
    raise ValueError(f"no ring format for {form.name}")


def padded_size(width: int, height: int, pixel_format: str) -> tuple[int, int]:
    """The size with room for whole chroma samples."""
    form = PIXEL_FORMATS[pixel_format]
    x_step, y_step = 1 << form.chroma_x_shift, 1 << form.chroma_y_shift
    return -(-width // x_step) * x_step, -(-height // y_step) * y_step


def copy_into(
    frame: av.VideoFrame, planes: tuple[Plane, ...], layout: PictureLayout, orientation: Orientation, shown: Aperture
) -> None:
    """Copy what is shown of a decoded frame into planes of the layout: converted, upright, its last column and row repeated into
    the padding.

    The frame's own size and format are those that the layout was made for.
    """
    form = frame.format
    if is_gray(form):
        _copy_gray(frame, planes, layout, orientation, shown)
        return
    target = layout.pixel_format
    if form.name != target and _SAME_SAMPLES.get(form.name) != target:
        frame = convert(frame, target, layout)
    for source, plane in zip(shown.cut(frame_planes(frame), target), planes, strict=True):
        _place(source, plane, orientation)


def _copy_gray(
    frame: av.VideoFrame, planes: tuple[Plane, ...], layout: PictureLayout, orientation: Orientation, shown: Aperture
) -> None:
    bits = PIXEL_FORMATS[layout.pixel_format].bits
    wanted = "gray" if bits == 8 else "gray10le"
    luma = frame if frame.format.name == wanted else frame.reformat(format=wanted, threads=1)
    _place(shown.cut(frame_planes(luma)[:1], layout.pixel_format)[0], planes[0], orientation)
    for plane in planes[1:]:
        plane.fill(1 << (bits - 1))


def convert(frame: av.VideoFrame, target: str, layout: PictureLayout) -> av.VideoFrame:
    """The same picture in another format, with the range and the matrix that it has (RGB: those of the layout)."""
    color = layout.color
    range_ = FULL_RANGE if color.range == FULL_RANGE else LIMITED_RANGE
    matrix = color.matrix if color.matrix != UNSPECIFIED else BT709
    if is_rgb(frame.format):
        return frame.reformat(
            format=target,
            dst_colorspace=matrix,
            src_color_range=FULL_RANGE,
            dst_color_range=range_,
            interpolation="BICUBIC",
            threads=1,
        )
    return frame.reformat(
        format=target, src_colorspace=matrix, dst_colorspace=matrix, src_color_range=range_, dst_color_range=range_, threads=1
    )


def frame_planes(frame: av.VideoFrame) -> list[Plane]:
    """Views of the samples of a planar frame, without the padding of its lines."""
    wide = any(component.bits > 8 for component in frame.format.components)
    dtype: type[np.unsignedinteger] = np.uint16 if wide else np.uint8
    size = np.dtype(dtype).itemsize
    views: list[Plane] = []
    for plane in frame.planes:
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        views.append(
            lines.view(dtype)[:, : plane.width] if plane.line_size % size == 0 else lines[:, : plane.width * size].view(dtype)
        )
    return views


def _place(stored: Plane, target: Plane, orientation: Orientation) -> None:
    width, height = orientation.size(stored.shape[1], stored.shape[0])
    upright = target[:height, :width]
    if orientation.is_upright:
        np.copyto(upright, stored)
    else:
        orientation.apply(stored, upright)
    if width < target.shape[1]:
        target[:height, width:] = target[:height, width - 1 : width]
    if height < target.shape[0]:
        target[height:] = target[height - 1]


def is_opaque(frame: av.VideoFrame) -> bool:
    """Whether every sample of a frame's alpha channel is at its maximum."""
    form = frame.format
    if not has_alpha(form):
        return True
    alpha: NDArray[np.unsignedinteger]
    if form.name.startswith("yuva") or form.name.startswith("gbrap"):
        alpha = frame_planes(frame)[3]
        bits = form.components[-1].bits
        return bool((alpha >= (1 << bits) - 1).all())
    rgba = frame.reformat(format="rgba", threads=1)
    return bool((frame_planes_packed(rgba)[:, :, 3] == 255).all())


def frame_planes_packed(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """(height, width, 4) view of a packed four-byte frame."""
    plane = frame.planes[0]
    lines: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return lines[:, : plane.width * 4].reshape(plane.height, plane.width, 4)


def frame_of_planes(planes: tuple[Plane, ...], layout: PictureLayout) -> av.VideoFrame:
    """A new frame with a copy of the planes."""
    frame = av.VideoFrame(layout.width, layout.height, layout.pixel_format)
    for source, target in zip(planes, frame_planes(frame), strict=True):
        np.copyto(target, source)
    return frame

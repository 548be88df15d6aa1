"""The part of stored pictures that players show: what a container crops away is not for anybody to see."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO

import av
import msgspec

from streamer.pictures import PIXEL_FORMATS, Plane

_MUXERS = ("mp4", "mov")
"""Between them they hold almost every codec."""
_CROPPING_FORMATS = ("mov,", "matroska,", "hls")
"""How FFmpeg's names of demuxers begin that may say what to crop away."""


class Aperture(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of a stored picture, in its pixels; `left` and `top` stand on whole chroma samples."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, planes: Sequence[Plane], pixel_format: str) -> list[Plane]:
        """Views of the shown part of each plane. pixel_format: one of PIXEL_FORMATS."""
        form = PIXEL_FORMATS[pixel_format]
        views = []
        for number, plane in enumerate(planes):
            x, y = (form.chroma_x_shift, form.chroma_y_shift) if number else (0, 0)
            right, bottom = -(-(self.left + self.width) >> x), -(-(self.top + self.height) >> y)
            views.append(plane[self.top >> y : bottom, self.left >> x : right])
        return views


def aperture_of(stream: av.VideoStream, size: tuple[int, int], *, is_interlaced: bool = False) -> Aperture:
    """What the container of a stream says to show of pictures of this size; all where it says nothing.

    Rounded inwards. PyAV does not tell, but FFmpeg writes it into a `clap` box (ISO 14496-12, 12.1.4) when it writes MP4.
    """
    width, height = size
    box = _clap_box(stream) if stream.container.format.name.startswith(_CROPPING_FORMATS) else None
    whole = Aperture(left=0, top=0, width=width, height=height)
    if box is None or 0 in box[1::2]:
        return whole
    shown_width, shown_height, right_by, down_by = (Fraction(*box[at : at + 2]) for at in range(0, 8, 2))
    first_x, first_y = (width - shown_width) / 2 + right_by, (height - shown_height) / 2 + down_by
    left, top = _rounded_up(first_x, 2), _rounded_up(first_y, 4 if is_interlaced else 2)
    right, bottom = min(int(first_x + shown_width), width), min(int(first_y + shown_height), height)
    if left >= right or top >= bottom:
        return whole
    return Aperture(left=left, top=top, width=right - left, height=bottom - top)


def _rounded_up(value: Fraction, step: int) -> int:
    return max(0, -int(-value // step) * step)


def _clap_box(stream: av.VideoStream) -> tuple[int, ...] | None:
    """The four fractions of the box: width, height, and by how much the middle is moved right and down."""
    for muxer in _MUXERS:
        memory = BytesIO()
        try:
            with av.open(memory, "w", format=muxer, options={"movflags": "empty_moov", "strict": "experimental"}) as small:
                small.add_stream_from_template(stream, opaque=True)
                small.start_encoding()
        except (av.FFmpegError, ValueError):
            continue
        _, found, content = memory.getvalue().partition(b"clap")
        return struct.unpack(">IIIIiIiI", content[:32]) if found and len(content) >= 32 else None
    return None

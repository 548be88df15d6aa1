"""What a decoded picture says of itself: how it is turned, its colours, its fields."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, cast

import av
import av.filter
from av.sidedata.sidedata import SideData

from models.orientation import Orientation, orientation_of_display_matrix
from streamer import frames
from streamer.pictures import ColorTags

_LIMITED_GRAY_CODECS = frozenset({"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg2video"})
"""Codecs whose untagged grey is limited like their YUV; that of all others is full, as FFmpeg's converter takes it."""


def orientation_of(frame: av.VideoFrame) -> Orientation:
    return orientation_of_display_matrix(side_data(frame).get("DISPLAYMATRIX", b""))


def side_data(frame: av.VideoFrame) -> dict[str, bytes]:
    """What FFmpeg attached to a frame: AVFrameSideData by name without prefix."""
    entries = cast(list[SideData], list(frame.side_data))
    return {entry.type.name: bytes(entry) for entry in entries}


def color_of(frame: av.VideoFrame, stream: av.VideoStream) -> ColorTags:
    context = stream.codec_context
    range_ = int(frame.color_range) or int(context.color_range)
    primaries = _first_specified(frame.color_primaries, context.color_primaries)
    transfer = _first_specified(frame.color_trc, context.color_trc)
    matrix = _first_specified(frame.colorspace, context.colorspace)
    if frames.is_rgb(frame.format):
        # RGB becomes BT.709 YUV; what is not said is sRGB.
        return ColorTags(
            range=frames.LIMITED_RANGE,
            primaries=primaries if primaries != frames.UNSPECIFIED else frames.BT709,
            transfer=transfer if transfer != frames.UNSPECIFIED else frames.SRGB_TRANSFER,
            matrix=frames.BT709,
        )
    untagged_gray = frames.is_gray(frame.format) and range_ == 0
    if untagged_gray and stream.codec_context.codec.canonical_name not in _LIMITED_GRAY_CODECS:
        range_ = frames.FULL_RANGE
    if frame.format.name.startswith("yuvj"):
        range_ = frames.FULL_RANGE
    return ColorTags(range=range_, primaries=primaries, transfer=transfer, matrix=matrix)


def _first_specified(*values: int) -> int:
    return next((int(value) for value in values if int(value) not in (0, frames.UNSPECIFIED)), frames.UNSPECIFIED)


def field_order_of(frame: av.VideoFrame) -> Literal["progressive", "tff", "bff"]:
    """Which field is shown first. What containers and parsers say of it is often wrong, so the frame itself is asked."""
    if not frame.interlaced_frame:
        return "progressive"
    # PyAV does not show the flag, but a filter can see it.
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))
    chooser = graph.add("select", "eq(interlace_type,TOPFIRST)")
    sink = graph.add("buffersink")
    source.link_to(chooser)
    chooser.link_to(sink)
    graph.configure()
    graph.push(frame)
    try:
        graph.pull()
    except av.error.BlockingIOError:
        return "bff"
    return "tff"

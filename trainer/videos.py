"""Videos as upright RGB pictures, one every so many seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias, cast

import av
import av.container
import av.packet
import av.stream
import numpy as np
from av.sidedata.sidedata import SideData

from models.detectors import RgbImage
from models.orientation import orientation_of_display_matrix
from trainer.upright import MediaError, Picture, set_upright

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts", ".mxf", ".wmv"}
    | {".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".vob", ".dv", ".gif", ".y4m"}
)

_Packet: TypeAlias = "av.packet.Packet[av.VideoStream]"

_FULL_RANGE = 2
_BT709 = 1
_UNSAID_MATRIX = (0, 2)
"""RGB, for which no matrix is needed, and unspecified."""
_PQ_TRANSFER = 16
_USUAL_RATE = 25
"""Frames a second of what does not say its times."""


class Video:
    """The pictures of a video, the first and then one every `every_s` seconds; damaged frames are passed over.

    Pictures whose pixels are not square are stretched, turned ones are set upright.
    """

    def __init__(self, path: Path, every_s: float) -> None:
        self.damage = ""
        self._path = path
        self._every_s = every_s

    def __iter__(self) -> Iterator[Picture]:
        try:
            # "file:" keeps FFmpeg from reading a protocol into a name with a colon, the whitelist from opening what a list names.
            container = av.open(f"file:{self._path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise MediaError(f"{self._path}: is not media that can be read: {why}") from error
        with container:
            stream = self._picture_stream(container)
            is_empty = True
            for picture in self._sampled(container, stream):
                is_empty = False
                yield picture
        if is_empty:
            raise MediaError(f"{self._path}: no picture can be decoded")

    def _picture_stream(self, container: av.container.InputContainer) -> av.VideoStream:
        unwanted = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
        streams = [stream for stream in container.streams.video if not stream.disposition & unwanted]
        if not streams:
            raise MediaError(f"{self._path}: has no pictures")
        best = container.streams.best("video")
        stream = best if isinstance(best, av.VideoStream) and best in streams else streams[0]
        if stream.codec_context is None:
            raise MediaError(f"{self._path}: its video codec is not known")
        stream.thread_type = "AUTO"
        return stream

    def _sampled(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[Picture]:
        length_s = _length_s(container, stream)
        first_s: float | None = None
        latest_s, due_s = -math.inf, 0.0
        for number, frame in enumerate(self._decoded(container, stream)):
            # The last frames, those of the flush, come without a time base of their own.
            pts, time_base = frame.pts, stream.time_base
            stamp_s = number / _USUAL_RATE if pts is None or time_base is None else float(pts * time_base)
            first_s = stamp_s if first_s is None else first_s
            time_s = stamp_s - first_s
            # A clock that jumps back begins to count anew.
            is_due = time_s + 1e-6 >= due_s or time_s < latest_s - 1.0
            latest_s = time_s
            if not is_due or frame.is_corrupt:
                continue
            due_s = time_s + self._every_s
            yield Picture(
                rgb=self._upright(frame, stream), time_s=time_s, share=min(1.0, max(0.0, time_s / length_s)) if length_s else 0.0
            )

    def _decoded(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        """All frames; what cannot be decoded is left out and noted."""
        lost = 0
        for packet in self._packets(container, stream):
            try:
                yield from stream.codec_context.decode(packet)
            except av.FFmpegError:
                # The decoder goes on with later packets.
                lost += 1
        if lost and not self.damage:
            self.damage = f"{self._path}: {lost} packets could not be decoded"

    def _packets(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[_Packet | None]:
        """All packets of the stream, then None, which flushes the decoder; an error of the file ends them early."""
        try:
            for packet in container.demux(stream):
                if packet.size:
                    yield packet
        except av.FFmpegError as error:
            self.damage = f"{self._path}: cannot be read to its end: {error.strerror}"
        yield None

    def _upright(self, frame: av.VideoFrame, stream: av.VideoStream) -> RgbImage:
        if int(frame.color_trc) == _PQ_TRANSFER:
            raise MediaError(f"{self._path}: is HDR (PQ), whose colours would come out wrong: convert it to SDR first")
        width, height = frame.width, frame.height
        aspect = stream.sample_aspect_ratio or Fraction(1)
        if aspect > 0 and aspect != 1:
            width = max(1, round(width * aspect))
        # Without a word about it, video is taken for BT.709 and limited range, as everywhere in this project.
        matrix = int(frame.colorspace)
        is_full = int(frame.color_range) == _FULL_RANGE or frame.format.name.startswith("yuvj") or frame.format.is_rgb
        converted = frame.reformat(
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=_BT709 if matrix in _UNSAID_MATRIX else matrix,
            src_color_range=_FULL_RANGE if is_full else None,
            dst_color_range=_FULL_RANGE,
            threads=1,
        )
        matrices = {entry.type.name: bytes(entry) for entry in cast(list[SideData], list(frame.side_data))}
        orientation = orientation_of_display_matrix(matrices.get("DISPLAYMATRIX", b""))
        return set_upright(np.asarray(converted.to_ndarray(), np.uint8), orientation)


def _length_s(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    """0 where nobody knows."""
    if stream.duration and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else 0.0

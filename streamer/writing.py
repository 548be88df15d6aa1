"""Safe pictures and copied packets as a video file."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.filter
import av.packet
import av.stream
import msgspec

from streamer import frames
from streamer.encoders import OutputPlan, encoder_options
from streamer.errors import OutputError
from streamer.kept import Chapter
from streamer.messages import AudioPacket, StreamOpened
from streamer.pictures import Plane
from streamer.tracks import add_tracks

_FIELD_ORDER_NUMBERS = {"progressive": 1, "tff": 2, "bff": 3}

_X265_LEAST_FRAMES = 3
"""Of shorter clips x265 leaves the decoding times unset; their pictures are in the order of display."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What went into an output, to hold it against what is read back."""

    frames: int
    first_pts: int | None
    """In units of the stream's time base; None without a frame."""
    last_pts: int | None
    """Of the frame shown last, where it begins."""
    packets: tuple[int, ...]
    """Of each copied track."""


class VideoWriter:
    """Encodes and muxes one output under a temporary name. Complete only after `close`."""

    def __init__(self, temporary: Path, opened: StreamOpened, plan: OutputPlan, *, threads: int = 0) -> None:
        """threads: of the encoder, 0 = one per core. Raises OutputError where the file or the encoder cannot be opened."""
        self._path = temporary
        self._opened = opened
        self._plan = plan
        self._time_base = Fraction(*opened.time_base)
        self._durations: dict[int, int] = {}
        self._last_packet: av.packet.Packet[av.VideoStream] | None = None
        self._frames = 0
        self._first_pts: int | None = None
        self._last_pts: int | None = None
        self._last_duration = 0
        movflags = {"movflags": "+faststart"} if plan.container in ("mp4", "mov") else {}
        self._container = av.open(f"file:{temporary}", "w", format=plan.muxer, container_options=movflags)
        with self._reporting():
            self._pictures = self._add_pictures(threads)
            self._tracks = add_tracks(self._container, opened.audio)
            self._container.metadata.update(plan.metadata)
            self._container.set_chapters([_chapter(number, chapter) for number, chapter in enumerate(plan.chapters)])
            self._fields = self._field_marker()
            self._container.start_encoding()
        self._packets = [0] * len(self._tracks)

    def write(self, planes: tuple[Plane, ...], pts: int, duration: int) -> None:
        """Encode a picture; its planes may be overwritten afterwards. pts and duration in units of the stream's time base.

        Raises OutputError, for instance where the disk is full.
        """
        frame = frames.frame_of_planes(planes, self._opened.layout)
        frame = self._converted(frame)
        frame.pts = pts
        frame.time_base = self._time_base
        self._durations[pts] = duration
        if self._first_pts is None:
            self._first_pts = pts
        self._last_pts = pts
        self._last_duration = duration
        self._frames += 1
        with self._reporting():
            self._mux(self._pictures.encode(self._marked(frame)))

    def write_audio(self, packet: AudioPacket) -> None:
        """Copy a packet of the track that it names. Raises OutputError."""
        copy = av.Packet(packet.data)
        copy.pts, copy.dts = packet.pts, packet.dts
        copy.duration = packet.duration
        copy.time_base = Fraction(*packet.time_base)
        copy.is_keyframe = packet.is_keyframe
        copy.stream = self._tracks[packet.track]
        self._packets[packet.track] += 1
        with self._reporting():
            self._container.mux(copy)

    def close(self) -> Written:
        """Write what the encoder still holds and finish the file. Raises OutputError."""
        with self._reporting():
            self._mux(self._pictures.encode(None))
            self._mux_last()
            self._container.close()
        return Written(frames=self._frames, first_pts=self._first_pts, last_pts=self._last_pts, packets=tuple(self._packets))

    def abort(self) -> None:
        """Give up: release the file, whatever it holds. May be called at any time and more than once."""
        # The file is thrown away; that its end cannot be written either is no news.
        with suppress(av.FFmpegError, OSError):
            self._container.close()

    def _add_pictures(self, threads: int) -> av.VideoStream:
        opened, plan = self._opened, self._plan
        rate = Fraction(*opened.average_rate) or Fraction(25)
        stream = self._container.add_stream(
            plan.encoder, rate=rate.limit_denominator(1 << 16), options=encoder_options(plan, threads=threads)
        )
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        context.width, context.height = opened.layout.width, opened.layout.height
        context.pix_fmt = plan.pixel_format
        context.time_base = self._time_base
        context.sample_aspect_ratio = Fraction(*opened.sample_aspect_ratio)
        context.thread_count = threads
        color = opened.layout.color
        context.color_range, context.color_primaries = color.range, color.primaries
        context.color_trc, context.colorspace = color.transfer, color.matrix
        if plan.field_order != "progressive":
            context.flags |= av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
            context.field_order = _FIELD_ORDER_NUMBERS[plan.field_order]
        if plan.codec_tag is not None:
            context.codec_tag = plan.codec_tag
        return stream

    def _field_marker(self) -> av.filter.Graph | None:
        """A filter that marks frames as interlaced, which PyAV's frames cannot be told directly."""
        if self._plan.field_order == "progressive":
            return None
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=self._opened.layout.width,
            height=self._opened.layout.height,
            format=av.VideoFormat(self._plan.pixel_format),
            time_base=self._time_base,
        )
        marker = graph.add("setfield", self._plan.field_order)
        sink = graph.add("buffersink")
        source.link_to(marker)
        marker.link_to(sink)
        graph.configure()
        return graph

    def _marked(self, frame: av.VideoFrame) -> av.VideoFrame:
        if self._fields is None:
            return frame
        self._fields.push(frame)
        marked = self._fields.pull()
        assert isinstance(marked, av.VideoFrame)
        return marked

    def _converted(self, frame: av.VideoFrame) -> av.VideoFrame:
        if self._plan.pixel_format == self._opened.layout.pixel_format:
            return frame
        return frames.convert(frame, self._plan.pixel_format, self._opened.layout)

    def _mux(self, packets: list[av.packet.Packet[av.VideoStream]]) -> None:
        for packet in packets:
            # Most encoders do not pass the duration on; it matters for the last frame, which nothing follows.
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration or 0)
            if self._frames < _X265_LEAST_FRAMES and self._plan.encoder == "libx265":
                packet.dts = packet.pts
            if self._last_packet is not None:
                self._container.mux(self._last_packet)
            self._last_packet = packet

    def _mux_last(self) -> None:
        packet = self._last_packet
        if packet is None:
            return
        if self._plan.container in ("mp4", "mov"):
            # MP4 counts from decoding time to decoding time, so that only the packet decoded last can prolong the track.
            packet.duration = max(packet.duration or 0, self._last_duration)
        self._container.mux(packet)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise OutputError(f"{self._plan.path}: {_reason(error)}") from error


def _chapter(number: int, chapter: Chapter) -> av.container.core.Chapter:
    return {
        "id": number,
        "start": chapter.start,
        "end": chapter.end,
        "time_base": Fraction(*chapter.time_base),
        "metadata": {"title": chapter.title},
    }


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOSPC:
        return "cannot be written: no space left on the disk"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "cannot be written: permission denied"
    return f"cannot be written: {getattr(error, 'strerror', None) or error}"

"""One connection or file that takes a live stream: packets in, with times that begin at zero."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import av.packet
import av.stream
import msgspec

from streamer.bare_sound import without_adts_header
from streamer.errors import OutputError
from streamer.live.messages import CLOCK, EncodedPacket
from streamer.messages import AudioPacket
from streamer.opening import Packet

_INTERLEAVE_OPTIONS = {"max_interleave_delta": "1"}
"""Microseconds that FFmpeg holds a packet back to wait for one of the other track: packets come in order anyway."""


class TrackKind(msgspec.Struct, frozen=True, kw_only=True):
    """What makes two tracks the same for those who watch; a small file that carries it differs in its first packet."""

    codec: str
    parameters: bytes
    """The codec's own, that stand beside the packets."""
    size: tuple[int, int] = (0, 0)
    sample_aspect_ratio: tuple[int, int] = (0, 1)
    rate: int = 0
    layout: str = ""


def track_kind(parameters: bytes) -> TrackKind | None:
    """The kind of the first track that a small file describes; None where it is empty. Raises av.FFmpegError."""
    if not parameters:
        return None
    with av.open(BytesIO(parameters)) as small:
        stream = small.streams[0]
        context: av.CodecContext = stream.codec_context
        codec, extradata = context.codec.canonical_name, bytes(context.extradata or b"")
        if isinstance(stream, av.VideoStream):
            ratio = stream.sample_aspect_ratio or Fraction(0)
            return TrackKind(
                codec=codec,
                parameters=extradata,
                size=(stream.codec_context.width, stream.codec_context.height),
                sample_aspect_ratio=(ratio.numerator, ratio.denominator),
            )
        assert isinstance(stream, av.AudioStream)
        layout = stream.codec_context.layout.name
        return TrackKind(codec=codec, parameters=extradata, rate=stream.codec_context.sample_rate, layout=layout)


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """What an output shall hold: small files with the parameters of the pictures and of the sound."""

    pictures: bytes
    sound: bytes
    """Empty without."""


class LiveMuxer:
    """An open output. Every method may raise OutputError, and may block as long as the receiver does."""

    def __init__(
        self, target: str, muxer: str, tracks: Tracks, options: Mapping[str, str], *, start: int, place: str | Path
    ) -> None:
        """start: the time that becomes zero, in ticks of CLOCK. place: what errors call the target, without credentials."""
        self._start = start
        self._place = place
        self._last: dict[int, Fraction] = {}
        with failing_as_output_error(place):
            self._container = av.open(target, "w", format=muxer, options=_INTERLEAVE_OPTIONS | dict(options))
            self._pictures = self._add(tracks.pictures)
            self._sound = self._add(tracks.sound) if tracks.sound else None
            self._container.start_encoding()

    def write_picture(self, packet: EncodedPacket) -> bool:
        """False for one that is not later than the last, which no format can hold."""
        copy = av.Packet(packet.data)
        copy.pts, copy.dts = packet.pts - self._start, packet.dts - self._start
        copy.duration, copy.time_base = packet.duration, Fraction(1, CLOCK)
        copy.is_keyframe = packet.is_keyframe
        return self._mux(copy, copy.dts, self._pictures)

    def write_sound(self, packet: AudioPacket) -> bool:
        """False for one that is not later than the last, or before the start."""
        assert self._sound is not None
        assert packet.pts is not None
        time_base = Fraction(*packet.time_base)
        start = round(Fraction(self._start, CLOCK) / time_base)
        is_aac = self._sound.codec_context.codec.canonical_name == "aac"
        copy = av.Packet(without_adts_header(packet.data) if is_aac else packet.data)
        copy.pts = copy.dts = packet.pts - start
        copy.duration, copy.time_base = packet.duration, time_base
        copy.is_keyframe = packet.is_keyframe
        return copy.dts >= 0 and self._mux(copy, copy.dts, self._sound)

    def close(self) -> None:
        """Complete the file, or say goodbye to the server."""
        with failing_as_output_error(self._place):
            self._container.close()

    def _add(self, parameters: bytes) -> av.stream.Stream:
        with av.open(BytesIO(parameters)) as small:
            return self._container.add_stream_from_template(small.streams[0], opaque=True)

    def _mux(self, packet: Packet, dts: int, stream: av.stream.Stream) -> bool:
        # In the ticks of the output: two times that differ before can fall together there.
        assert stream.time_base is not None
        time = round(dts * packet.time_base / stream.time_base) * stream.time_base
        if time <= self._last.get(stream.index, Fraction(-1)):
            return False
        self._last[stream.index] = time
        packet.stream = stream
        with failing_as_output_error(self._place):
            self._container.mux(packet)
        return True


@contextmanager
def failing_as_output_error(place: str | Path) -> Iterator[None]:
    """FFmpeg's errors carry the URL with its credentials in their texts; only what kind of error it is passes here."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise OutputError(f"{place}: {_reason(error)}") from None


def _reason(error: av.FFmpegError | OSError) -> str:
    if isinstance(error, av.error.ProtocolNotFoundError):
        return "this FFmpeg does not know the protocol"
    if error.errno == errno.ENOSPC:
        return "no space left on the disk"
    return (error.strerror or type(error).__name__).lower()

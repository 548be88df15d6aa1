"""What a camera of the tests does: film a clip over and over, in real time, and publish that to an RTSP server.

PictureLoop -> time code -> Encoder \\
                                      RTSP muxer -> server
                beeps -> Microphone  /
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.container
import msgspec
from av.video.frame import VideoFrame

from tests.live import time_code
from tests.live.beeps import beeps
from tests.live.camera import AUDIO_RATES_HZ, CameraSettings, Change, Filming, Lost, Publishing
from tests.live.child import end_with_parent, heard, say
from tests.live.time_code import TimeCode

ENCODERS = {
    "h264": ("libx264", "yuv420p", {"preset": "ultrafast", "tune": "zerolatency"}),
    "hevc": ("libx265", "yuv420p", {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=error:pools=1"}),
    "mjpeg": ("mjpeg", "yuvj420p", {"huffman": "default", "qmin": "3", "qmax": "6"}),
}
"""FFmpeg's encoder, its pixel format and options."""

LATEST_S = 0.5
"""A camera that is later than that drops pictures, as real ones do, and is in time again."""

_RETRY_S = 0.2
_DEADLINE = {"timeout": "3000000"}
"""Microseconds that FFmpeg waits for a connection."""
_CLOCK = Fraction(1, 90000)


class PictureLoop:
    """The pictures of a clip, over and over, in the wanted size; only forwards."""

    def __init__(self, path: str, size: tuple[int, int] | None) -> None:
        self._path, self._size = path, size
        self._decoded = self._decode()
        self._current, self._current_s = next(self._decoded)
        self._next: tuple[VideoFrame, float] = next(self._decoded, (self._current, float("inf")))

    @property
    def size(self) -> tuple[int, int]:
        return self._size or (self._current.width, self._current.height)

    def at(self, time_s: float, pixel_format: str) -> VideoFrame:
        """A copy of the picture that is shown at a time since the first loop began."""
        # Half a millisecond: times of clips are rounded.
        while self._next[1] <= time_s + 0.0005:
            self._current, self._current_s = self._next
            self._next = next(self._decoded)
        width, height = self.size
        scaled = self._current.reformat(width, height, pixel_format, interpolation="BILINEAR")
        # The decoder still refers to the picture that it gave.
        return VideoFrame.from_ndarray(scaled.to_ndarray(), pixel_format)

    def _decode(self) -> Iterator[tuple[VideoFrame, float]]:
        begin_s = 0.0
        while True:
            with av.open(self._path) as container:
                stream = container.streams.video[0]
                stream.thread_count = 1
                first_s, end_s = None, 0.0
                for frame in container.decode(stream):
                    assert frame.time is not None
                    first_s = frame.time if first_s is None else first_s
                    end_s = frame.time - first_s + 1 / float(stream.average_rate or 25)
                    yield frame, begin_s + frame.time - first_s
                begin_s += end_s


class Publication:
    """One connection to the server, from its announcement to its end; times in it begin at zero."""

    def __init__(self, settings: CameraSettings, loop: PictureLoop, begin_s: float) -> None:
        """begin_s: how far the footage has run. Raises av.FFmpegError."""
        self._settings, self._loop, self._begin_s = settings, loop, begin_s
        self.output = av.open(settings.url, "w", format="rtsp", options={"rtsp_transport": settings.transport, **_DEADLINE})
        name, self._pixel_format, options = ENCODERS[settings.codec]
        self._video: Any = self.output.add_stream(name, rate=settings.rate, options=options)
        self._encoder: Any = self._video.codec_context
        self._prepare(self._encoder)
        self._sound: Any = None
        if settings.sound is not None:
            rate_hz = AUDIO_RATES_HZ[settings.sound]
            self._sound = self.output.add_stream(settings.sound, rate=rate_hz)
            self._sound.codec_context.layout = "mono"
            self._next_sample = round(begin_s * rate_hz)
        self.output.start_encoding()

    def _prepare(self, encoder: Any) -> None:
        encoder.width, encoder.height = self._loop.size
        encoder.pix_fmt, encoder.time_base = self._pixel_format, _CLOCK
        encoder.framerate = self._settings.rate
        encoder.gop_size = round(self._settings.rate * self._settings.gop_s)
        encoder.thread_count = 1
        if self._settings.bit_rate is not None:
            encoder.bit_rate = self._settings.bit_rate

    def resize(self, settings: CameraSettings, loop: PictureLoop) -> None:
        """Go on in the same connection with pictures of another size, as cameras do whose settings are changed."""
        self._settings, self._loop = settings, loop
        name, _, options = ENCODERS[settings.codec]
        self._encoder = av.CodecContext.create(name, "w")
        self._encoder.options = options
        self._prepare(self._encoder)

    def film(self, media_s: float) -> None:
        """Send the picture of a moment, and the sound up to it. Raises av.FFmpegError."""
        frame = self._loop.at(media_s, self._pixel_format)
        if self._settings.has_clock:
            number, media_ms = self._settings.number, round(media_s * 1000)
            time_code.burn_in(frame, TimeCode(camera=number, clock_ms=time_code.now_ms(), media_ms=media_ms))
        frame.pts, frame.time_base = round((media_s - self._begin_s) / _CLOCK), _CLOCK
        for packet in self._encoder.encode(frame):
            packet.stream = self._video
            self.output.mux(packet)
        if self._sound is not None:
            self._record(media_s)

    def _record(self, until_s: float) -> None:
        rate_hz = AUDIO_RATES_HZ[self._sound.codec_context.name]
        samples = self._sound.codec_context.frame_size or rate_hz // 25
        # What fell into the time of dropped pictures is dropped too.
        self._next_sample = max(self._next_sample, round((until_s - LATEST_S) * rate_hz))
        # FFmpeg's muxer holds back pictures until it has sound of the same time, and its encoder is two packets late.
        until_s += 1 / self._settings.rate
        while self._next_sample <= until_s * rate_hz + 2 * samples:
            wave = beeps(self._next_sample, samples, rate_hz)[None]
            if self._sound.codec_context.name == "aac":
                frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            else:
                frame = av.AudioFrame.from_ndarray((wave * 32767).astype("int16"), "s16", "mono")
            frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
            frame.pts = self._next_sample - round(self._begin_s * rate_hz)
            self.output.mux(self._sound.encode(frame))
            self._next_sample += samples

    def close(self) -> None:
        with contextlib.suppress(av.FFmpegError):
            self.output.close()


class FilmedCamera:
    """Encodes every picture; goes on for ever, and publishes again whenever the connection is lost."""

    def __init__(self, settings: CameraSettings, orders: queue.SimpleQueue[Change]) -> None:
        self._settings, self._orders = settings, orders
        self._loop = PictureLoop(settings.clip, settings.size)
        self._begin = time.monotonic()
        self._number = 0
        self._dropped = 0
        self._start_s = 0.0
        """How far the footage had run at the last change; _number counts pictures from there."""
        self._publication: Publication | None = None

    def run(self) -> None:
        while True:
            try:
                self._publication = Publication(self._settings, self._loop, self._media_s)
                say(Publishing(at_s=time.monotonic()))
                while self._wait():
                    self._publication.film(self._media_s)
                    self._number += 1
                    if self._number % self._settings.rate == 0:
                        say(Filming(media_s=self._media_s, dropped=self._dropped))
            except (av.FFmpegError, OSError) as error:
                say(Lost(reason=f"{type(error).__name__}: {error.strerror}"))
                self._pause(_RETRY_S)
            finally:
                if self._publication is not None:
                    self._publication.close()
                self._publication = None

    @property
    def _media_s(self) -> float:
        """How far the footage has run when the next picture is taken."""
        return self._start_s + self._number / self._settings.rate

    def _wait(self) -> bool:
        """Until the moment of the next picture; False where it must be published anew."""
        late_s = time.monotonic() - self._begin - self._media_s
        if late_s > LATEST_S:
            count = int(late_s * self._settings.rate)
            self._number += count
            self._dropped += count
        while True:
            rest_s = self._begin + self._media_s - time.monotonic()
            if rest_s <= 0:
                return True
            with contextlib.suppress(queue.Empty):
                if self._change(self._orders.get(timeout=rest_s)):
                    return False

    def _pause(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._change(self._orders.get(timeout=seconds))

    def _change(self, change: Change) -> bool:
        """Film otherwise from now on; True where it must be published anew for that."""
        before, self._start_s, self._number = self._settings, self._media_s, 0
        changed = {name: value for name in ("size", "rate", "codec") if (value := getattr(change, name)) is not None}
        self._settings = msgspec.structs.replace(before, **changed)
        if self._settings.size != before.size:
            self._loop = PictureLoop(self._settings.clip, self._settings.size)
            self._loop.at(self._start_s, ENCODERS[self._settings.codec][1])
        if change.is_same_connection and self._publication is not None and self._settings.codec == before.codec:
            self._publication.resize(self._settings, self._loop)
            return False
        return True


def publish_copy(settings: CameraSettings) -> None:
    """Send the packets of the clip as they are, sound included, over and over: a camera that costs next to nothing."""
    begin, begin_s = time.monotonic(), 0.0
    while True:
        try:
            with av.open(settings.url, "w", format="rtsp", options={"rtsp_transport": settings.transport, **_DEADLINE}) as out:
                say(Publishing(at_s=time.monotonic()))
                zero_s = begin_s
                streams: dict[int, Any] = {}
                last_dts: dict[int, int] = {}
                while True:
                    begin_s = _publish_once(settings.clip, out, streams, last_dts, begin, begin_s, zero_s)
                    say(Filming(media_s=begin_s, dropped=0))
        except (av.FFmpegError, OSError) as error:
            say(Lost(reason=f"{type(error).__name__}: {error.strerror}"))
            time.sleep(_RETRY_S)
            begin_s = time.monotonic() - begin


def _publish_once(
    clip: str,
    output: av.container.OutputContainer,
    streams: dict[int, Any],
    last_dts: dict[int, int],
    begin: float,
    begin_s: float,
    zero_s: float,
) -> float:
    """One round of the clip; the time at which the next one begins. zero_s: the time of the output's pts 0."""
    end_s = 0.0
    with av.open(clip) as source:
        wanted = [stream for stream in source.streams if stream.type in ("video", "audio")]
        for stream in wanted:
            if stream.index not in streams:
                streams[stream.index] = output.add_stream_from_template(stream)
        for packet in source.demux(wanted):
            if packet.dts is None or packet.pts is None:
                continue
            base = packet.time_base
            end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * base))
            time.sleep(max(begin + begin_s + float(packet.dts * base) - time.monotonic(), 0))
            shift = round((begin_s - zero_s) / base)
            packet.stream, packet.pts, packet.dts = streams[packet.stream.index], packet.pts + shift, packet.dts + shift
            # Sound begins a little before a clip and ends a little after it.
            if packet.dts > last_dts.get(packet.stream.index, packet.dts - 1):
                last_dts[packet.stream.index] = packet.dts
                output.mux(packet)
    return begin_s + end_s


def main() -> None:
    messages: Iterator[CameraSettings | Change] = heard(CameraSettings, Change)
    settings = next(messages)
    assert isinstance(settings, CameraSettings)
    if settings.is_copy:
        end_with_parent()
        publish_copy(settings)
    orders: queue.SimpleQueue[Change] = queue.SimpleQueue()

    def listen() -> None:
        for message in messages:
            assert isinstance(message, Change)
            orders.put(message)
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    FilmedCamera(settings, orders).run()


if __name__ == "__main__":
    main()

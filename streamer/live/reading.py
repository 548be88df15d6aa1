"""A camera, or whatever else sends pictures, as upright pictures and packets of sound, as they come.

Waiting has a limit in FFmpeg where it heeds one; where it does not, the process is ended from outside.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import av.container
import av.packet
import av.stream

from models.orientation import Orientation
from streamer import frames
from streamer.aperture import aperture_of
from streamer.bare_sound import BareSound, without_adts_header
from streamer.frame_facts import color_of, orientation_of
from streamer.live.clock import CameraClock
from streamer.live.gaps import Gaps
from streamer.live.messages import CLOCK, CameraOpened, CameraSetup
from streamer.messages import AudioPacket
from streamer.opening import Packet
from streamer.pictures import PictureLayout, Plane
from streamer.probe import is_attached_picture
from streamer.reading import Damage
from streamer.tracks import bare_sound_of, has_adts_headers, sound_parameters

_OPEN_LIMIT_S = 8.0
_PATIENCE_FOR_SOUND_S = 1.0
"""After the first picture, until a stream without a packet of its sound counts as one without sound."""
_LONGEST_PAUSE_S = 1.0
_USUAL_RATE = 25
_MOST_LATE_S = 5.0
"""Of files: timestamps that go forwards or backwards by more are a gap or a new beginning, and not waited for or caught up with."""
_NO_HOST = (errno.EIO, errno.EHOSTUNREACH, errno.ENETUNREACH)
"""FFmpeg says EIO for a name that nobody knows."""
_PROBING = {"fflags": "nobuffer", "analyzeduration": "500000", "probesize": "500000"}
"""FFmpeg's own defaults wait for seconds and deliver what they gathered meanwhile."""
_PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtsps,rtp,srtp,udp,tcp,tls",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,rtmp,tls,tcp",
    "http": "http,https,tcp,tls,crypto,hls",
    "https": "http,https,tcp,tls,crypto,hls",
    "udp": "udp,rtp",
    "rtp": "udp,rtp",
    "tcp": "tcp",
    "srt": "srt,udp",
}
"""What the addresses of each scheme may open in turn: never files, which a playlist from somewhere could name."""


class CameraLostError(Exception):
    """The connection is over; the message says why, without the address."""


class FileEndError(CameraLostError):
    """A file has been played, and is not to be played again."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LiveFrame:
    """A picture as it left the decoder."""

    pts: int
    """On the clock of the output."""
    duration: int
    time_s: float
    """The same in seconds."""
    captured_s: float
    """When it arrived, on the clock of `time.monotonic`."""
    is_corrupt: bool
    picture: av.VideoFrame


class LiveReader:
    """One connection, from its first picture until it ends."""

    layout: PictureLayout

    def __init__(self, setup: CameraSetup) -> None:
        """Connects. Raises CameraLostError."""
        self._setup = setup
        self._clock = CameraClock(setup.origin_s)
        self._damage = Damage()
        self._is_file = _scheme(setup.url) == "" and not setup.url.startswith("/dev/")
        self._loop_shift_s = 0.0
        self._begin_s, self._end_s = float("inf"), float("-inf")
        self._first_s: float | None = None
        self._orientation = Orientation()
        self._sound: av.AudioStream | None = None
        self._bare: BareSound | None = None
        self._last_sound: int | None = None
        self._connect()

    def opened(self) -> CameraOpened:
        """Waits for the first picture, and a while for the first sound; what there is. Raises CameraLostError."""
        first, packet = self._first_picture()
        stream = self._pictures
        self._orientation = orientation_of(first)
        name = frames.ring_format(first.format, self._orientation)
        self._shown = aperture_of(stream, (first.width, first.height), is_interlaced=first.interlaced_frame)
        width, height = frames.padded_size(*self._orientation.size(self._shown.width, self._shown.height), name)
        self.layout = PictureLayout(width=width, height=height, pixel_format=name, color=color_of(first, stream))
        self._source = (first.width, first.height, first.format.name)
        rate = stream.average_rate or stream.guessed_rate or Fraction(0)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        aspect = 1 / aspect if self._orientation.transposes and aspect else aspect
        audio = b""
        if self._sound is not None and packet:
            try:
                audio = sound_parameters(self._sound, packet)
            except (ValueError, av.FFmpegError):
                self._sound = None
        else:
            self._sound = None
        return CameraOpened(
            session=self._setup.session,
            layout=self.layout,
            codec=stream.codec_context.codec.canonical_name,
            average_rate=(rate.numerator, rate.denominator),
            sample_aspect_ratio=(aspect.numerator, aspect.denominator),
            audio=audio,
            audio_codec=self._sound.codec_context.codec.canonical_name if audio and self._sound is not None else "",
        )

    def media(self) -> Iterator[LiveFrame | AudioPacket | None]:
        """Everything that comes, None for what leads to nothing, without end. Raises CameraLostError when it does end."""
        for packet in self._packets():
            if packet.stream_index == self._pictures.index:
                for picture in self._decode(packet):
                    yield self._frame(picture)
            elif self._sound is not None and packet.stream_index == self._sound.index:
                yield self._copied(packet)
            yield None

    def write_into(self, frame: LiveFrame, planes: tuple[Plane, ...]) -> None:
        """Write what is shown of it into planes of `layout`: converted, set upright, padded by repeating its border."""
        frames.copy_into(frame.picture, planes, self.layout, self._orientation, self._shown)

    def close(self) -> None:
        self._container.close()

    def _connect(self) -> None:
        try:
            self._container = _open(self._setup)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise CameraLostError(explain(error)) from None
        # HLS comes a file at a time.
        self._is_paced = self._is_file or self._container.format.name == "hls"
        streams = [stream for stream in self._container.streams.video if not is_attached_picture(stream)]
        if not streams:
            raise CameraLostError("it sends no pictures")
        self._pictures = streams[0]
        if self._pictures.codec_context is None:
            raise CameraLostError("its video codec is not known here")
        # Frames that are decoded in parallel come later by as many frames.
        self._pictures.thread_type = "SLICE"
        self._pictures.codec_context.thread_count = 1
        is_h264 = self._pictures.codec_context.codec.canonical_name == "h264"
        self._gaps = Gaps(self._pictures.codec_context.extradata) if is_h264 and not self._is_file else None
        sounds = self._container.streams.audio if self._setup.audio == "copy" else ()
        self._sound = next((stream for stream in sounds if stream.codec_context is not None), None)
        self._bare = bare_sound_of(self._sound) if self._sound is not None else None

    def _first_picture(self) -> tuple[av.VideoFrame, bytes]:
        """The first picture from a keyframe on, and a packet of the sound, empty if none came in time."""
        sound = b""
        first: av.VideoFrame | None = None
        has_keyframe = False
        deadline_s = float("inf")
        for packet in self._packets():
            if self._sound is not None and packet.stream_index == self._sound.index:
                bare = self._bare_data(packet)
                sound = sound or bare
            elif packet.stream_index == self._pictures.index:
                has_keyframe = has_keyframe or packet.is_keyframe
                for picture in self._decode(packet) if has_keyframe else ():
                    self._damage.touches(picture)  # those that are predicted from it do not say so
                    first = first or picture
                    deadline_s = min(deadline_s, time.monotonic() + _PATIENCE_FOR_SOUND_S)
            if first is not None and (self._sound is None or sound or time.monotonic() > deadline_s):
                return first, sound
        raise CameraLostError("it ended before its first picture")

    def _packets(self) -> Iterator[Packet]:
        while True:
            began_s = self._end_s
            try:
                for packet in self._container.demux():
                    if packet.size or packet.dts is not None:
                        self._pace(packet)
                    elif packet.stream_index != self._pictures.index:
                        continue  # only a decoder of pictures holds something back
                    yield packet
                if self._setup.loop and self._end_s > began_s:
                    self._begin_anew()
                    continue
            except (av.FFmpegError, OSError) as error:
                raise CameraLostError(explain(error)) from None
            if self._is_file and not self._setup.loop:
                raise FileEndError("the file is at its end")
            raise CameraLostError("the file holds nothing to play" if self._is_file else "it ended the stream")

    def _begin_anew(self) -> None:
        self._loop_shift_s = self._end_s - self._begin_s
        self._pictures.codec_context.flush_buffers()
        self._damage = Damage()
        self._bare = bare_sound_of(self._sound) if self._sound is not None else None
        self._container.seek(min(0, self._container.start_time or 0))

    def _pace(self, packet: Packet) -> None:
        """A file comes as fast as it is read: wait until the time of each packet."""
        if not self._is_paced:
            return
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None or packet.time_base is None:
            return
        due_s = float(stamp * packet.time_base) + self._loop_shift_s
        shown = packet.pts if packet.pts is not None else stamp
        shown_s = float(shown * packet.time_base) + self._loop_shift_s
        self._begin_s = min(self._begin_s, shown_s)
        self._end_s = max(self._end_s, shown_s + self._duration_s(packet))
        now_s = time.monotonic()
        if self._first_s is None or now_s - (self._first_s + due_s) > _MOST_LATE_S:
            self._first_s = now_s - due_s
        wait_s = self._first_s + due_s - now_s
        if wait_s > _LONGEST_PAUSE_S:
            self._first_s -= wait_s - _LONGEST_PAUSE_S
        time.sleep(max(0.0, min(wait_s, _LONGEST_PAUSE_S)))

    def _duration_s(self, packet: Packet) -> float:
        """Of a picture its share of a second where the container does not say."""
        assert packet.time_base is not None
        if not packet.duration and packet.stream_index == self._pictures.index:
            return float(1 / (self._pictures.average_rate or self._pictures.guessed_rate or _USUAL_RATE))
        return float((packet.duration or 0) * packet.time_base)

    def _decode(self, packet: Packet) -> list[av.VideoFrame]:
        if packet.is_corrupt:
            self._damage.mark(packet)
        if self._gaps is not None and packet.size and self._gaps.precede(bytes(packet)):
            self._damage.lose(packet)
        try:
            return self._pictures.codec_context.decode(cast("av.packet.Packet[av.VideoStream]", packet))
        except av.FFmpegError:
            # Later packets may be whole.
            self._damage.lose(packet)
            return []

    def _frame(self, picture: av.VideoFrame) -> LiveFrame:
        now_s = time.monotonic()
        if (picture.width, picture.height, picture.format.name) != self._source:
            width, height, form = self._source
            raise CameraLostError(
                f"the picture changed from {width}x{height} ({form}) to {picture.width}x{picture.height} ({picture.format.name})"
            )
        stamp_s = picture.time
        pts = self._clock.place(None if stamp_s is None else stamp_s + self._loop_shift_s, now_s)
        duration_s = float((picture.duration or 0) * picture.time_base) if picture.time_base else 0.0
        return LiveFrame(
            pts=pts,
            duration=round(duration_s * CLOCK),
            time_s=pts / CLOCK,
            captured_s=now_s,
            is_corrupt=self._damage.touches(picture),
            picture=picture,
        )

    def _copied(self, packet: Packet) -> AudioPacket | None:
        data = self._bare_data(packet)
        base = packet.time_base or Fraction(1, av.time_base)
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None or not data:
            return None
        placed = self._clock.place_sound(float(stamp * base) + self._loop_shift_s, base, time.monotonic())
        if placed is None or (self._last_sound is not None and placed <= self._last_sound):
            return None
        self._last_sound = placed
        return AudioPacket(
            stream=self._setup.session,
            track=0,
            pts=placed,
            dts=placed,
            duration=packet.duration or 0,
            time_base=(base.numerator, base.denominator),
            is_keyframe=packet.is_keyframe,
            data=without_adts_header(data) if self._sound is not None and has_adts_headers(self._sound) else data,
        )

    def _bare_data(self, packet: Packet) -> bytes:
        assert self._bare is not None
        return self._bare.clean(bytes(packet))


def _scheme(url: str) -> str:
    """Empty for files and devices."""
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""


def _open(setup: CameraSetup) -> av.container.InputContainer:
    scheme = _scheme(setup.url)
    # FFmpeg waits twice as long as it is told, because its parser holds a picture back.
    limits = (_OPEN_LIMIT_S, setup.read_timeout_s / 2)
    if setup.url.startswith("/dev/"):
        return av.open(setup.url, format="v4l2", options={"fflags": "nobuffer"}, timeout=limits)
    if not scheme:
        return av.open(f"file:{setup.url}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    options = {**_PROBING, "protocol_whitelist": _PROTOCOLS.get(scheme, scheme)}
    if scheme in ("rtsp", "rtsps"):
        options["rtsp_transport"] = setup.transport
        if setup.audio == "drop":
            options["allowed_media_types"] = "video"
    return av.open(setup.url, options=options, timeout=limits, metadata_errors="replace")


def explain(error: Exception) -> str:
    """Why a connection cannot be made or is over, from what FFmpeg says, which may contain the address with its password."""
    if isinstance(error, av.error.HTTPUnauthorizedError):
        return "wrong user name or password (401)"
    if isinstance(error, av.error.HTTPNotFoundError):
        return "nothing is there under this path (404)"
    if isinstance(error, av.error.ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, av.error.ExitError | av.error.TimeoutError):
        return "it sends nothing any more"
    if isinstance(error, av.error.InvalidDataError):
        return "no answer in time, or it sends nothing that can be read"
    if isinstance(error, av.error.ProtocolNotFoundError):
        return "this FFmpeg does not know the protocol"
    if getattr(error, "errno", None) in _NO_HOST:
        return "its host cannot be found or reached"
    return str(getattr(error, "strerror", None) or type(error).__name__)

"""A camera for the tests: a process that publishes a clip to an RTSP server, in real time and for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

import msgspec

from tests.live.child import Child

START_S = 30.0
AUDIO_RATES_HZ = {"aac": 16000, "pcm_alaw": 8000}

VideoCodec = Literal["h264", "hevc", "mjpeg"]
SoundCodec = Literal["aac", "pcm_alaw"]
Transport = Literal["tcp", "udp"]


class CameraSettings(msgspec.Struct, tag="film", frozen=True, kw_only=True):
    """What it films and how.

    number: 0 to 15, written into the pictures. size: None for the clip's. gop_s: between keyframes. bit_rate: None for as it comes.
    """

    clip: str
    url: str
    number: int
    size: tuple[int, int] | None
    rate: int
    codec: VideoCodec
    has_clock: bool
    sound: SoundCodec | None
    gop_s: float
    bit_rate: int | None
    transport: Transport
    is_copy: bool


class Change(msgspec.Struct, tag="change", frozen=True, kw_only=True):
    """None leaves as it is. is_same_connection: do not announce it anew; goes with size and rate only."""

    size: tuple[int, int] | None = None
    rate: int | None = None
    codec: VideoCodec | None = None
    is_same_connection: bool = False


class Publishing(msgspec.Struct, tag="publishing", frozen=True, kw_only=True):
    """The server has taken the announcement. at_s: monotonic."""

    at_s: float


class Filming(msgspec.Struct, tag="filming", frozen=True, kw_only=True):
    """Once a second, or once a round of a copied clip. dropped: pictures, because the camera was late."""

    media_s: float
    dropped: int


class Lost(msgspec.Struct, tag="lost", frozen=True, kw_only=True):
    """The connection has ended, or none was made; it is tried again at once."""

    reason: str


CameraMessage = Publishing | Filming | Lost


class Camera:
    """A context manager: inside, the camera has been published once; it publishes again whenever its server comes back.

    The pictures carry a clock (`time_code`), unless has_clock is False. sound: beeps (`beeps`) in this codec; None for none.
    is_copy: send the clip's own packets, with its sound and without a clock, for next to no CPU; nothing else can be chosen then.
    """

    def __init__(
        self,
        clip: Path,
        url: str,
        *,
        number: int = 0,
        size: tuple[int, int] | None = None,
        rate: int = 25,
        codec: VideoCodec = "h264",
        has_clock: bool = True,
        sound: SoundCodec | None = None,
        gop_s: float = 1.0,
        bit_rate: int | None = None,
        transport: Transport = "tcp",
        is_copy: bool = False,
        start_s: float = START_S,
    ) -> None:
        """start_s: until when it must have been published."""
        self._settings = CameraSettings(
            clip=str(clip),
            url=url,
            number=number,
            size=size,
            rate=rate,
            codec=codec,
            has_clock=has_clock,
            sound=sound,
            gop_s=gop_s,
            bit_rate=bit_rate,
            transport=transport,
            is_copy=is_copy,
        )
        self._start_s = start_s
        self._news = threading.Condition()
        self._child: Child | None = None
        self.publications = 0
        """How often it has been published."""
        self.losses: list[str] = []
        """Why connections ended."""
        self.dropped = 0
        """Pictures, because the camera was late or its server did not take them."""
        self.media_s = 0.0
        """How far the footage has run, to a second."""

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_for(lambda camera: camera.publications > 0, self._start_s)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Without waiting, so that many start at a time."""
        self._child = Child("tests.live.camera_process", self._hear, self._end)
        self._child.send(self._settings)

    def close(self) -> None:
        if self._child is not None:
            self._child.close()

    kill = close

    @property
    def pid(self) -> int:
        return self._process.pid

    def pause(self) -> None:
        """SIGSTOP: the connection stays, nothing comes."""
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def change(self, change: Change) -> None:
        """Film otherwise; not where packets are copied."""
        assert not self._settings.is_copy, "a copied clip cannot change"
        self._process.send(change)

    def wait_for(self, is_so: Callable[[Camera], bool], deadline_s: float = START_S) -> None:
        """Raises TimeoutError."""
        end = time.monotonic() + deadline_s
        with self._news:
            while not is_so(self):
                if not self._news.wait(end - time.monotonic()) or not self._process.is_alive:
                    losses = self.losses[-3:]
                    raise TimeoutError(f"camera {self._settings.number}: {self.publications} publications, lost: {losses}")

    @property
    def _process(self) -> Child:
        assert self._child is not None, "the camera has not been started"
        return self._child

    def _hear(self, line: bytes) -> None:
        with self._news:
            match msgspec.json.decode(line, type=CameraMessage):
                case Publishing():
                    self.publications += 1
                case Filming(media_s=media_s, dropped=dropped):
                    self.media_s, self.dropped = media_s, dropped
                case Lost(reason=reason):
                    self.losses.append(reason)
            self._news.notify_all()

    def _end(self) -> None:
        with self._news:
            self._news.notify_all()

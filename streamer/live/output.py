"""The supervisor's part in one output: a publisher that is started again for ever, and never given more than it can take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
from loguru import logger

from streamer.children import Child, Died
from streamer.errors import VeilError
from streamer.live.addresses import output_kind
from streamer.live.config import OutputSettings
from streamer.live.crew import Crew
from streamer.live.keeping import KeptProcess
from streamer.live.messages import EncodedPacket, EncodingOpened, OutputNote, Published, PublisherSetup, SoundOpened
from streamer.live.status import OutputState, OutputStatus
from streamer.messages import AudioPacket, Message

MOST_OUTSTANDING_BYTES = 16 << 20
MOST_OUTSTANDING_PACKETS = 600
"""What a publisher has been sent and not acknowledged: some seconds of pictures and sound. Beyond, nothing more is sent to it until
it has caught up and a keyframe comes."""


class Wording(Protocol):
    """How secrets get into addresses, and out of texts."""

    def resolve(self, text: str) -> str: ...
    def redact(self, text: str) -> str: ...


class OutputRun:
    """One output of one stream; keeper of its publisher."""

    def __init__(
        self, crew: Crew, stream: str, settings: OutputSettings, wording: Wording, want_keyframe: Callable[[], None]
    ) -> None:
        self._crew = crew
        self._stream = stream
        self._settings = settings
        self._wording = wording
        self._want_keyframe = want_keyframe
        to = wording.resolve(settings.to)
        self._kind = output_kind(to)
        # Several streams may record to one folder.
        place = f"{stream} {to}" if self._kind == "recording" else to
        self._process = KeptProcess(crew, "publisher", self, place=place, hang_limit_s=settings.timeout_s)
        self.shown = wording.redact(settings.to)
        self._log = logger.bind(stream=stream, output=self.shown)
        self._encoding: EncodingOpened | None = None
        self._sound: SoundOpened | None = None
        self._sizes: list[int] = []
        self._outstanding_bytes = 0
        self._waits_for_keyframe = True
        self._is_stopped = False
        self._packets = self._dropped = self._reconnects = 0
        self._last_error: str | None = None

    @property
    def state(self) -> OutputState:
        if self._is_stopped:
            return "ended"
        if self._process.child is None:
            return "retrying" if self._reconnects else "connecting"
        return "connected" if self._process.has_worked else "connecting"

    def tick(self, now_s: float) -> None:
        self._process.tick(now_s)

    def stop(self, grace_s: float) -> None:
        """The publisher completes its files and takes its leave."""
        self._is_stopped = True
        self._process.stop(grace_s)

    def announce(self, sound: SoundOpened) -> None:
        """Which sound comes from now on."""
        if sound != self._sound:
            self._sound = sound
            self._crew.send(self._process.child, sound)

    def give(self, message: EncodingOpened | EncodedPacket | AudioPacket, payload: bytes) -> None:
        """What the output is to get; kept, passed on or dropped."""
        match message:
            case EncodingOpened():
                if self._sound is None:  # nothing but slates so far
                    self.announce(SoundOpened(audio=b"", codec=""))
                self._encoding = message
                self._waits_for_keyframe = True
                self._crew.pass_on(self._process.child, payload)
            case EncodedPacket() | AudioPacket():
                self._give_packet(message, payload)

    def opening(self) -> list[Message]:
        output = msgspec.structs.replace(self._settings, to=self._wording.resolve(self._settings.to))
        known = [one for one in (self._encoding, self._sound) if one is not None]
        return [PublisherSetup(name=self._stream, output=output), *known]

    def started(self, child: Child) -> None:
        self._waits_for_keyframe = True
        self._want_keyframe()

    def received(self, child: Child, message: Message, payload: bytes) -> None:
        match message:
            case Published():
                self._acknowledge(message)
            case OutputNote():
                self._log.warning("{}", message.text)
                self._last_error = message.text
            case _:
                pass

    def ended(self, error: VeilError, died: Died | None) -> None:
        before, self._last_error = self._last_error, self._wording.redact(str(error))
        # It is tried for ever: said again only where it is news.
        is_news = self._process.has_worked or self._last_error != before
        self._log.log("WARNING" if is_news else "DEBUG", "output lost, will be tried again: {}", self._last_error)
        self._reconnects += 1
        self._dropped += len(self._sizes)
        self._sizes, self._outstanding_bytes = [], 0

    def status(self) -> OutputStatus:
        return OutputStatus(
            kind=self._kind,
            to=self.shown,
            state=self.state,
            packets=self._packets,
            dropped=self._dropped,
            reconnects=self._reconnects,
            last_error=self._last_error,
        )

    def _give_packet(self, packet: EncodedPacket | AudioPacket, payload: bytes) -> None:
        if self._process.child is None:
            self._dropped += 1
            return
        is_keyframe = isinstance(packet, EncodedPacket) and packet.is_keyframe
        is_full = len(self._sizes) >= MOST_OUTSTANDING_PACKETS or self._outstanding_bytes >= MOST_OUTSTANDING_BYTES
        if is_full and not self._waits_for_keyframe:
            self._waits_for_keyframe = True
            self._log.warning("the receiver is too slow: packets are dropped until it has caught up")
        if self._waits_for_keyframe and not (is_keyframe and self._has_caught_up):
            self._dropped += 1
            return
        self._waits_for_keyframe = False
        self._sizes.append(len(packet.data))
        self._outstanding_bytes += len(packet.data)
        self._crew.pass_on(self._process.child, payload)

    @property
    def _has_caught_up(self) -> bool:
        return len(self._sizes) <= MOST_OUTSTANDING_PACKETS // 2 and self._outstanding_bytes <= MOST_OUTSTANDING_BYTES // 2

    def _acknowledge(self, published: Published) -> None:
        done, self._sizes = self._sizes[: published.packets], self._sizes[published.packets :]
        self._outstanding_bytes -= sum(done)
        self._packets += published.packets - published.dropped
        self._dropped += published.dropped
        if published.is_connected and not self._process.has_worked:
            self._process.works()
            self._log.info("output connected")

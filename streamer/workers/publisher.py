"""Hands one live stream to one output: begins at keyframes, keeps sound in step with pictures, acknowledges all that it takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import av
from loguru import logger

from streamer.live.addresses import output_kind
from streamer.live.messages import (
    CLOCK,
    EncodedPacket,
    EncodingOpened,
    OutputNote,
    Published,
    PublisherSetup,
    SoundOpened,
)
from streamer.live.muxing import TrackKind, Tracks, track_kind
from streamer.live.publishing import SOUNDS, Output, make_output
from streamer.messages import AudioPacket, Message
from streamer.redaction import register_url
from streamer.workers import RingHandles

_MOST_HELD_S = 15.0
"""Sound that is so much older than the newest has no picture any more that it could wait for."""


@dataclass(frozen=True, kw_only=True)
class TrackKinds:
    """What an open output holds."""

    pictures: TrackKind | None
    sound: TrackKind | None


class PublisherWorker:
    """One output of one stream. Any error of the output is its end: it is started anew, and connects anew then."""

    _setup: PublisherSetup
    _output: Output

    def __init__(self, rings: RingHandles) -> None:
        self._tracks = Tracks(pictures=b"", sound=b"")
        """What is published from the next keyframe on."""
        self._sound_is_known = False
        self._open: TrackKinds | None = None
        """The tracks of the open output; None while none is open."""
        self._waits_for_keyframe = True
        self._has_changed = True
        """The open output may not be what the next keyframe needs."""
        self._is_connected = False
        self._held: deque[AudioPacket] = deque()
        self._takes_held = False
        """The sound that is held is of the open output's kind."""
        self._picture_s = self._sound_s = Fraction(-1)
        """Times of what was written last, in seconds of the stream."""
        self._obstacle = ""

    def process(self, message: Message) -> Iterable[Message]:
        match message:
            case PublisherSetup():
                self._setup = message
                register_url(message.output.to)
                self._output = make_output(message.output, message.name)
            case EncodingOpened():
                self._tracks = replace(self._tracks, pictures=message.video)
                self._waits_for_keyframe = self._has_changed = True
            case SoundOpened():
                yield from self._open_sound(message)
            case EncodedPacket():
                yield self._acknowledgement(self._publish(message))
            case AudioPacket():
                yield self._acknowledgement(self._hold(message))
            case _:
                pass

    def close(self) -> None:
        """Complete files and say goodbye to servers. Raises OutputError."""
        if self._open is not None:
            self._output.close(is_last=True)

    def _acknowledgement(self, dropped: int) -> Published:
        return Published(packets=1, dropped=dropped, is_connected=self._is_connected)

    def _open_sound(self, opened: SoundOpened) -> Iterator[OutputNote]:
        """Where the output cannot hold this sound it goes without, and says so once."""
        is_wanted = opened.audio != b"" and self._setup.output.audio == "copy"
        obstacle = self._obstacle_of(opened) if is_wanted else ""
        if obstacle and obstacle != self._obstacle:
            yield OutputNote(text=obstacle)
        self._obstacle = obstacle
        self._tracks = replace(self._tracks, sound=opened.audio if is_wanted and not obstacle else b"")
        self._sound_is_known = self._has_changed = True
        self._held.clear()
        self._takes_held = self._open is not None and self._open.sound == track_kind(self._tracks.sound)

    def _obstacle_of(self, opened: SoundOpened) -> str:
        """Why the output cannot hold this sound; empty where it can."""
        kind = output_kind(self._setup.output.to)
        try:
            sound = track_kind(opened.audio)
        except av.FFmpegError:
            return f"the sound ({opened.codec}) is left out: its parameters cannot be read"
        if sound is None or sound.codec not in SOUNDS[kind]:
            return f"the sound ({opened.codec}) is left out: {kind} cannot hold it"
        return ""

    def _publish(self, packet: EncodedPacket) -> int:
        """Returns how many packets were dropped by it, sound among them."""
        if not self._tracks.pictures or not self._sound_is_known or (self._waits_for_keyframe and not packet.is_keyframe):
            return 1
        self._picture_s = Fraction(packet.dts, CLOCK)
        dropped = self._write_held()
        if packet.is_keyframe and self._has_changed:
            self._begin(packet.dts)
        dropped += not self._output.write_picture(packet)
        self._is_connected = True
        return dropped + self._lead()

    def _begin(self, start: int) -> None:
        """Open the output, anew where other tracks than the open one's are to be published from now on."""
        self._waits_for_keyframe = self._has_changed = False
        kinds = TrackKinds(pictures=track_kind(self._tracks.pictures), sound=track_kind(self._tracks.sound))
        if self._open is not None:
            # A track of sound that falls silent is no reason to cut off everybody who watches.
            if self._open.pictures == kinds.pictures and kinds.sound in (self._open.sound, None):
                return
            self._open = None
            self._output.close(is_last=False)
        self._output.open(self._tracks, start)
        self._open = kinds
        self._takes_held = kinds.sound is not None
        logger.info("the output is open", kind=output_kind(self._setup.output.to), sound=kinds.sound is not None)

    def _hold(self, packet: AudioPacket) -> int:
        """Keep sound until the pictures have come as far. Returns how many packets were dropped by it."""
        if not self._tracks.sound or packet.pts is None or packet.track != 0:
            return 1
        self._held.append(packet)
        dropped = 0
        while _time_s(packet) - _time_s(self._held[0]) > _MOST_HELD_S:
            self._held.popleft()
            dropped += 1
        return dropped + self._write_held() + self._lead()

    def _write_held(self) -> int:
        """Write the sound that lies before the newest picture. Returns how many packets of it were dropped."""
        dropped = 0
        while self._takes_held and self._held and _time_s(self._held[0]) < self._picture_s:
            dropped += not self._write_sound()
        return dropped

    def _lead(self) -> int:
        """FFmpeg keeps a picture until there is sound after it, so give one packet ahead where pictures should not wait."""
        if self._takes_held and self._held and not self._output.holds_back and self._sound_s < self._picture_s:
            return int(not self._write_sound())
        return 0

    def _write_sound(self) -> bool:
        packet = self._held.popleft()
        self._sound_s = _time_s(packet)
        return self._output.write_sound(packet)


def _time_s(packet: AudioPacket) -> Fraction:
    assert packet.pts is not None
    return packet.pts * Fraction(*packet.time_base)

"""The messages that only live streams need; the others are those of files, in streamer/messages.py.

A *session* is one connection to a camera, from its first picture until it ends: a number that is never used twice. It stands where
the messages of files have `stream`, so that whatever comes late, of a session that is over, is known as such.

All times are of one clock, seconds of `time.monotonic`; `pts` of the output counts 1/90000 s from `origin_s`, which each stream is
given once. So a stream's time goes on over sessions, slates and restarts.
"""

from __future__ import annotations

from typing import Literal

from streamer.config import FilterSettings, StreamDetectorSettings
from streamer.live.config import LiveVideoSettings, OutputSettings, ZoneSettings
from streamer.live.status import ServeStatus
from streamer.messages import Message
from streamer.pictures import PictureLayout

CLOCK = 90_000
"""Ticks a second of every output's pictures."""


class CameraSetup(Message, frozen=True, kw_only=True):
    """Supervisor to source: the camera to connect to, as this session."""

    session: int
    url: str
    """With its credentials: never to be logged."""
    transport: Literal["tcp", "udp"]
    loop: bool
    read_timeout_s: float
    audio: Literal["copy", "drop"]
    max_fps: float | None
    origin_s: float
    thorough_every_s: float
    """Longest time between frames for thorough detection."""


class CameraOpened(Message, frozen=True, kw_only=True):
    """Source to supervisor: the camera sends pictures of this kind. Sent once in a session, before its first frame."""

    session: int
    layout: PictureLayout
    codec: str
    """FFmpeg's name of the decoder, for the status."""
    average_rate: tuple[int, int]
    """Frames a second; 0/1 where the camera does not say."""
    sample_aspect_ratio: tuple[int, int]
    audio: bytes
    """A small file that carries the parameters of the sound; empty without any."""
    audio_codec: str
    """Empty without sound."""


class FramesSkipped(Message, frozen=True, kw_only=True):
    """Source to supervisor: pictures that were decoded and not put into the pipeline."""

    session: int
    reason: Literal["no_slot", "rate"]
    frames: int


class SessionReady(Message, frozen=True, kw_only=True):
    """Supervisor to source, detectors, anonymizer and sink: a session begins; the descriptors of its rings come beside this."""

    session: int
    layout: PictureLayout
    sample_aspect_ratio: tuple[int, int]
    raw_slots: int
    safe_slots: int
    window_frames: int
    """Most frames that may wait for the look-ahead behind them."""
    first_number: int
    """Of the first frame that comes to the one who is told; not 0 where a process takes the place of another one."""
    detector: StreamDetectorSettings
    needs_keypoints: bool


class SessionEnded(Message, frozen=True, kw_only=True):
    """Supervisor to detectors and anonymizer: nothing of this session comes any more; its rings can be given back."""

    session: int


class CameraLost(Message, frozen=True, kw_only=True):
    """Source to supervisor, its last message: the session is over, and why; one line without credentials."""

    session: int
    reason: str
    is_end: bool = False
    """Of a file that has been played and is not to be played again."""


class LiveDetectorSetup(Message, frozen=True, kw_only=True):
    """Supervisor to detector: what runs the networks; what is wanted of them comes with each session.

    needs_keypoints: whether any stream will want keypoints, so that the right networks are loaded beforehand.
    """

    backend: str
    needs_keypoints: bool


class LiveAnonymizerSetup(Message, frozen=True, kw_only=True):
    """Supervisor to the anonymizer of one stream."""

    filter: FilterSettings
    look_ahead_s: float
    zones: tuple[ZoneSettings, ...]
    backend: str
    max_age_s: float
    """Frames that are older when their turn comes are dropped."""


class FrameDropped(Message, frozen=True, kw_only=True):
    """Supervisor to anonymizer: this frame will not come; those after it need not wait for it."""

    session: int
    number: int


class LiveSinkSetup(Message, frozen=True, kw_only=True):
    """Supervisor to the sink of one stream, which encodes it once for all outputs."""

    name: str
    """Of the stream, for the slate."""
    video: LiveVideoSettings
    max_fps: float | None
    """The most pictures a second that come; None where that is not known."""


class Slate(Message, frozen=True, kw_only=True):
    """Supervisor to sink: encode a plain picture with the stream's name and this text, now."""

    text: str
    pts: int


class KeyframeWanted(Message, frozen=True, kw_only=True):
    """Supervisor to sink: the next picture shall be a keyframe, because somebody has begun to listen."""


class PreviewWanted(Message, frozen=True, kw_only=True):
    """Web server to supervisor to sink: somebody looks at this stream; send a small picture of the next safe frame."""

    name: str


class Preview(Message, frozen=True, kw_only=True):
    """Sink to supervisor to web server: a small picture of an anonymized frame or of a slate."""

    name: str
    jpeg: bytes


class EncodingOpened(Message, frozen=True, kw_only=True):
    """Sink to supervisor and publishers: encoded pictures of this kind follow; those before it are over."""

    video: bytes
    """A small file that carries the parameters of the encoded pictures, as `track_parameters` makes them."""
    width: int
    height: int


class EncodedPacket(Message, frozen=True, kw_only=True):
    """Sink to publishers: an encoded picture; the only form in which pictures reach a publisher."""

    pts: int
    dts: int
    duration: int
    is_keyframe: bool
    data: bytes


class LiveFrameWritten(Message, frozen=True, kw_only=True):
    """Sink to supervisor: the frame is encoded; its slot of the safe ring is free. Follows the packets that it led to."""

    session: int
    number: int
    slot: int


class SlateWritten(Message, frozen=True, kw_only=True):
    """Sink to supervisor: a slate is encoded."""


class SoundOpened(Message, frozen=True, kw_only=True):
    """Supervisor to publishers: packets of sound of this kind follow; `audio` as in `CameraOpened`, empty without any."""

    audio: bytes
    codec: str


class PublisherSetup(Message, frozen=True, kw_only=True):
    """Supervisor to publisher: one output of one stream."""

    name: str
    """Of the stream, for the names of recordings."""
    output: OutputSettings
    """Its `to` with credentials: never to be logged."""


class Published(Message, frozen=True, kw_only=True):
    """Publisher to supervisor: so many more of the packets that it was sent are handed on or dropped on purpose."""

    packets: int
    dropped: int
    """Of them, those that the output cannot take: sound of the wrong kind, pictures before the first keyframe."""
    is_connected: bool
    """Whether the output has taken anything since the publisher began."""


class OutputNote(Message, frozen=True, kw_only=True):
    """Publisher to supervisor: something for the log and the status page, one line without credentials."""

    text: str


class WebSetup(Message, frozen=True, kw_only=True):
    """Supervisor to web server."""

    host: str
    port: int
    token: str | None
    preview: bool


class StatusUpdate(Message, frozen=True, kw_only=True):
    """Supervisor to web server, once a second and when something happens: all that can be known from outside."""

    status: ServeStatus

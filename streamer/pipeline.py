"""THE table: every process, what it reads and writes, which rings it may map and how, and what happens when it dies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamer.live.messages import (
    CameraLost,
    CameraOpened,
    CameraSetup,
    EncodedPacket,
    EncodingOpened,
    FrameDropped,
    FramesSkipped,
    KeyframeWanted,
    LiveAnonymizerSetup,
    LiveDetectorSetup,
    LiveFrameWritten,
    LiveSinkSetup,
    OutputNote,
    Preview,
    PreviewWanted,
    Published,
    PublisherSetup,
    SessionEnded,
    SessionReady,
    Slate,
    SlateWritten,
    SoundOpened,
    StatusUpdate,
    WebSetup,
)
from streamer.messages import (
    AnonymizedFrame,
    AnonymizerSetup,
    AudioPacket,
    BackendReplaced,
    DetectedFrame,
    DetectorSetup,
    Failed,
    FrameReport,
    FrameWritten,
    Hello,
    ImageDone,
    ImageSetup,
    ImageTask,
    Message,
    RawFrame,
    Ready,
    SinkFinished,
    SinkSetup,
    SlotFree,
    SourceEnded,
    SourceSetup,
    Stop,
    StreamOpened,
    StreamReady,
    UndetectedFrame,
)
from streamer.rings import Access

MessageTypes = tuple[type[Message], ...]


@dataclass(frozen=True, kw_only=True)
class RestartLimit:
    """How often the processes of a row together may be restarted; one more death ends the job."""

    restarts: int
    within_s: float


@dataclass(frozen=True, kw_only=True)
class ProcessRow:
    """One role. `worker` is `module:class`; only the process itself imports it."""

    role: str
    worker: str
    reads: MessageTypes
    writes: MessageTypes
    rings: Mapping[str, Access] = field(default_factory=dict)
    by_credit: type[Message] | None = None
    """Of the messages it reads, the one that is handed to one idle process of the row instead of to all."""
    restart_limit: RestartLimit | None = None
    """None: its first death ends the job."""
    start_limit_s: float = 60.0
    """Time to be ready."""
    hang_limit_s: float = 20.0
    """Silence after which it counts as dead and is killed; more for big pictures: see below."""
    hang_limit_s_per_megapixel: float = 4.0
    finish_limit_s: float = 60.0
    """The same while it completes the output, where there is no step to beat between."""
    finish_limit_s_per_frame: float = 0.05
    is_live: bool = False
    """Its rings come and go with the sessions, instead of one from its start on."""
    steps: bool = False
    """Its worker has a `step`, called whenever no message waits."""


VIDEO_PIPELINE: tuple[ProcessRow, ...] = (
    ProcessRow(
        role="source",
        worker="streamer.workers.source:SourceWorker",
        reads=(SourceSetup, StreamReady, SlotFree),
        writes=(StreamOpened, RawFrame, AudioPacket, SourceEnded),
        rings={"raw": "write"},
    ),
    ProcessRow(
        role="detector",
        worker="streamer.workers.detector:DetectorWorker",
        reads=(DetectorSetup, StreamReady, RawFrame),
        writes=(DetectedFrame,),
        rings={"raw": "read"},
        by_credit=RawFrame,
        restart_limit=RestartLimit(restarts=5, within_s=60.0),
    ),
    ProcessRow(
        role="anonymizer",
        worker="streamer.workers.anonymizer:AnonymizerWorker",
        reads=(AnonymizerSetup, StreamReady, DetectedFrame, UndetectedFrame, SourceEnded, SlotFree),
        writes=(AnonymizedFrame, FrameReport),
        rings={"raw": "read", "safe": "write"},
    ),
    ProcessRow(
        role="sink",
        worker="streamer.workers.sink:SinkWorker",
        reads=(SinkSetup, StreamReady, AnonymizedFrame, AudioPacket, SourceEnded),
        writes=(FrameWritten, SinkFinished),
        rings={"safe": "read"},
    ),
)
"""Videos: the detector's processes share the work, each other role is one process."""

IMAGE_PIPELINE: tuple[ProcessRow, ...] = (
    ProcessRow(
        role="image",
        worker="streamer.workers.image:ImageWorker",
        reads=(ImageSetup, ImageTask),
        writes=(ImageDone,),
        by_credit=ImageTask,
        restart_limit=RestartLimit(restarts=20, within_s=60.0),
        # The largest photos take minutes, several times as long where they are transparent.
        hang_limit_s=1800.0,
    ),
)
"""Images: a process does all that one picture needs, so that a picture never leaves it before it is safe."""

LIVE_PIPELINE: tuple[ProcessRow, ...] = (
    ProcessRow(
        role="camera",
        worker="streamer.workers.camera:CameraWorker",
        reads=(CameraSetup, SessionReady, SlotFree),
        writes=(CameraOpened, RawFrame, FramesSkipped, AudioPacket, CameraLost),
        rings={"raw": "write"},
        is_live=True,
        steps=True,
        start_limit_s=20.0,
        hang_limit_s=3.0,
    ),
    ProcessRow(
        role="live-detector",
        worker="streamer.workers.live_detector:LiveDetectorWorker",
        reads=(LiveDetectorSetup, SessionReady, SessionEnded, RawFrame),
        writes=(DetectedFrame,),
        rings={"raw": "read"},
        is_live=True,
        by_credit=RawFrame,
        hang_limit_s=3.0,
    ),
    ProcessRow(
        role="live-anonymizer",
        worker="streamer.workers.live_anonymizer:LiveAnonymizerWorker",
        reads=(LiveAnonymizerSetup, SessionReady, SessionEnded, DetectedFrame, UndetectedFrame, FrameDropped, SlotFree),
        writes=(AnonymizedFrame, FrameReport),
        rings={"raw": "read", "safe": "write"},
        is_live=True,
        hang_limit_s=3.0,
    ),
    ProcessRow(
        role="live-sink",
        worker="streamer.workers.live_sink:LiveSinkWorker",
        reads=(LiveSinkSetup, SessionReady, AnonymizedFrame, Slate, KeyframeWanted, PreviewWanted),
        writes=(EncodingOpened, EncodedPacket, LiveFrameWritten, SlateWritten, Preview),
        rings={"safe": "read"},
        is_live=True,
        hang_limit_s=3.0,
    ),
    ProcessRow(
        role="publisher",
        worker="streamer.workers.publisher:PublisherWorker",
        reads=(PublisherSetup, EncodingOpened, SoundOpened, EncodedPacket, AudioPacket),
        writes=(Published, OutputNote),
        is_live=True,
        hang_limit_s=8.0,
    ),
    ProcessRow(
        role="web",
        worker="streamer.workers.web:WebWorker",
        reads=(WebSetup, StatusUpdate, Preview),
        writes=(PreviewWanted,),
        is_live=True,
        hang_limit_s=10.0,
        steps=True,
    ),
)
"""Cameras: the detectors and the web server are shared by all streams; every other process belongs to one stream, so that whatever
happens to it touches no other one. Each output has a publisher, so that one that is stuck touches no other output either."""

SUPERVISOR_WRITES: MessageTypes = (
    Stop,
    SourceSetup,
    DetectorSetup,
    AnonymizerSetup,
    SinkSetup,
    ImageSetup,
    StreamReady,
    SlotFree,
    UndetectedFrame,
    ImageTask,
    CameraSetup,
    SessionReady,
    SessionEnded,
    LiveDetectorSetup,
    LiveAnonymizerSetup,
    FrameDropped,
    LiveSinkSetup,
    Slate,
    KeyframeWanted,
    SoundOpened,
    PublisherSetup,
    WebSetup,
    StatusUpdate,
)
SUPERVISOR_READS: MessageTypes = (
    Hello,
    Ready,
    Failed,
    BackendReplaced,
    StreamOpened,
    RawFrame,
    DetectedFrame,
    FrameReport,
    FrameWritten,
    SourceEnded,
    SinkFinished,
    ImageDone,
    CameraOpened,
    CameraLost,
    FramesSkipped,
    EncodingOpened,
    LiveFrameWritten,
    SlateWritten,
    Published,
    OutputNote,
)
"""What the supervisor acts on; everything else it only passes on."""

EVERY_CHILD_READS: MessageTypes = (Stop,)
EVERY_CHILD_WRITES: MessageTypes = (Hello, Ready, Failed, BackendReplaced)


def row_of(role: str) -> ProcessRow:
    """The row of a role. Raises KeyError for a role that no pipeline has."""
    return {row.role: row for row in (*VIDEO_PIPELINE, *IMAGE_PIPELINE, *LIVE_PIPELINE)}[role]


def readers(table: Sequence[ProcessRow], kind: type[Message]) -> list[ProcessRow]:
    """The rows to whose processes the supervisor passes such a message on."""
    return [row for row in table if kind in row.reads]

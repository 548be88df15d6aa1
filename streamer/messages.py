"""Every message between the processes: small facts as msgpack; pixels stay in the rings.

A frame is known by (stream, number) everywhere; `generation` counts the uses of a slot, so that a reader notices when the slot
behind a message has been given to another frame. Times: `pts` in units of the stream's `time_base`, `time_s` in seconds from the
first frame.
"""

from __future__ import annotations

import msgspec
import numpy as np

from models.backends import DEFAULT_BACKEND
from models.detectors import Effort
from models.faces import KEYPOINT_NAMES, Faces
from streamer.config import AnonymizeSettings, DetectorSettings, FilterSettings, TrackerSettings
from streamer.pictures import PictureLayout


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """What all messages share: they are tagged by their class name on the wire."""


class Hello(Message, frozen=True, kw_only=True):
    """Every process to the supervisor: it is connected and waits for its set-up."""


class Ready(Message, frozen=True, kw_only=True):
    """Every process to the supervisor: it is set up; where work is handed out by credit, it takes its first job."""


class Stop(Message, frozen=True, kw_only=True):
    """Supervisor to every process: leave, whatever is unfinished."""


class SourceSetup(Message, frozen=True, kw_only=True):
    """Supervisor to source: what to read, and which of its tracks."""

    stream: int
    path: str
    plan: msgspec.Raw
    """An `OutputPlan` as msgpack; only source and sink need the modules that know what it is."""


class DetectorSetup(Message, frozen=True, kw_only=True):
    """Supervisor to detector. needs_keypoints: look for keypoints too. backend: what runs the networks, as in the settings."""

    detector: DetectorSettings
    needs_keypoints: bool = False
    backend: str = DEFAULT_BACKEND


class AnonymizerSetup(Message, frozen=True, kw_only=True):
    """Supervisor to anonymizer. backend: what runs the filter's network, as in the settings."""

    tracker: TrackerSettings
    filter: FilterSettings
    preview_detections: bool
    backend: str = DEFAULT_BACKEND


class SinkSetup(Message, frozen=True, kw_only=True):
    """Supervisor to sink: what to write, and where."""

    temporary: str
    plan: msgspec.Raw
    """An `OutputPlan` as msgpack."""


class ImageSetup(Message, frozen=True, kw_only=True):
    """Supervisor to a process for images."""

    settings: AnonymizeSettings


class StreamOpened(Message, frozen=True, kw_only=True):
    """Source to anonymizer and sink: what the stream is. Sent once, before its first frame."""

    stream: int
    layout: PictureLayout
    time_base: tuple[int, int]
    average_rate: tuple[int, int]
    """Frames a second, 0/1 where the container does not say; frames may come at any times all the same."""
    peak_rate: tuple[int, int]
    """Most frames in a second, as far as the container tells, at least as many as on average; 0/1 where it does not."""
    sample_aspect_ratio: tuple[int, int]
    audio: bytes
    """A small file that carries the parameters of the tracks to copy, with a packet of each; empty without any."""
    frames_estimated: int | None
    duration_s: float | None


class StreamReady(Message, frozen=True, kw_only=True):
    """Supervisor to source, detector, anonymizer and sink: the rings have their size and may be mapped."""

    opened: StreamOpened
    raw_slots: int
    safe_slots: int
    window_frames: int
    """Most frames that may wait for the look-ahead behind them."""
    interval_frames: int | None
    """Most frames from a thorough one to the next; None where those between wait for none, and time alone counts."""


class RawFrame(Message, frozen=True, kw_only=True):
    """Source to detector: a decoded picture lies in this slot of the raw ring."""

    stream: int
    number: int
    slot: int
    generation: int
    pts: int
    duration: int
    time_s: float
    is_corrupt: bool
    """The decoder or demuxer marked the picture as damaged: it is covered whole."""
    is_cut: bool
    """The first frame of a new shot."""
    effort: Effort
    """Thorough or quick; frames that are quick by the source may become careful on their way, see streamer/effort.py."""
    captured_s: float = 0.0
    """Live: when the picture arrived, in seconds of `time.monotonic`."""


class DetectedFrame(Message, frozen=True, kw_only=True):
    """Detector to anonymizer: the faces of that very frame, or None where they cannot be known and all of it must be covered."""

    frame: RawFrame
    faces: FacesRecord | None


class UndetectedFrame(Message, frozen=True, kw_only=True):
    """Supervisor to anonymizer: no detector survives this frame, so that all of it must be covered."""

    frame: RawFrame


class FacesRecord(msgspec.Struct, frozen=True, array_like=True):
    """`Faces` as bytes of float32, in the order of its fields."""

    boxes: bytes
    scores: bytes
    keypoints: bytes
    keypoint_scores: bytes

    @classmethod
    def pack(cls, faces: Faces) -> FacesRecord:
        return cls(faces.boxes.tobytes(), faces.scores.tobytes(), faces.keypoints.tobytes(), faces.keypoint_scores.tobytes())

    def unpack(self) -> Faces:
        """Raises ValueError where the bytes are not faces."""
        scores = np.frombuffer(self.scores, np.float32)
        count, names = len(scores), len(KEYPOINT_NAMES)
        return Faces(
            boxes=np.frombuffer(self.boxes, np.float32).reshape(count, 4),
            scores=scores,
            keypoints=np.frombuffer(self.keypoints, np.float32).reshape(count, names, 2),
            keypoint_scores=np.frombuffer(self.keypoint_scores, np.float32).reshape(count, names),
        )


class AnonymizedFrame(Message, frozen=True, kw_only=True):
    """Anonymizer to sink: a safe picture lies in this slot of the safe ring. All that a sink ever learns of a picture."""

    stream: int
    number: int
    slot: int
    generation: int
    pts: int
    duration: int


class Cover(msgspec.Struct, frozen=True, array_like=True):
    """One covered face for the report."""

    track: int
    box: tuple[float, float, float, float]
    reason: str
    """detected, reached_back, bridged or held."""
    score: float
    fallback: str | None = None
    """Why the filter covered it otherwise than it is meant to; None where it did as it is meant to."""


class FrameReport(Message, frozen=True, kw_only=True):
    """Anonymizer to supervisor: what was covered in a frame, and its slot of the raw ring, which is free from now on."""

    stream: int
    number: int
    pts: int
    time_s: float
    raw_slot: int
    covers: list[Cover]
    covered_whole: str | None
    """Why the whole frame was covered (corrupt, undetectable); None where it was not."""
    dropped: str | None = None
    """Live: why it was dropped instead: late, as it had become too old; unconfirmed, as only a quick look tells of its faces."""


class AudioPacket(Message, frozen=True, kw_only=True):
    """Source to sink: a packet of an audio track, copied as it is."""

    stream: int
    track: int
    pts: int | None
    dts: int | None
    duration: int
    time_base: tuple[int, int]
    is_keyframe: bool
    data: bytes


class SlotFree(Message, frozen=True, kw_only=True):
    """Supervisor to source (raw ring) or to anonymizer (safe ring): this slot may be written, as this generation."""

    stream: int
    slot: int
    generation: int


class FrameWritten(Message, frozen=True, kw_only=True):
    """Sink to supervisor: the frame is encoded; its slot of the safe ring is free."""

    stream: int
    number: int
    slot: int


class SourceEnded(Message, frozen=True, kw_only=True):
    """Source to supervisor, anonymizer and sink: no frame and no packet comes after these."""

    stream: int
    frames: int
    notes: list[str]
    """What was dropped or damaged on the way in, a sentence each, for the report."""
    is_damaged: bool


class SinkFinished(Message, frozen=True, kw_only=True):
    """Sink to supervisor: the output is complete, verified, and lies under its temporary name."""

    stream: int
    frames: int
    notes: list[str]


class Failed(Message, frozen=True, kw_only=True):
    """Any process to the supervisor before it exits: why it gives up, one line for the user."""

    error: str
    exit_code: int
    is_final: bool
    """Another process of the same kind would fail in the same way."""


class BackendReplaced(Message, frozen=True, kw_only=True):
    """Any process to the supervisor: a backend failed, and another one goes on with its network."""

    network: str
    backend: str
    replaced_by: str
    reason: str
    """One line."""


class ImageTask(Message, frozen=True, kw_only=True):
    """Supervisor to a process for images: one image to anonymize."""

    number: int
    source: str
    temporary: str
    """Where the result shall lie; it is renamed when it is complete."""
    output: str
    """The final name, for messages to the user; nothing is written there."""


class ImageDone(Message, frozen=True, kw_only=True):
    """A process for images to the supervisor: the image is done, or could not be done."""

    number: int
    source: str
    output: str
    covers: list[Cover]
    notes: list[str]
    """What was dropped on the way, a sentence each, for the report."""
    error: str | None
    """Why there is no output, one line for the user; None where there is one."""
    exit_code: int

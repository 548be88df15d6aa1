"""Every message between the processes: small facts as msgpack; pixels stay in the rings.

A frame is known by (stream, number) everywhere; `generation` counts the uses of a slot, so that a reader notices when the slot
behind a message has been given to another frame. Times: `pts` in units of the stream's `time_base`, `time_s` in seconds from the
first frame.
"""

from __future__ import annotations

import msgspec
import numpy as np

from models.faces import KEYPOINT_NAMES, Faces
from streamer.pictures import PictureLayout


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """What all messages share: they are tagged by their class name on the wire."""


class StreamOpened(Message, frozen=True, kw_only=True):
    """Source to anonymizer and sink: what the stream is. Sent once, before its first frame."""

    stream: int
    layout: PictureLayout
    time_base: tuple[int, int]
    average_rate: tuple[int, int]
    """Frames a second, 0/1 where the container does not say; frames may come at any times all the same."""
    sample_aspect_ratio: tuple[int, int]
    audio: bytes
    """A container without packets that carries the parameters of the audio tracks to copy; empty without audio."""
    frames_estimated: int | None
    duration_s: float | None


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
    is_thorough: bool
    """The detector runs all its passes on this frame, not only those of every frame."""


class DetectedFrame(Message, frozen=True, kw_only=True):
    """Detector to anonymizer: the faces of that very frame, or None where they cannot be known and all of it must be covered."""

    frame: RawFrame
    faces: FacesRecord | None


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
    """detected, reached_back, bridged, held or fallback."""
    score: float


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

    stream: int
    error: str
    exit_code: int

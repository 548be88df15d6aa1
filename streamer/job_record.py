"""What is known of a video's job: counted and noted while it goes on, and the result at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from streamer.errors import InternalError
from streamer.messages import BackendReplaced, SinkFinished, SourceEnded
from streamer.tally import Tally


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What was done, for the user and the report."""

    frames: int
    covered_faces: int
    """Covers of all frames together."""
    tracks: int
    covered_whole: int
    """Frames that were covered whole."""
    covers_by_reason: dict[str, int]
    fallbacks: dict[str, int]
    """Covers by why the filter covered otherwise than it is meant to."""
    notes: list[str]
    """What was dropped, damaged or degraded, a sentence each."""
    is_damaged: bool
    restarts: dict[str, int]
    """By role."""
    replaced_backends: dict[BackendReplaced, int]
    """Backends that failed, by how many processes had to replace them."""
    wall_s: float
    cpu_s: dict[str, float]
    """User and system time by role; `supervisor` is this process."""


@dataclass(kw_only=True)
class JobRecord:
    """What has happened so far, and whether all of it fits together at the end."""

    tally: Tally = field(default_factory=Tally)
    written: int = 0
    """Frames that the sink has encoded."""
    ended: SourceEnded | None = None
    """What the source said at its end; None before."""
    finished: SinkFinished | None = None
    """The same of the sink."""
    restarts: Counter[str] = field(default_factory=Counter)
    replaced_backends: Counter[BackendReplaced] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def is_finished(self) -> bool:
        return self.finished is not None

    @property
    def frames_if_written(self) -> int | None:
        """All frames of the video; None until the sink has every one of them."""
        if self.ended is None or self.written < self.ended.frames:
            return None
        return self.ended.frames

    def finish(self, finished: SinkFinished) -> None:
        """The output is complete. Raises InternalError where it has not the frames that it should have."""
        expected = None if self.ended is None else self.ended.frames
        if not expected == finished.frames == self.tally.frames:
            raise InternalError(f"frames decoded: {expected}, anonymized: {self.tally.frames}, written: {finished.frames}")
        self.finished = finished

    def result(self, *, wall_s: float, cpu_s: dict[str, float]) -> JobResult:
        """Once it is finished."""
        assert self.ended is not None
        assert self.finished is not None
        return JobResult(
            frames=self.tally.frames,
            covered_faces=self.tally.reasons.total(),
            tracks=len(self.tally.tracks),
            covered_whole=self.tally.covered_whole,
            covers_by_reason=dict(self.tally.reasons),
            fallbacks=dict(self.tally.fallbacks),
            notes=[*self.ended.notes, *self.notes, *self.finished.notes],
            is_damaged=self.ended.is_damaged,
            restarts=dict(self.restarts),
            replaced_backends=dict(self.replaced_backends),
            wall_s=wall_s,
            cpu_s=cpu_s,
        )

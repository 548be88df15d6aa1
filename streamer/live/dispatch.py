"""Who looks for faces in which frame: the streams take turns, and of each only the newest frames wait.

RawFrame -> [waiting, a few of each session] -> one idle detector -> DetectedFrame
                | too many, or too old               | takes too long, or dies with it
                v                                    v
             dropped                          covered whole
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from streamer.messages import RawFrame

MOST_WAITING = 3
"""Frames of a session that may wait for a detector; with more, the oldest is dropped."""
MOST_DEATHS = 2
"""A frame that so many detectors died with is given to no other one."""


class UnexpectedAnswerError(Exception):
    """A detector answers for a frame that it was not given."""


class Key(NamedTuple):
    """A frame, wherever it is spoken of."""

    session: int
    number: int


@dataclass(kw_only=True)
class _Queue:
    """The frames of one session that wait."""

    frames: deque[RawFrame] = field(default_factory=deque)
    served: int = 0
    """When it had its last turn, as the count of all turns."""
    owes_thorough: bool = False
    owes_cut: bool = False
    owed_by: int = -1
    """The newest of the dropped frames whose due is still to be handed on."""


@dataclass(kw_only=True)
class _Job:
    frame: RawFrame
    since_s: float
    is_abandoned: bool = False


class LiveDispatcher:
    """A detector holds one frame at a time, so that it is known what is lost when it dies."""

    def __init__(self) -> None:
        self._queues: dict[int, _Queue] = {}
        self._idle: dict[str, None] = {}
        self._jobs: dict[str, _Job] = {}
        self._deaths: dict[Key, int] = {}
        self._turns = 0

    def submit(self, frame: RawFrame) -> list[RawFrame]:
        """A frame that is to be looked at; returns those that are dropped for it, the oldest first.

        Those between thorough ones go first. One that was to be looked at thoroughly, or began a shot, hands that on to the frame
        behind it.
        """
        queue = self._queues.setdefault(frame.stream, _Queue())
        queue.frames.append(frame)
        dropped = []
        while len(queue.frames) > MOST_WAITING:
            between = (place for place, waiting in enumerate(queue.frames) if waiting.effort != "thorough")
            dropped.append(self._drop(queue, next(between, 0)))
        self._hand_on(queue)
        return dropped

    def drop_older(self, captured_before_s: dict[int, float]) -> list[RawFrame]:
        """Drop what has waited too long: session -> time before which a picture must not have arrived."""
        dropped = []
        for session, before_s in captured_before_s.items():
            queue = self._queues.get(session)
            while queue is not None and queue.frames and queue.frames[0].captured_s < before_s:
                dropped.append(self._drop(queue, 0))
            if queue is not None:
                self._hand_on(queue)
        return dropped

    def add_idle(self, process: str) -> None:
        self._idle[process] = None

    def assign(self, now_s: float, congested: Collection[int] = ()) -> list[tuple[str, RawFrame]]:
        """(process, frame) of all that can be handed out now; sessions take turns, of each the oldest frame comes first.

        congested: sessions whose later stages have all that they can do: their frames go on waiting.
        """
        assigned: list[tuple[str, RawFrame]] = []
        while self._idle:
            waiting = [queue for session, queue in self._queues.items() if queue.frames and session not in congested]
            if not waiting:
                break
            queue = min(waiting, key=lambda queue: queue.served)
            self._turns += 1
            queue.served = self._turns
            process = next(iter(self._idle))
            del self._idle[process]
            frame = queue.frames.popleft()
            self._jobs[process] = _Job(frame=frame, since_s=now_s)
            assigned.append((process, frame))
        return assigned

    def finish(self, process: str, frame: RawFrame, *, is_known: bool = True) -> bool:
        """A detector has answered and is idle again; whether the answer is still wanted.

        is_known: it says which faces there are; otherwise a thorough look is the next frame's duty.
        Raises UnexpectedAnswerError for the frame of another one: it keeps its job, of which nobody may trust it any more.
        """
        job = self._jobs.get(process)
        if job is None or key_of(job.frame) != key_of(frame):
            raise UnexpectedAnswerError(f"{process} answers {key_of(frame)}, holds {job and key_of(job.frame)}")
        del self._jobs[process]
        self._idle[process] = None
        self._deaths.pop(key_of(frame), None)
        if not is_known and not job.is_abandoned:
            self._owe(job.frame)
        return not job.is_abandoned

    def expire(self, since_before_s: dict[int, float]) -> list[RawFrame]:
        """Frames that detectors have had for too long: session -> time before which one must not have been handed out.

        Whoever holds one goes on with it, but its answer is not wanted any more.
        """
        expired = []
        for job in self._jobs.values():
            before_s = since_before_s.get(job.frame.stream)
            if before_s is not None and not job.is_abandoned and job.since_s < before_s:
                job.is_abandoned = True
                self._owe(job.frame)
                expired.append(job.frame)
        return expired

    def bury(self, process: str) -> RawFrame | None:
        """A detector is dead; its frame waits again, before newer ones. Returns the frame instead if it has had its last try."""
        self._idle.pop(process, None)
        job = self._jobs.pop(process, None)
        if job is None:
            return None
        key = key_of(job.frame)
        if job.is_abandoned:
            self._deaths.pop(key, None)
            return None
        self._deaths[key] = self._deaths.get(key, 0) + 1
        if self._deaths[key] >= MOST_DEATHS:
            del self._deaths[key]
            self._owe(job.frame)
            return job.frame
        frames = self._queues.setdefault(key.session, _Queue()).frames
        frames.insert(sum(frame.number < key.number for frame in frames), job.frame)
        return None

    def forget(self, session: int) -> None:
        """Nothing of this session is wanted any more."""
        self._queues.pop(session, None)
        self._deaths = {key: deaths for key, deaths in self._deaths.items() if key.session != session}
        for job in self._jobs.values():
            job.is_abandoned = job.is_abandoned or job.frame.stream == session

    def waiting(self, session: int) -> int:
        """Frames of a session that wait for a detector."""
        queue = self._queues.get(session)
        return len(queue.frames) if queue is not None else 0

    def _owe(self, frame: RawFrame) -> None:
        """Nothing is known of this frame: if it was to be looked at thoroughly, small faces would show until the next one."""
        if frame.effort == "thorough":
            queue = self._queues.setdefault(frame.stream, _Queue())
            queue.owes_thorough = True
            queue.owed_by = max(queue.owed_by, frame.number)
            self._hand_on(queue)

    def _drop(self, queue: _Queue, place: int) -> RawFrame:
        frame = queue.frames[place]
        del queue.frames[place]
        self._deaths.pop(key_of(frame), None)
        queue.owes_thorough = queue.owes_thorough or frame.effort == "thorough"
        queue.owes_cut = queue.owes_cut or frame.is_cut
        queue.owed_by = max(queue.owed_by, frame.number)
        return frame

    @staticmethod
    def _hand_on(queue: _Queue) -> None:
        """To the first frame behind the dropped ones: one that came back from a dead detector may lie before them."""
        if not (queue.owes_thorough or queue.owes_cut):
            return
        for place, frame in enumerate(queue.frames):
            if frame.number > queue.owed_by:
                effort = "thorough" if queue.owes_thorough else frame.effort
                queue.frames[place] = msgspec.structs.replace(frame, effort=effort, is_cut=frame.is_cut or queue.owes_cut)
                queue.owes_thorough = queue.owes_cut = False
                return


def key_of(frame: RawFrame) -> Key:
    return Key(frame.stream, frame.number)

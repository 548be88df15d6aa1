"""Handing out work by credit: who holds which job, what happens to it when its holder dies."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_DEATHS = 3
"""A job that was in the hands of so many processes when they died is not tried again."""


class UnexpectedAnswerError(Exception):
    """A process answers for a job that it does not hold."""


class Work(NamedTuple):
    """A job: its number, by which it is known and ordered, and the message that hands it out."""

    number: int
    payload: bytes


@dataclass
class CreditDispatcher:
    """Gives each idle process the lowest-numbered waiting job, the urgent ones first; a process holds one job at a time.

    So that exactly the job in flight is known when a process dies: it waits again in its old place, until it has been the end
    of MOST_DEATHS processes.
    """

    _waiting: list[tuple[int, Work]] = field(default_factory=list)  # what is urgent has rank 0, all else 1
    _idle: dict[str, None] = field(default_factory=dict)  # in the order of becoming idle
    _held: dict[str, tuple[int, Work]] = field(default_factory=dict)
    _deaths: dict[int, int] = field(default_factory=dict)

    def submit(self, number: int, payload: bytes, *, is_urgent: bool = False) -> None:
        """number: names the job; no two at the same time have the same. is_urgent: others wait for it to be done."""
        heapq.heappush(self._waiting, (0 if is_urgent else 1, Work(number, payload)))

    def add_idle(self, process: str) -> None:
        """The process can take a job."""
        self._idle[process] = None

    def finish(self, process: str, number: int) -> None:
        """The process has answered this job and can take another. Raises UnexpectedAnswerError if it does not hold it."""
        held = self._held[process][1].number if process in self._held else None
        if held != number:
            raise UnexpectedAnswerError(f"{process} answers job {number} but holds {held}")
        del self._held[process]
        self._deaths.pop(number, None)
        self._idle[process] = None

    def assign(self) -> list[tuple[str, bytes]]:
        """(process, payload) of every job that can be handed out now; from then on the process holds it."""
        assigned = []
        while self._waiting and self._idle:
            process = next(iter(self._idle))
            del self._idle[process]
            job = heapq.heappop(self._waiting)
            self._held[process] = job
            assigned.append((process, job[1].payload))
        return assigned

    def bury(self, process: str) -> Work | None:
        """The process is dead; its job waits again. Returns the job instead if it has had its last try."""
        self._idle.pop(process, None)
        held = self._held.pop(process, None)
        if held is None:
            return None
        number = held[1].number
        self._deaths[number] = self._deaths.get(number, 0) + 1
        if self._deaths[number] >= MOST_DEATHS:
            del self._deaths[number]
            return held[1]
        heapq.heappush(self._waiting, held)
        return None

    @property
    def wanted(self) -> int:
        """How many more jobs could be handed out at once."""
        return len(self._idle) - len(self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self._waiting and not self._held

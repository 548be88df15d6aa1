"""A process that is to be there: whenever it ends another one takes its place, after a wait that grows as long as none lasts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from streamer.children import Child, Died
from streamer.errors import InternalError, VeilError
from streamer.live.backoff import Backoff
from streamer.live.crew import Crew
from streamer.messages import Message


class Keeper(Protocol):
    """For whom a process is kept; what was said by one that was dismissed does not reach it."""

    def opening(self) -> Sequence[Message]:
        """The first messages of the process that is about to be started, the set-up leading."""
        ...

    def started(self, child: Child) -> None: ...
    def received(self, child: Child, message: Message, payload: bytes) -> None: ...
    def ended(self, error: VeilError, died: Died | None) -> None:
        """It will be tried again. died: None where no process could be had."""
        ...


class KeptProcess:
    """The owner of one process of a role. place: what only one at a time can hold; hang_limit_s: None for that of the table."""

    def __init__(
        self, crew: Crew, role: str, keeper: Keeper, *, place: str | None = None, hang_limit_s: float | None = None
    ) -> None:
        self._crew = crew
        self._role = role
        self._keeper = keeper
        self._place = place
        self._hang_limit_s = hang_limit_s
        self._backoff = Backoff()
        self._worked_since_s: float | None = None
        self.start_at_s = 0.0
        """When the next one may be started, if none is there."""
        self.child: Child | None = None

    def tick(self, now_s: float) -> None:
        """Start it, if it is missing and its time has come."""
        is_due = self.child is None and now_s >= self.start_at_s and self._crew.is_able_to_start
        # After a reload, an earlier process may still be completing what it has at this place.
        if not is_due or (self._place is not None and self._crew.is_taken(self._place)):
            return
        self._worked_since_s = None
        try:
            self.child = self._crew.start(self._role, self._keeper.opening(), self, place=self._place)
        except InternalError as error:
            self._wait(now_s)
            self._keeper.ended(error, None)
            return
        if self._hang_limit_s is not None:
            self.child.hang_limit_s = self._hang_limit_s
        self._keeper.started(self.child)

    @property
    def has_worked(self) -> bool:
        """Whether the process, or the last one while there is none, has done what it is for."""
        return self._worked_since_s is not None

    def works(self) -> None:
        """Its keeper sees that it does what it is for: what fails after a while of that is not waited for so long."""
        if self._worked_since_s is None:
            self._worked_since_s = time.monotonic()

    def restart(self, *, at_once: bool = False) -> None:
        """Another one shall take its place, after the usual wait unless at_once."""
        self.dismiss()
        self._wait(time.monotonic())
        if at_once:
            self.start_at_s = 0.0

    def dismiss(self, grace_s: float = 0.0) -> None:
        """It leaves; the next tick starts another one."""
        self._crew.dismiss(self.child, grace_s)
        self.child = None

    def stop(self, grace_s: float) -> None:
        """It leaves, and no other one comes."""
        self.dismiss(grace_s)
        self.start_at_s = float("inf")

    def received(self, child: Child, message: Message, payload: bytes) -> None:
        self._keeper.received(child, message, payload)

    def died(self, died: Died) -> None:
        self.child = None
        self._wait(time.monotonic())
        self._keeper.ended(died.error, died)

    def _wait(self, now_s: float) -> None:
        worked_s = now_s - self._worked_since_s if self._worked_since_s is not None else 0.0
        self.start_at_s = now_s + self._backoff.wait_s(worked_s)

"""A running process as its parent knows it, and what can happen to it."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from streamer.channel import Decoder
from streamer.deaths import explain
from streamer.errors import VeilError
from streamer.messages import Failed, Message
from streamer.pipeline import ProcessRow
from streamer.rings import RingOutbox


@dataclass(eq=False, kw_only=True)
class Child:
    """A running process."""

    row: ProcessRow
    name: str
    pid: int
    pidfd: int
    cell: int
    decoder: Decoder
    started_s: float
    hang_limit_s: float
    """Silence after which it is killed, once it is ready."""
    is_connected: bool = False
    is_ready: bool = False
    backlog: list[bytes] = field(default_factory=list)
    """What was sent to it before it was connected."""
    failure: Failed | None = None
    hung_s: float | None = None
    outboxes: dict[str, RingOutbox] = field(default_factory=dict)
    """Of a row whose rings come and go: the way of each ring to it."""
    leave_by_s: float | None = None
    """Once it was told to leave: when it is killed if it is still there."""
    ended_s: float | None = None
    """When it was first seen to have ended."""
    exit_code: int | None = None
    """Once that is known; the negative number of the signal that ended it."""

    def kill(self) -> None:
        """Nothing happens once it has ended: its descriptor may be somebody else's by then."""
        if self.exit_code is None:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def death(self) -> Died:
        """What there is to tell, once it has ended."""
        error = explain(
            self.row.role, failure=self.failure, hung_s=self.hung_s, was_ready=self.is_ready, exit_code=self.exit_code or 0
        )
        return Died(child=self, error=error, is_final=self.failure is not None and self.failure.is_final)


@dataclass(frozen=True, kw_only=True)
class Received:
    """A child said something; `payload` is the message as it came."""

    child: Child
    message: Message
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class Died:
    """A child is gone. error: why, to raise if that ends the job."""

    child: Child
    error: VeilError
    is_final: bool
    """It said that another one in its place would fail in the same way."""

"""What each process does: messages in, messages out, pixels from ring to ring; no sockets, no signals, no processes.

source -> RawFrame -> detector -> DetectedFrame -> anonymizer -> AnonymizedFrame -> sink
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from streamer.messages import Message
from streamer.rings import RingEnd

RingHandles = Mapping[str, RingEnd]


class Worker(Protocol):
    """What a process does, whatever runs it."""

    def __init__(self, rings: RingHandles) -> None:
        """rings: its ends of the rings, by name, as the table of the processes grants them."""
        ...

    def process(self, message: Message) -> Iterable[Message]:
        """Act on a message and give the answers; each answer that is taken is a sign of life.

        The first message sets the worker up. Raises VeilError for what the user can mend, anything else for a defect.
        """
        ...

    def close(self) -> None:
        """Leave what is unfinished: the process is about to end."""
        ...


class SteppingWorker(Worker, Protocol):
    """A worker that has something to do of its own accord, whether a message comes or not."""

    def step(self) -> Iterable[Message]:
        """Do a bit of it and give what comes of it; waits a moment where there is nothing to do. Called between messages."""
        ...

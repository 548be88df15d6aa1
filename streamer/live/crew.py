"""Children and whose they are: each belongs to a stream, an output, the detectors or the web server, who hears of it alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streamer.channel import encode
from streamer.children import Child, Died, Received
from streamer.messages import Message
from streamer.pipeline import row_of
from streamer.rings import RingMemory
from streamer.supervisor import Supervisor

DISMISSAL_S = 3.0
"""Time to leave for a process that has nothing to finish."""


class Owner(Protocol):
    """To whom a child belongs."""

    def received(self, child: Child, message: Message, payload: bytes) -> None: ...
    def died(self, died: Died) -> None: ...


class Crew:
    """Starts children for their owners, and tells those what happens to them."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._owners: dict[str, Owner] = {}
        self._places: dict[str, str] = {}

    @property
    def is_able_to_start(self) -> bool:
        """Whether a process can be had without waiting for it; not in the first seconds, and while the fork server is replaced."""
        return self._supervisor.is_able_to_start

    def start(self, role: str, opening: Sequence[Message], owner: Owner, *, place: str | None = None) -> Child:
        """place: what only one process at a time can hold, such as a port or a file. Raises InternalError where none can be had."""
        child = self._supervisor.start(row_of(role), opening)
        self._owners[child.name] = owner
        if place is not None:
            self._places[child.name] = place
        return child

    def is_taken(self, place: str) -> bool:
        """Whether a process holds it, one that is leaving, too."""
        return place in self._places.values()

    def handle(self, event: Received | Died) -> None:
        """Pass on what has happened; of children that were dismissed nobody wants to hear."""
        match event:
            case Received(child=child, message=message, payload=payload):
                owner = self._owners.get(child.name)
                if owner is not None:
                    owner.received(child, message, payload)
            case Died(child=child):
                self._places.pop(child.name, None)
                owner = self._owners.pop(child.name, None)
                if owner is not None:
                    owner.died(event)

    def send(self, child: Child | None, message: Message) -> None:
        """Nothing happens without a child."""
        if child is not None:
            self._supervisor.send(child, encode(message))

    def pass_on(self, child: Child | None, payload: bytes) -> None:
        """The same with what came as a message already."""
        if child is not None:
            self._supervisor.send(child, payload)

    def hand_over(self, child: Child | None, ring: RingMemory) -> None:
        if child is not None:
            self._supervisor.hand_over(child, ring)

    def dismiss(self, child: Child | None, grace_s: float = DISMISSAL_S) -> None:
        """It leaves, and its owner hears nothing of it any more."""
        if child is not None:
            self._owners.pop(child.name, None)
            self._supervisor.dismiss(child, grace_s)

    @property
    def roles(self) -> dict[int, str]:
        """Process id -> role of the living processes."""
        return self._supervisor.roles

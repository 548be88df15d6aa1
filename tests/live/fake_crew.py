"""A supervisor without processes: it remembers what children are sent, and lets the test say what happens to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from streamer.channel import Decoder, encode
from streamer.children import Child, Died, Received
from streamer.errors import InternalError
from streamer.live.crew import Crew
from streamer.messages import Message
from streamer.pipeline import EVERY_CHILD_READS, EVERY_CHILD_WRITES, ProcessRow
from streamer.rings import RingMemory
from streamer.supervisor import Supervisor


class FakeChild(Child):
    """heard: what it was sent, its rings by name among the messages, in that order."""

    def __init__(self, row: ProcessRow, name: str, opening: Sequence[Message]) -> None:
        decoder = Decoder((*row.writes, *EVERY_CHILD_WRITES))
        super().__init__(row=row, name=name, pid=0, pidfd=-1, cell=0, decoder=decoder, started_s=0.0, hang_limit_s=row.hang_limit_s)
        self.ear = Decoder((*row.reads, *EVERY_CHILD_READS))
        self.heard: list[Message | str] = list(opening)
        self.was_killed = False
        self.grace_s: float | None = None
        """Once it was dismissed."""

    def kill(self) -> None:
        self.was_killed = True

    def heard_of(self, *kinds: type[Message]) -> list[Message]:
        return [message for message in self.heard if isinstance(message, kinds)]


class FakeSupervisor:
    """Decodes what it is told to send as the child would: what a role does not read raises."""

    def __init__(self) -> None:
        self.started: list[FakeChild] = []
        self.can_start = True
        self.is_able = True
        self.times_asked = 0
        self.crew = Crew(cast(Supervisor, self))

    @property
    def is_able_to_start(self) -> bool:
        self.times_asked += 1
        return self.is_able

    def start(self, row: ProcessRow, opening: Sequence[Message]) -> Child:
        if not self.can_start:
            raise InternalError("no further process can be started")
        child = FakeChild(row, f"{row.role}-{len(self.started)}", opening)
        self.started.append(child)
        return child

    def send(self, child: FakeChild, payload: bytes) -> None:
        child.heard.append(child.ear.decode(payload))

    def hand_over(self, child: FakeChild, ring: RingMemory) -> None:
        assert ring.name in child.row.rings
        child.heard.append(ring.name)

    def dismiss(self, child: FakeChild, grace_s: float) -> None:
        child.grace_s = grace_s

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self.started]

    def say(self, child: FakeChild, message: Message) -> None:
        """The child says something; raises where its role may not."""
        payload = encode(message)
        self.crew.handle(Received(child=child, message=child.decoder.decode(payload), payload=payload))

    def die(self, child: FakeChild, why: str = "ended by SIGKILL") -> None:
        self.crew.handle(Died(child=child, error=InternalError(why), is_final=False))

"""A process that is kept, without processes."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from streamer.children import Child, Died
from streamer.errors import VeilError
from streamer.live.backoff import FIRST_S, MOST_S, STABLE_S
from streamer.live.crew import Crew
from streamer.live.keeping import KeptProcess
from streamer.live.messages import PreviewWanted, WebSetup
from streamer.messages import Message
from tests.live.fake_crew import FakeSupervisor

SETUP = WebSetup(host="127.0.0.1", port=0, token=None, preview=True)


class Bench:
    """Keeps one web server, and remembers what it hears."""

    def __init__(self, *, place: str | None = None) -> None:
        self.supervisor = FakeSupervisor()
        self.process = self.keep(self.supervisor.crew, place)
        self.children: list[Child] = []
        self.heard: list[Message] = []
        self.ends: list[tuple[str, bool]] = []
        """Why, and whether a process died."""

    def keep(self, crew: Crew, place: str | None) -> KeptProcess:
        return KeptProcess(crew, "web", self, place=place, hang_limit_s=7.0)

    def opening(self) -> Sequence[Message]:
        return [SETUP]

    def started(self, child: Child) -> None:
        self.children.append(child)

    def received(self, child: Child, message: Message, payload: bytes) -> None:
        self.heard.append(message)

    def ended(self, error: VeilError, died: Died | None) -> None:
        self.ends.append((str(error), died is not None))

    def tick(self, later_s: float = 0.0) -> int:
        """How many have been started by then."""
        self.process.tick(time.monotonic() + later_s)
        return len(self.supervisor.started)

    def die(self) -> float:
        """How long the next one has to wait."""
        self.supervisor.die(self.supervisor.started[-1])
        return self.process.start_at_s - time.monotonic()


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    assert bench.tick() == bench.tick() == 1
    return bench


def test_it_is_opened_watched_and_heard(bench: Bench) -> None:
    (child,) = bench.supervisor.started
    assert bench.children == [child] == [bench.process.child]
    assert child.heard == [SETUP]
    assert child.hang_limit_s == 7.0
    bench.supervisor.say(child, PreviewWanted(name="door"))
    assert bench.heard == [PreviewWanted(name="door")]


def test_another_one_takes_its_place_later_each_time(bench: Bench) -> None:
    waits = []
    for number in range(1, 9):
        waits.append(bench.die())
        assert bench.process.child is None
        assert bench.tick() == number
        assert bench.tick(later_s=60) == number + 1
    assert waits[0] <= FIRST_S
    assert 0.4 * MOST_S < waits[-1] <= MOST_S
    assert bench.ends == [("ended by SIGKILL", True)] * 8


@pytest.mark.parametrize("worked_s", [STABLE_S - 1, STABLE_S + 1])
def test_after_one_that_has_worked_for_a_while_the_next_comes_soon(
    bench: Bench, worked_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(8):
        bench.die()
        bench.tick(later_s=60)
    assert not bench.process.has_worked
    bench.process.works()
    now_s = time.monotonic() + worked_s
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    bench.process.works()  # not only since now
    assert (bench.die() <= FIRST_S) == (worked_s > STABLE_S)
    assert bench.process.has_worked, "which may make its end worth telling"
    bench.tick(later_s=60)
    assert not bench.process.has_worked


def test_one_that_is_of_no_use_any_more_leaves_and_is_not_heard(bench: Bench) -> None:
    first = bench.supervisor.started[0]
    bench.process.restart()
    assert first.grace_s == 0.0
    bench.supervisor.say(first, PreviewWanted(name="door"))
    bench.supervisor.die(first)
    assert (bench.heard, bench.ends) == ([], [])
    assert bench.tick() == 1
    assert bench.tick(later_s=60) == 2
    bench.process.restart(at_once=True)
    assert bench.tick() == 3
    bench.process.dismiss()
    assert bench.tick() == 4
    bench.process.stop(3.0)
    assert bench.supervisor.started[-1].grace_s == 3.0
    assert bench.tick(later_s=1e6) == 4


def test_where_none_can_be_had_it_is_tried_again(bench: Bench) -> None:
    bench.die()
    bench.supervisor.can_start = False
    assert bench.tick(later_s=60) == 1
    assert bench.ends[1:] == [("no further process can be started", False)]
    bench.supervisor.can_start = True
    assert bench.tick(later_s=60) == 1
    assert bench.tick(later_s=120) == 2
    bench.die()
    bench.supervisor.is_able = False
    assert bench.tick(later_s=180) == 2, "it would be waited for"


def test_what_only_one_can_hold_is_waited_for() -> None:
    bench = Bench(place="port 80")
    bench.tick()
    first = bench.supervisor.started[0]
    bench.process.dismiss(3.0)
    assert bench.tick(later_s=60) == 1
    bench.supervisor.die(first)
    assert bench.tick() == 2

"""The detectors that all streams share, without processes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from streamer.channel import encode
from streamer.live.detectors import Detectors
from streamer.live.dispatch import MOST_DEATHS, LiveDispatcher
from streamer.live.messages import LiveDetectorSetup, SessionEnded
from streamer.messages import DetectedFrame, RawFrame, Ready
from streamer.rings import RingMemory
from tests.live.fake_crew import FakeSupervisor
from tests.live.frames import SESSION, raw_frame, ready


class Bench:
    """Two detectors and those who wait for their answers."""

    def __init__(self) -> None:
        self.supervisor = FakeSupervisor()
        self.dispatcher = LiveDispatcher()
        self.answers: list[DetectedFrame] = []
        self.undetectable: list[RawFrame] = []
        self.detectors = self.open()

    def open(self) -> Detectors:
        return Detectors(
            self.supervisor.crew,
            self.dispatcher,
            processes=2,
            backend="cpu",
            needs_keypoints=True,
            hang_limit_s=90.0,
            on_answer=self.hear,
            on_undetectable=self.undetectable.append,
        )

    def hear(self, answer: DetectedFrame, payload: bytes) -> None:
        assert payload == encode(answer)
        self.answers.append(answer)

    def start(self, now_s: float | None = None) -> None:
        before = len(self.supervisor.started)
        self.detectors.tick(time.monotonic() if now_s is None else now_s)
        for child in self.supervisor.started[before:]:
            self.supervisor.say(child, Ready())

    def work(self, *frames: RawFrame) -> None:
        for frame in frames:
            self.dispatcher.submit(frame)
        self.detectors.hand_out(time.monotonic(), ())


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def ring() -> Iterator[RingMemory]:
    memory = RingMemory("raw")
    yield memory
    memory.close()


def test_a_session_reaches_the_detectors_that_are_there_and_those_that_come_later(bench: Bench, ring: RingMemory) -> None:
    bench.start()
    bench.detectors.begin(ready(), ring)
    first, second = bench.supervisor.started
    setup = LiveDetectorSetup(backend="cpu", needs_keypoints=True)
    assert first.heard == second.heard == [setup, "raw", ready()]
    assert first.hang_limit_s == 90.0
    bench.supervisor.die(first)
    bench.start(now_s=time.monotonic() + 60)
    third = bench.supervisor.started[2]
    assert third.heard == [setup, ready(), "raw"]
    bench.detectors.end(SESSION)
    bench.supervisor.die(second)
    bench.start(now_s=time.monotonic() + 60)
    assert third.heard[-1] == SessionEnded(session=SESSION)
    assert bench.supervisor.started[3].heard == [setup]
    bench.detectors.end(SESSION)
    assert third.heard_of(SessionEnded) == [SessionEnded(session=SESSION)]


def test_answers_go_to_whoever_wants_them_and_free_the_detector(bench: Bench) -> None:
    bench.start()
    bench.work(raw_frame(0), raw_frame(1), raw_frame(2))
    first, second = bench.supervisor.started
    answer = DetectedFrame(frame=raw_frame(1), faces=None)
    bench.supervisor.say(second, answer)
    assert bench.answers == [answer]
    bench.detectors.hand_out(time.monotonic(), ())
    assert first.heard_of(RawFrame) == [raw_frame(0)]
    assert second.heard_of(RawFrame) == [raw_frame(1), raw_frame(2)]


def test_the_frame_of_a_dead_detector_goes_to_another_one(bench: Bench) -> None:
    bench.start()
    bench.work(raw_frame(0))
    first, second = bench.supervisor.started
    bench.supervisor.die(first)
    bench.work()
    assert second.heard_of(RawFrame) == [raw_frame(0)]
    assert bench.undetectable == []
    assert bench.detectors.restarts == 1


def test_a_frame_that_ends_detectors_is_said_to_be_undetectable(bench: Bench) -> None:
    bench.start()
    bench.work(raw_frame(0))
    for _ in range(MOST_DEATHS):
        holder = next(child for child in bench.supervisor.started if child.heard_of(RawFrame) and not child.was_killed)
        holder.was_killed = True
        bench.supervisor.die(holder)
        bench.work()
    assert bench.undetectable == [raw_frame(0)]


def test_a_detector_that_answers_for_another_frame_is_replaced_and_no_frame_is_lost(bench: Bench) -> None:
    bench.start()
    bench.work(raw_frame(0))
    first, second = bench.supervisor.started
    bench.supervisor.say(first, DetectedFrame(frame=raw_frame(1), faces=None))
    assert bench.answers == []
    assert first.was_killed
    bench.work(raw_frame(1))
    assert first.heard_of(RawFrame) == [raw_frame(0)]
    bench.supervisor.die(first)
    bench.supervisor.say(second, DetectedFrame(frame=raw_frame(1), faces=None))
    bench.work()
    assert second.heard_of(RawFrame) == [raw_frame(1), raw_frame(0)]


def test_detectors_come_back_after_a_pause_that_grows(bench: Bench) -> None:
    bench.start()
    pauses = []
    for _ in range(6):
        died_s = time.monotonic()
        bench.supervisor.die(bench.supervisor.started[-1])
        pauses.append(max(kept.start_at_s for kept in bench.detectors._kept) - died_s)
        count = len(bench.supervisor.started)
        bench.start(now_s=died_s)
        assert len(bench.supervisor.started) == count, "it came at once"
        bench.start(now_s=died_s + 60)
        assert len(bench.supervisor.started) == count + 1
    assert pauses[-1] > 4 * pauses[0]


def test_whether_processes_can_be_had_is_looked_at_while_all_are_there(bench: Bench) -> None:
    bench.start()
    asked = bench.supervisor.times_asked
    bench.detectors.tick(time.monotonic())
    assert bench.supervisor.times_asked > asked


def test_where_no_process_can_be_had_it_is_tried_again(bench: Bench) -> None:
    bench.supervisor.can_start = False
    bench.start()
    assert bench.supervisor.started == []
    bench.supervisor.can_start = True
    bench.start(now_s=time.monotonic() + 60)
    assert len(bench.supervisor.started) == 2


def test_nothing_is_handed_to_detectors_that_were_stopped(bench: Bench) -> None:
    bench.start()
    bench.work(raw_frame(0))
    bench.dispatcher.forget(SESSION)
    bench.detectors.stop()
    assert [child.grace_s for child in bench.supervisor.started] == [0.0, 0.0]
    bench.detectors = bench.open()
    bench.work(raw_frame(0, stream=SESSION + 1))
    bench.start()
    bench.work()
    assert [len(child.heard_of(RawFrame)) for child in bench.supervisor.started] == [1, 0, 1, 0]

"""One stream without processes: what ends one of them, whenever, costs frames and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import cast

import pytest

from streamer.live.messages import CLOCK, LiveFrameWritten, SessionEnded, SessionReady, Slate, SlateWritten
from streamer.live.stream import GIVEN_UP_S, RESTARTS
from streamer.messages import AnonymizedFrame, DetectedFrame, FrameReport, SlotFree
from streamer.messages import Message as AnyMessage
from tests.live.fake_crew import FakeChild
from tests.live.fake_stream import MAX_LATENCY_S, Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.stream.stop(0.0)


def ready_in(child: FakeChild) -> list[AnyMessage | str]:
    """What it heard of the session, its rings among it."""
    return [heard for heard in child.heard if isinstance(heard, SessionReady | str)]


@pytest.mark.parametrize("role", ["live-anonymizer", "live-sink"])
@pytest.mark.parametrize("is_able", [True, False])
def test_whoever_takes_a_place_joins_the_session_whenever_it_is_started(bench: Bench, role: str, is_able: bool) -> None:
    session = bench.open()
    bench.send(session, 0, grant=0)
    rings = [heard for heard in ready_in(bench.child(role)) if isinstance(heard, str)]
    bench.supervisor.is_able = is_able
    dead = bench.die(role)
    bench.send(session, 1, grant=1)
    bench.supervisor.is_able = True
    bench.tick()
    heir = bench.child(role)
    assert heir is not dead
    *handed, ready = ready_in(heir)
    assert handed == rings
    assert cast(SessionReady, ready).session == session
    assert cast(SessionReady, ready).first_number == (2 if not is_able else 1)
    assert bool(heir.heard_of(SlotFree)) == (role == "live-anonymizer")


def test_where_no_process_can_be_had_for_a_while_the_stream_comes_back(bench: Bench) -> None:
    session = bench.open()
    slots = len(bench.grants("camera"))
    bench.supervisor.can_start = False
    bench.die("live-anonymizer")
    for number in range(slots):
        bench.send(session, number, grant=number)
    bench.supervisor.can_start = True
    bench.tick()
    assert ready_in(bench.child("live-anonymizer"))
    fresh = bench.grants("camera")[slots:]
    assert sorted(free.slot for free in fresh) == list(range(slots)), "every slot can be written again"
    figures = bench.stream.statistics
    assert figures.frames_in == sum(figures.dropped.values()) == slots


def test_what_was_under_way_when_a_process_died_is_counted_and_never_goes_out(bench: Bench) -> None:
    session = bench.open()
    frames = [bench.send(session, number, grant=number) for number in range(2)]
    bench.detect()
    bench.anonymize(frames[0], grant=0)
    bench.die("live-sink")
    assert bench.stream.statistics.dropped["lost"] == 1
    assert not bench.child("live-sink").heard_of(AnonymizedFrame)
    bench.die("live-anonymizer")
    assert bench.stream.statistics.dropped["lost"] == 2
    assert not bench.child("live-anonymizer").heard_of(DetectedFrame)
    assert bench.stream.status().in_flight_frames == 0
    assert bench.stream.statistics.restarts == {"sink": 1, "anonymizer": 1}


def test_a_picture_that_became_too_old_on_its_way_is_not_published(bench: Bench) -> None:
    session = bench.open()
    old = bench.send(session, 0, grant=0, age_s=MAX_LATENCY_S + 0.1)
    young = bench.send(session, 1, grant=1)
    slots = len(bench.grants("live-anonymizer"))
    bench.anonymize(old, grant=0)
    sent = bench.anonymize(young, grant=1)
    assert bench.child("live-sink").heard_of(AnonymizedFrame) == [sent]
    assert bench.stream.statistics.dropped["late"] == 1
    assert len(bench.grants("live-anonymizer")) == slots + 1, "its slot can be written again"
    bench.say("live-sink", LiveFrameWritten(session=session, number=1, slot=sent.slot))
    assert bench.stream.statistics.frames_out == 1


def test_nobody_keeps_pictures_of_a_camera_that_is_away(bench: Bench) -> None:
    session = bench.open()
    bench.send(session, 0, grant=0)
    bench.die("camera")
    for role in ("live-anonymizer", "live-detector"):
        assert bench.child(role).heard_of(SessionEnded) == [SessionEnded(session=session)]
    assert bench.stream.statistics.dropped["lost"] == 1


def test_slates_wait_for_each_other(bench: Bench) -> None:
    for second in range(10, 20):
        bench.tick(later_s=second)
    (slate,) = bench.child("live-sink").heard_of(Slate)
    assert abs(cast(Slate, slate).pts) < 60 * CLOCK
    bench.say("live-sink", SlateWritten())
    bench.tick(later_s=21)
    assert len(bench.child("live-sink").heard_of(Slate)) == 2
    bench.die("live-sink")
    bench.tick(later_s=30)
    assert len(bench.child("live-sink").heard_of(Slate)) == 1, "the one that was under way is gone with the process"


def test_a_camera_that_dies_is_connected_again_and_its_dead_process_is_left_alone(bench: Bench) -> None:
    bench.open()
    dead = bench.die("camera")
    assert dead.grace_s is None, "what has ended must not be dismissed"
    bench.tick(later_s=1.0)
    assert bench.child("camera") is not dead
    assert bench.stream.statistics.reconnects == 1


def test_too_many_deaths_are_the_end_for_a_while_and_everything_begins_anew(bench: Bench) -> None:
    for _ in range(RESTARTS.restarts + 1):
        assert not bench.stream.is_given_up
        bench.die("live-anonymizer")
        bench.tick()
    assert bench.stream.is_given_up
    assert bench.stream.status().state == "failed"
    before = bench.count("live-anonymizer"), bench.count("camera")
    bench.tick(later_s=GIVEN_UP_S - 1)
    assert (bench.count("live-anonymizer"), bench.count("camera")) == before
    bench.tick(later_s=GIVEN_UP_S + 1)
    assert not bench.stream.is_given_up
    assert (bench.count("live-anonymizer"), bench.count("camera")) == (before[0] + 1, before[1] + 1)


def kill_too_often(bench: Bench, role: str) -> None:
    while not bench.stream.is_given_up:
        bench.die(role)
        bench.tick(later_s=60.0)


def slates(bench: Bench) -> list[str]:
    """The texts that the newest sink was sent."""
    return [cast(Slate, slate).text for slate in bench.child("live-sink").heard_of(Slate)]


@pytest.mark.parametrize("role", ["live-anonymizer", "camera"])
def test_viewers_of_a_stream_that_is_given_up_are_told_until_it_is_tried_again(bench: Bench, role: str) -> None:
    kill_too_often(bench, role)
    assert not bench.stream.is_ready, "what it shows has yet to go out"
    publisher = bench.child("publisher")
    bench.supervisor.die(publisher)
    for second in range(100, 105):
        bench.say("live-sink", SlateWritten())
        bench.tick(later_s=second)
    assert bench.count("live-sink") == 1
    assert slates(bench)[-5:] == ["failed"] * 5
    assert bench.child("publisher") is not publisher
    assert bench.stream.is_ready
    assert bench.child("live-anonymizer").grace_s == (0.0 if role == "camera" else None), "the dead are left alone"
    bench.say("live-sink", SlateWritten())
    bench.tick(later_s=GIVEN_UP_S + 100)
    assert slates(bench)[-1] != "failed"
    assert bench.count("live-sink") == 1


def test_the_sink_of_a_stream_that_is_given_up_counts_like_any_process(bench: Bench) -> None:
    kill_too_often(bench, "live-anonymizer")
    bench.die("live-sink")
    bench.tick(later_s=100)
    assert bench.count("live-sink") == 1, "one more than the limit allows"
    assert bench.stream.is_given_up
    assert bench.stream.is_ready, "nothing can be expected of it"


def test_a_sink_that_ends_once_the_deaths_are_long_past_is_replaced_while_its_stream_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_too_often(bench, "live-anonymizer")
    later_s = time.monotonic() + RESTARTS.within_s + 1
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    bench.die("live-sink")
    assert bench.count("live-sink") == 1
    bench.tick()
    assert bench.count("live-sink") == 2
    bench.tick(later_s=10)
    assert slates(bench) == ["failed"]


def test_where_the_sink_itself_dies_too_often_nothing_is_started_until_the_time_is_up(bench: Bench) -> None:
    kill_too_often(bench, "live-sink")
    started = len(bench.supervisor.started)
    bench.tick(later_s=100)
    assert len(bench.supervisor.started) == started
    assert bench.stream.is_ready
    bench.tick(later_s=GIVEN_UP_S + 60)
    assert bench.child("live-sink").grace_s is None
    assert len(bench.supervisor.started) > started


def test_a_stream_whose_pictures_are_not_ready_in_time_says_so(bench: Bench) -> None:
    session = bench.open()
    frames = [bench.send(session, number, grant=number) for number in range(3)]
    bench.detect()
    sent = bench.anonymize(frames[0], grant=0)
    bench.say("live-sink", LiveFrameWritten(session=session, number=0, slot=sent.slot))
    bench.tick()
    assert bench.stream.status().state == "running"
    for number in range(3, 5):
        bench.send(session, number, grant=number)
    bench.tick(later_s=10)
    assert slates(bench) == ["too slow"]
    assert bench.stream.status().state == "too_slow"


def test_a_camera_that_sends_nothing_more_is_no_slow_machine(bench: Bench) -> None:
    session = bench.open()
    frame = bench.send(session, 0, grant=0)
    bench.detect()
    sent = bench.anonymize(frame, grant=0)
    bench.say("live-sink", LiveFrameWritten(session=session, number=0, slot=sent.slot))
    bench.tick()
    bench.tick(later_s=10)
    assert slates(bench) == ["no signal"]
    assert bench.stream.status().state == "no_signal"


def test_a_report_frees_the_slot_and_is_counted(bench: Bench) -> None:
    session = bench.open()
    frame = bench.send(session, 0, grant=0)
    before = len(bench.grants("camera"))
    report = FrameReport(stream=session, number=0, pts=0, time_s=0.0, raw_slot=frame.slot, covers=[], covered_whole="undetectable")
    bench.say("live-anonymizer", report)
    assert len(bench.grants("camera")) == before + 1
    assert bench.stream.statistics.covered_whole == {"undetectable": 1}

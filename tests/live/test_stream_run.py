"""The supervisor's part in one stream, without processes: who is told what when something is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from streamer.live.dispatch import MOST_WAITING
from streamer.live.messages import CameraLost, FrameDropped, LiveFrameWritten, SessionReady
from streamer.messages import AnonymizedFrame, DetectedFrame, FrameReport, RawFrame, Ready, SlotFree, UndetectedFrame
from tests.live.fake_crew import FakeChild
from tests.live.fake_stream import StreamBench
from tests.live.frames import anonymized, opened, raw_frame


class Bench(StreamBench):
    """One stream with a detector, whose camera has been opened."""

    def __init__(self) -> None:
        super().__init__()
        self.stream.tick(time.monotonic())
        self.supervisor.say(self["camera"], opened(session=1))
        self.used = 0

    def __getitem__(self, role: str) -> FakeChild:
        return self.child(role)

    def film(self, number: int) -> RawFrame:
        """A picture in the first slot that the camera was granted and has not used."""
        grants = [message for message in self["camera"].heard if isinstance(message, SlotFree)]
        free = grants[self.used]
        self.used += 1
        frame = raw_frame(
            number, stream=1, slot=free.slot, generation=free.generation, captured_s=time.monotonic(), effort="thorough"
        )
        self.supervisor.say(self["camera"], frame)
        return frame

    def start_detector(self) -> None:
        self.detectors.tick(time.monotonic())
        self.supervisor.say(self["live-detector"], Ready())

    def detect(self) -> RawFrame:
        self.detectors.hand_out(time.monotonic(), ())
        frame = self["live-detector"].heard_of(RawFrame)[-1]
        assert isinstance(frame, RawFrame)
        self.supervisor.say(self["live-detector"], DetectedFrame(frame=frame, faces=None))
        return frame

    def hide(self, frame: RawFrame, slot: int) -> AnonymizedFrame:
        """By the slot's newest grant."""
        grants = [message for message in self["live-anonymizer"].heard if isinstance(message, SlotFree)]
        generation = next(free.generation for free in reversed(grants) if free.slot == slot)
        message = anonymized(frame, slot, generation)
        self.supervisor.say(self["live-anonymizer"], message)
        return message

    def report(self, frame: RawFrame) -> None:
        done = FrameReport(stream=1, number=frame.number, pts=0, time_s=0.0, raw_slot=frame.slot, covers=[], covered_whole=None)
        self.supervisor.say(self["live-anonymizer"], done)

    def granted(self, role: str) -> list[int]:
        return [free.slot for free in self[role].heard if isinstance(free, SlotFree)]


@pytest.fixture
def bench() -> Iterator[Bench]:
    running = Bench()
    yield running
    running.stream.stop(0.0)


def test_a_session_reaches_everybody_with_the_rings_that_are_theirs(bench: Bench) -> None:
    rings = {
        role: [one for one in bench[role].heard if isinstance(one, str)] for role in ("camera", "live-anonymizer", "live-sink")
    }
    assert rings == {"camera": ["raw"], "live-anonymizer": ["raw", "safe"], "live-sink": ["safe"]}
    for role in rings:
        (told,) = bench[role].heard_of(SessionReady)
        assert isinstance(told, SessionReady)
        assert told.first_number == 0
        assert bench[role].heard.index(told) > max(bench[role].heard.index(ring) for ring in rings[role])
        if role != "live-sink":
            slots = told.raw_slots if role == "camera" else told.safe_slots
            assert bench.granted(role) == list(range(slots))


def test_frames_for_which_there_is_no_time_are_dropped_and_their_slots_go_back(bench: Bench) -> None:
    before = len(bench.granted("camera"))
    frames = [bench.film(number) for number in range(MOST_WAITING + 2)]
    assert bench["live-anonymizer"].heard_of(FrameDropped) == [FrameDropped(session=1, number=number) for number in range(2)]
    assert bench.granted("camera")[before:] == [frame.slot for frame in frames[:2]]
    assert bench.stream.statistics.dropped["overload"] == 2


def test_a_frame_keeps_its_slot_until_the_anonymizer_is_done_with_it(bench: Bench) -> None:
    bench.start_detector()
    before = len(bench.granted("camera"))
    bench.film(0)
    frame = bench.detect()
    picture = bench.hide(frame, 0)
    assert bench["live-sink"].heard_of(AnonymizedFrame) == [picture]
    assert len(bench.granted("camera")) == before
    bench.report(frame)
    assert bench.granted("camera")[before:] == [frame.slot]
    bench.supervisor.say(bench["live-sink"], LiveFrameWritten(session=1, number=0, slot=0))
    assert bench.granted("live-anonymizer")[-1] == 0
    assert bench.stream.statistics.frames_out == 1


def test_one_anonymizer_in_place_of_another_begins_with_the_next_frame_and_gets_what_the_sink_does_not_hold(bench: Bench) -> None:
    bench.start_detector()
    for number in range(3):
        bench.film(number)
    bench.hide(bench.detect(), 1)
    before = len(bench.granted("camera"))
    lost = bench["live-anonymizer"]
    bench.supervisor.die(lost)
    new = bench["live-anonymizer"]
    assert new is not lost
    (told,) = new.heard_of(SessionReady)
    assert isinstance(told, SessionReady)
    assert told.first_number == 3
    assert sorted(bench.granted("live-anonymizer")) == [slot for slot in range(told.safe_slots) if slot != 1]
    assert sorted(bench.granted("camera")[before:]) == [0, 1, 2]
    bench.detectors.hand_out(time.monotonic(), ())
    assert bench.dispatcher.waiting(1) == 0
    bench.film(3)
    first = bench.detect()
    assert (first.number, first.effort, first.is_cut) == (3, "thorough", True), "nothing old comes, and nothing old is built on"
    assert len(new.heard_of(DetectedFrame)) == 1


def test_what_a_lost_sink_held_goes_back_to_the_anonymizer_as_another_use(bench: Bench) -> None:
    bench.start_detector()
    bench.film(0)
    picture = bench.hide(bench.detect(), 2)
    bench.supervisor.die(bench["live-sink"])
    again = bench["live-anonymizer"].heard[-1]
    assert isinstance(again, SlotFree)
    assert (again.slot, again.generation) == (2, picture.generation + 1)
    assert [one for one in bench["live-sink"].heard if isinstance(one, str)] == ["safe"]


def test_a_frame_that_ends_detectors_is_covered_whole(bench: Bench) -> None:
    frame = bench.film(0)
    for _ in range(2):
        bench.detectors.tick(time.monotonic() + 60)
        bench.supervisor.say(bench["live-detector"], Ready())
        bench.detectors.hand_out(time.monotonic(), ())
        bench.supervisor.die(bench["live-detector"])
    covered = bench["live-anonymizer"].heard_of(UndetectedFrame)
    assert [one.frame.number for one in covered if isinstance(one, UndetectedFrame)] == [frame.number]


@pytest.mark.parametrize("role", ["camera", "live-anonymizer", "live-sink"])
def test_who_breaks_the_protocol_is_killed(bench: Bench, role: str) -> None:
    wrong = {
        "camera": raw_frame(5, stream=1),
        "live-anonymizer": anonymized(raw_frame(0, stream=1), 0, 99),
        "live-sink": LiveFrameWritten(session=1, number=0, slot=0),
    }
    bench.supervisor.say(bench[role], wrong[role])
    assert bench[role].was_killed
    assert not any(bench[other].was_killed for other in wrong if other != role)


def test_what_comes_of_a_session_that_is_over_leads_to_nothing(bench: Bench) -> None:
    bench.start_detector()
    bench.film(0)
    frame = bench.detect()
    bench.supervisor.say(bench["camera"], CameraLost(session=1, reason="it sends nothing any more"))
    bench.stream.tick(time.monotonic() + 60)
    bench.supervisor.say(bench["camera"], opened(session=2))
    heard = {role: len(bench[role].heard) for role in ("camera", "live-sink")}
    bench.supervisor.say(bench["live-anonymizer"], anonymized(frame, 0, 2))
    bench.report(frame)
    bench.supervisor.say(bench["live-sink"], LiveFrameWritten(session=1, number=0, slot=0))
    assert {role: len(bench[role].heard) for role in heard} == heard
    assert not any(child.was_killed for child in bench.supervisor.started)


def test_a_camera_that_opens_an_old_session_is_not_heard(bench: Bench) -> None:
    bench.supervisor.say(bench["camera"], CameraLost(session=1, reason="it sends nothing any more"))
    bench.stream.tick(time.monotonic() + 60)
    bench.supervisor.say(bench["camera"], opened(session=1))
    assert bench.stream.flow is None

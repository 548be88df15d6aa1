"""Slots of one session: nobody is given one that somebody else holds, and none is lost for ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from models.faces import Faces, no_faces
from streamer.budget import RingPlan
from streamer.config import StreamDetectorSettings
from streamer.live.session import REMEMBERED_LOOKS, Session
from streamer.messages import AnonymizedFrame, DetectedFrame, FacesRecord, RawFrame, SlotFree
from streamer.rings import SlotMismatchError
from tests.live.frames import SESSION, anonymized, opened, raw_frame

RATE = 25
PLAN = RingPlan(raw_slots=4, safe_slots=3, window_frames=2, interval_frames=None, look_ahead_s=None)


@pytest.fixture
def session() -> Iterator[Session]:
    running = Session(opened(), PLAN)
    yield running
    running.close()


def take(session: Session, number: int, slot: int, **changes: object) -> RawFrame:
    return session.take(raw_frame(number, slot=slot, **changes))


NOTHING = FacesRecord.pack(no_faces())
SMALL = FacesRecord.pack(Faces(boxes=np.array([[5, 5, 6, 6]], np.float32), scores=np.ones(1, np.float32)))


def test_who_is_told_later_is_told_which_frame_comes_next(session: Session) -> None:
    settings = StreamDetectorSettings()
    assert session.ready(settings, needs_keypoints=True).first_number == 0
    take(session, 0, 0)
    told = session.ready(settings, needs_keypoints=True)
    assert (told.session, told.first_number, told.raw_slots, told.safe_slots) == (SESSION, 1, 4, 3)


class Film:
    """Frames of a session that are done with as soon as they are looked at; every fifth is thorough."""

    def __init__(self) -> None:
        self.session = Session(opened(), replace(PLAN, window_frames=9))
        self.generation = 1
        self.time_s = 0.0

    def next(self, **changes: object) -> RawFrame:
        number = self.session.next_number
        self.time_s += 1 / RATE
        effort = "quick" if number % 5 else "thorough"
        fields = {"generation": self.generation, "time_s": self.time_s, "effort": effort, "is_cut": number == 0, **changes}
        return take(self.session, number, 0, **fields)

    def answer(self, frame: RawFrame, faces: FacesRecord | None = NOTHING) -> None:
        self.session.answered(DetectedFrame(frame=frame, faces=faces))
        freed = self.session.drop(frame.number)
        assert freed is not None
        self.generation = freed.generation

    def efforts(self, frames: int, *, small_at: int = -1, unknown_at: int = -1, unanswered: bool = False) -> list[str]:
        """Of the next frames between thorough ones. small_at, unknown_at: numbers of thorough frames."""
        found: list[str] = []
        for _ in range(frames):
            frame = self.next()
            faces = SMALL if frame.number == small_at else None if frame.number == unknown_at else NOTHING
            if frame.effort != "thorough":
                found.append(frame.effort)
            if unanswered:
                freed = self.session.drop(frame.number)
                assert freed is not None
                self.generation = freed.generation
            else:
                self.answer(frame, faces)
        return found


@pytest.fixture
def film() -> Iterator[Film]:
    running = Film()
    yield running
    running.session.close()


def test_quick_looks_come_once_enough_thorough_ones_show_no_small_face(film: Film) -> None:
    assert film.efforts(25) == ["careful"] * 12 + ["quick"] * 8


@pytest.mark.parametrize(("small_at", "unknown_at"), [(30, -1), (-1, 30)])
def test_a_small_face_is_looked_for_a_while_after_it_was_seen(film: Film, small_at: int, unknown_at: int) -> None:
    film.efforts(30)
    efforts = film.efforts(60, small_at=small_at, unknown_at=unknown_at)
    assert efforts == ["careful"] * 4 * REMEMBERED_LOOKS + ["quick"] * (48 - 4 * REMEMBERED_LOOKS)


def test_after_a_cut_or_a_gap_small_faces_may_be_there(film: Film) -> None:
    film.efforts(25)
    assert film.next(is_cut=True).effort == "thorough"
    film.generation += 1
    film.session.drop(25)
    assert film.efforts(4) == ["careful"] * 4
    film.efforts(40)
    film.time_s += 1.0
    film.answer(film.next())
    assert film.efforts(4) == ["careful"] * 4


def test_a_look_from_before_a_cut_tells_nothing_of_the_frames_behind_it(film: Film) -> None:
    film.efforts(25)
    old = msgspec.structs.replace(raw_frame(25), effort="thorough")
    film.answer(film.next(is_cut=True))
    for _ in range(4):
        film.session.answered(DetectedFrame(frame=msgspec.structs.replace(old, number=20), faces=NOTHING))
    assert film.efforts(4) == ["careful"] * 4


def test_while_the_detectors_are_behind_nothing_is_looked_at_quickly(film: Film) -> None:
    film.efforts(25)
    assert film.efforts(24, unanswered=True)[-1] == "careful"


def test_frames_lie_no_further_behind_a_thorough_one_than_the_window_is_long(session: Session) -> None:
    efforts = []
    for number in range(6):
        efforts.append(take(session, number, 0, generation=number + 1, effort="quick" if number else "thorough").effort)
        session.drop(number)
    assert efforts == ["thorough", "careful", "thorough", "careful", "thorough", "careful"]


def test_after_a_loss_everything_begins_anew(session: Session) -> None:
    for number in range(3):
        take(session, number, number)
    grants = session.lose_all()
    assert sorted(grant.slot for grant in grants) == [0, 1, 2]
    assert not session.knows(raw_frame(1))
    first = take(session, 3, 3)
    assert (first.effort, first.is_cut) == ("thorough", True)
    second = take(session, 4, grants[0].slot, generation=grants[0].generation)
    assert not second.is_cut


def test_what_comes_of_a_lost_frame_frees_nothing_twice(session: Session) -> None:
    take(session, 0, 0)
    assert len(session.lose_all()) == 1
    assert session.release_raw(0) is None
    assert session.drop(0) is None


@pytest.mark.parametrize(
    "wrong", [{"number": 2}, {"number": 0}, {"slot": 0}, {"slot": 4}, {"slot": -1}, {"generation": 2}, {"generation": 0}]
)
def test_a_camera_that_does_not_keep_to_its_grants_is_found_out(session: Session, wrong: dict[str, int]) -> None:
    take(session, 0, 0)
    with pytest.raises(SlotMismatchError):
        session.take(msgspec.structs.replace(raw_frame(1, slot=1), **wrong))


def test_an_anonymizer_that_does_not_keep_to_its_grants_is_found_out(session: Session) -> None:
    grants = list(session.safe_grants())
    session.announce(anonymized(raw_frame(0), 0, grants[0].generation))
    for slot, generation in ((0, grants[0].generation), (1, grants[1].generation + 1), (3, 1), (-1, 1)):
        with pytest.raises(SlotMismatchError):
            session.announce(anonymized(raw_frame(1), slot, generation))


def test_a_sink_that_frees_what_it_does_not_hold_is_found_out(session: Session) -> None:
    grants = list(session.safe_grants())
    session.announce(anonymized(raw_frame(0), 0, grants[0].generation))
    for number, slot in ((1, 0), (0, 1)):
        with pytest.raises(SlotMismatchError):
            session.written(number, slot)
    session.written(0, 0)
    with pytest.raises(SlotMismatchError):
        session.written(0, 0)


def test_the_time_of_arrival_is_kept_until_the_picture_is_encoded_and_no_longer(session: Session) -> None:
    grants = list(session.safe_grants())
    for number in range(3):
        take(session, number, number)
    session.announce(anonymized(raw_frame(0), 0, grants[0].generation))
    session.release_raw(0)
    assert session.written(0, 0)[1] == raw_frame(0).captured_s
    session.drop(1)
    session.announce(anonymized(raw_frame(2), 1, grants[1].generation))
    session.lose_all()
    assert session.written(2, 1)[1] == raw_frame(2).captured_s
    assert session._captured_s == {}
    assert session.in_flight == 0


def test_a_session_is_congested_while_frames_wait_to_be_hidden(session: Session) -> None:
    frames = [take(session, number, number, time_s=5 + number / 10) for number in range(4)]
    congested = []
    for frame in frames:
        session.answered(DetectedFrame(frame=frame, faces=None))
        congested.append(session.is_congested(look_ahead_s=0.04))
    assert congested == [False, False, False, True]
    assert not session.is_congested(look_ahead_s=0.3), "it waits for the look-ahead alone"
    session.release_raw(0)
    assert not session.is_congested(look_ahead_s=0.04)
    session.lose_all()
    assert session._at_anonymizer == set()


def test_pictures_that_came_in_a_heap_do_not_make_a_session_wait_for_what_the_tracker_keeps(session: Session) -> None:
    for number in range(4):
        frame = take(session, number, number, time_s=5 + number / 25, captured_s=1000 + number)
        session.answered(DetectedFrame(frame=frame, faces=None))
    assert not session.is_congested(look_ahead_s=0.3)


class SlotMachine(RuleBasedStateMachine):
    """A camera, an anonymizer and a sink that keep to the protocol, messages under way between them, and losses at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(opened(), PLAN)
        self.camera_free: list[SlotFree] = list(self.session.raw_grants())
        self.number = 0
        self.anonymizer_frames: list[RawFrame] = []
        self.anonymizer_free: list[SlotFree] = list(self.session.safe_grants())
        self.sink_frames: list[AnonymizedFrame] = []
        self.unreported: list[tuple[RawFrame, bool]] = []
        self.looked_at: list[RawFrame] = []

    def teardown(self) -> None:
        self.session.close()

    def grant_raw(self, grant: SlotFree | None) -> None:
        if grant is not None:
            self.camera_free.append(grant)

    @precondition(lambda self: self.camera_free)
    @rule()
    def camera_writes(self) -> None:
        free = self.camera_free.pop(0)
        frame = raw_frame(self.number, slot=free.slot, generation=free.generation)
        self.number += 1
        self.looked_at.append(self.session.take(frame))

    @precondition(lambda self: self.looked_at)
    @rule(data=st.data())
    def supervisor_drops(self, data: st.DataObject) -> None:
        frame = self.looked_at.pop(data.draw(st.integers(0, len(self.looked_at) - 1)))
        self.grant_raw(self.session.drop(frame.number))

    @precondition(lambda self: self.looked_at)
    @rule(data=st.data())
    def detector_answers(self, data: st.DataObject) -> None:
        frame = self.looked_at.pop(data.draw(st.integers(0, len(self.looked_at) - 1)))
        if self.session.knows(frame):
            self.session.answered(DetectedFrame(frame=frame, faces=None))
            self.anonymizer_frames.append(frame)

    @precondition(lambda self: self.anonymizer_frames and self.anonymizer_free)
    @rule()
    def anonymizer_writes(self) -> None:
        frame, free = self.anonymizer_frames.pop(0), self.anonymizer_free.pop(0)
        message = anonymized(frame, free.slot, free.generation)
        self.session.announce(message)
        self.sink_frames.append(message)
        self.unreported.append((frame, False))

    @precondition(lambda self: self.anonymizer_frames)
    @rule()
    def anonymizer_is_late(self) -> None:
        self.unreported.append((self.anonymizer_frames.pop(0), True))

    @precondition(lambda self: self.unreported)
    @rule()
    def anonymizer_reports(self) -> None:
        frame, is_late = self.unreported.pop(0)
        self.grant_raw((self.session.drop if is_late else self.session.release_raw)(frame.number))

    @precondition(lambda self: self.sink_frames)
    @rule()
    def sink_writes(self) -> None:
        message = self.sink_frames.pop(0)
        grant, _ = self.session.written(message.number, message.slot)
        self.anonymizer_free.append(grant)

    @rule()
    def anonymizer_dies(self) -> None:
        """With everything that it held, and what it had not said yet."""
        self.anonymizer_frames, self.unreported, self.looked_at = [], [], []
        self.camera_free += self.session.lose_all()
        self.anonymizer_free = list(self.session.safe_grants())

    @rule()
    def sink_dies(self) -> None:
        self.sink_frames = []
        self.anonymizer_free += self.session.lose_encoding()

    @invariant()
    def every_slot_is_somewhere_and_only_there(self) -> None:
        raw = [free.slot for free in self.camera_free]
        raw += [frame.slot for frame in (*self.looked_at, *self.anonymizer_frames, *(frame for frame, _ in self.unreported))]
        assert sorted(raw) == list(range(PLAN.raw_slots))
        safe = [free.slot for free in self.anonymizer_free] + [frame.slot for frame in self.sink_frames]
        assert sorted(safe) == list(range(PLAN.safe_slots))
        assert len(self.session._at_anonymizer) <= PLAN.raw_slots
        assert len(self.session._captured_s) <= PLAN.raw_slots + PLAN.safe_slots


TestSlots = SlotMachine.TestCase
TestSlots.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)

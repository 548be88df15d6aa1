"""Which frame a detector gets next, and what becomes of those that none gets."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamer.live.dispatch import MOST_DEATHS, MOST_WAITING, Key, LiveDispatcher, UnexpectedAnswerError, key_of
from streamer.messages import RawFrame
from tests.live.frames import SESSION, raw_frame

OTHER = SESSION + 1


def numbers(frames: list[RawFrame]) -> list[int]:
    return [frame.number for frame in frames]


def give(dispatcher: LiveDispatcher, process: str, now_s: float = 0.0) -> RawFrame:
    dispatcher.add_idle(process)
    ((assigned, frame),) = dispatcher.assign(now_s)
    assert assigned == process
    return frame


def test_sessions_take_turns_however_many_frames_one_has() -> None:
    dispatcher = LiveDispatcher()
    for number in range(MOST_WAITING):
        dispatcher.submit(raw_frame(number))
    for number in range(2):
        dispatcher.submit(raw_frame(number, stream=OTHER))
    order = [key_of(give(dispatcher, f"detector-{turn}")) for turn in range(MOST_WAITING + 2)]
    assert order == [Key(SESSION, 0), Key(OTHER, 0), Key(SESSION, 1), Key(OTHER, 1), Key(SESSION, 2)]


def test_a_session_that_floods_gets_no_more_turns_than_another() -> None:
    dispatcher = LiveDispatcher()
    turns = {SESSION: 0, OTHER: 0}
    for number in range(100):
        for burst in range(10):
            dispatcher.submit(raw_frame(10 * number + burst))
        dispatcher.submit(raw_frame(number, stream=OTHER))
        for turn in range(2):
            frame = give(dispatcher, f"{number}-{turn}")
            dispatcher.finish(f"{number}-{turn}", frame)
            dispatcher.bury(f"{number}-{turn}")
            turns[frame.stream] += 1
    assert turns == {SESSION: 100, OTHER: 100}


def test_frames_of_a_congested_session_wait_until_they_are_dropped_for_newer_ones() -> None:
    dispatcher = LiveDispatcher()
    dispatcher.add_idle("a")
    dispatcher.submit(raw_frame(0))
    assert dispatcher.assign(0.0, {SESSION}) == []
    dispatcher.submit(raw_frame(0, stream=OTHER))
    assert [key_of(frame) for _, frame in dispatcher.assign(0.0, {SESSION})] == [Key(OTHER, 0)]
    assert numbers([frame for number in range(1, 5) for frame in dispatcher.submit(raw_frame(number))]) == [0, 1]
    dispatcher.add_idle("b")
    assert [key_of(frame) for _, frame in dispatcher.assign(0.0)] == [Key(SESSION, 2)]


def test_of_too_many_frames_the_oldest_are_dropped() -> None:
    dispatcher = LiveDispatcher()
    dropped = [numbers(dispatcher.submit(raw_frame(number))) for number in range(MOST_WAITING + 2)]
    assert dropped == [[]] * MOST_WAITING + [[0], [1]]
    assert dispatcher.waiting(SESSION) == MOST_WAITING
    assert dispatcher.waiting(OTHER) == 0


def test_frames_that_have_waited_too_long_are_dropped_and_no_others() -> None:
    dispatcher = LiveDispatcher()
    for number in range(3):
        dispatcher.submit(raw_frame(number))
        dispatcher.submit(raw_frame(number, stream=OTHER))
    before_s = raw_frame(2).captured_s
    assert [key_of(frame) for frame in dispatcher.drop_older({SESSION: before_s, 99: before_s})] == [
        Key(SESSION, 0),
        Key(SESSION, 1),
    ]
    assert (dispatcher.waiting(SESSION), dispatcher.waiting(OTHER)) == (1, 3)


def test_a_frame_to_be_looked_at_thoroughly_stays_while_there_are_others_to_drop() -> None:
    dispatcher = LiveDispatcher()
    efforts = ["quick", "thorough", "careful", "quick", *["thorough"] * 3]
    dropped = [numbers(dispatcher.submit(raw_frame(number, effort=effort))) for number, effort in enumerate(efforts)]
    assert dropped == [[], [], [], [0], [2], [3], [1]]


def test_what_a_dropped_frame_was_for_is_the_next_ones_duty() -> None:
    dispatcher = LiveDispatcher()
    dispatcher.submit(raw_frame(0, effort="thorough", is_cut=True))
    assert numbers(dispatcher.drop_older({SESSION: float("inf")})) == [0]
    for number in range(1, MOST_WAITING + 1):
        dispatcher.submit(raw_frame(number))
    first, second = (give(dispatcher, process) for process in ("a", "b"))
    assert (first.number, first.effort, first.is_cut) == (1, "thorough", True)
    assert (second.number, second.effort, second.is_cut) == (2, "quick", False)


def test_a_cut_is_not_handed_back_to_an_older_frame_that_returns() -> None:
    dispatcher = LiveDispatcher()
    dispatcher.submit(raw_frame(0))
    give(dispatcher, "a")
    dispatcher.submit(raw_frame(1, effort="thorough", is_cut=True))
    assert numbers(dispatcher.drop_older({SESSION: float("inf")})) == [1]
    assert dispatcher.bury("a") is None
    dispatcher.submit(raw_frame(2))
    first, second = (give(dispatcher, process) for process in ("b", "c"))
    assert (first.number, first.effort, first.is_cut) == (0, "quick", False)
    assert (second.number, second.effort, second.is_cut) == (2, "thorough", True)


def test_frames_of_dead_detectors_come_again_in_their_order() -> None:
    dispatcher = LiveDispatcher()
    for number, process in enumerate("ab"):
        dispatcher.submit(raw_frame(number))
        give(dispatcher, process)
    dispatcher.submit(raw_frame(2))
    assert dispatcher.bury("a") is None
    assert dispatcher.bury("b") is None
    assert [give(dispatcher, process).number for process in "cde"] == [0, 1, 2]


def test_a_frame_that_ends_every_detector_is_given_up() -> None:
    dispatcher = LiveDispatcher()
    dispatcher.submit(raw_frame(0))
    for death in range(1, MOST_DEATHS + 1):
        frame = give(dispatcher, f"detector-{death}")
        assert dispatcher.bury(f"detector-{death}") == (frame if death == MOST_DEATHS else None)
    assert dispatcher.waiting(SESSION) == 0


def test_a_frame_that_takes_too_long_is_given_up_once_and_its_answer_is_not_wanted() -> None:
    dispatcher = LiveDispatcher()
    dispatcher.submit(raw_frame(0))
    frame = give(dispatcher, "a", now_s=5.0)
    assert dispatcher.expire({SESSION: 5.0}) == []
    assert dispatcher.expire({OTHER: 9.0}) == []
    assert dispatcher.expire({SESSION: 5.1}) == [frame]
    assert dispatcher.expire({SESSION: 9.0}) == []
    assert not dispatcher.finish("a", frame)
    dispatcher.submit(raw_frame(1))
    assert [(process, frame.number) for process, frame in dispatcher.assign(6.0)] == [("a", 1)]


def test_a_frame_that_was_given_up_does_not_come_again_when_its_detector_dies() -> None:
    dispatcher = LiveDispatcher()
    dispatcher.submit(raw_frame(0))
    give(dispatcher, "a", now_s=5.0)
    dispatcher.expire({SESSION: 6.0})
    assert dispatcher.bury("a") is None
    assert dispatcher.waiting(SESSION) == 0


def test_nothing_of_a_forgotten_session_is_wanted() -> None:
    dispatcher = LiveDispatcher()
    for number in range(2):
        dispatcher.submit(raw_frame(number))
    first = give(dispatcher, "a")
    give(dispatcher, "b")
    dispatcher.submit(raw_frame(2))
    dispatcher.forget(SESSION)
    assert dispatcher.waiting(SESSION) == 0
    assert not dispatcher.finish("a", first)
    assert dispatcher.bury("b") is None
    assert dispatcher.assign(0.0) == []


def test_an_answer_for_another_frame_is_an_error_and_loses_no_frame() -> None:
    dispatcher = LiveDispatcher()
    dispatcher.submit(raw_frame(0))
    give(dispatcher, "a")
    for wrong in (raw_frame(1), raw_frame(0, stream=OTHER)):
        with pytest.raises(UnexpectedAnswerError):
            dispatcher.finish("a", wrong)
    with pytest.raises(UnexpectedAnswerError):
        dispatcher.finish("b", raw_frame(0))
    assert dispatcher.bury("a") is None
    assert give(dispatcher, "c").number == 0


def test_nothing_is_remembered_of_frames_that_are_dealt_with() -> None:
    dispatcher = LiveDispatcher()
    for number in range(50):
        dispatcher.submit(raw_frame(number))
        frame = give(dispatcher, f"{number}-a", now_s=number)
        assert dispatcher.bury(f"{number}-a") is None
        if number % 3 == 0:
            assert dispatcher.drop_older({SESSION: float("inf")}) == [frame]
            continue
        give(dispatcher, f"{number}-b", now_s=number)
        if number % 3 == 1:
            assert dispatcher.expire({SESSION: number + 1}) == [frame]
        dispatcher.finish(f"{number}-b", frame)
        dispatcher.bury(f"{number}-b")
    dispatcher.forget(SESSION)
    assert (dispatcher._queues, dispatcher._idle, dispatcher._jobs, dispatcher._deaths) == ({}, {}, {}, {})


class DispatchMachine(RuleBasedStateMachine):
    """Two sessions, detectors that come, answer, hang and die: each frame ends in exactly one way."""

    def __init__(self) -> None:
        super().__init__()
        self.dispatcher = LiveDispatcher()
        self.now_s = 0.0
        self.next_number = {SESSION: 0, OTHER: 0}
        self.detectors = 0
        self.held: dict[str, RawFrame] = {}
        self.open: set[Key] = set()
        """Frames of which nothing has been said yet."""

    def end(self, frames: list[RawFrame]) -> None:
        for frame in frames:
            self.open.remove(key_of(frame))

    def hand_out(self) -> None:
        for process, frame in self.dispatcher.assign(self.now_s):
            assert process not in self.held
            assert key_of(frame) in self.open
            assert key_of(frame) not in map(key_of, self.held.values())
            self.held[process] = frame

    @rule(session=st.sampled_from([SESSION, OTHER]), is_thorough=st.booleans(), is_cut=st.booleans())
    def camera(self, session: int, is_thorough: bool, is_cut: bool) -> None:
        self.now_s += 0.04
        number = self.next_number[session]
        self.next_number[session] += 1
        effort = "thorough" if is_thorough else "quick"
        frame = raw_frame(number, stream=session, effort=effort, is_cut=is_cut, captured_s=self.now_s)
        self.open.add(key_of(frame))
        self.end(self.dispatcher.submit(frame))
        assert self.dispatcher.waiting(session) <= MOST_WAITING

    @rule()
    def new_detector(self) -> None:
        self.detectors += 1
        self.dispatcher.add_idle(f"detector-{self.detectors}")

    @rule()
    def turn(self) -> None:
        self.hand_out()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(sorted(self.held)))
        frame = self.held.pop(process)
        is_wanted = self.dispatcher.finish(process, frame)
        assert is_wanted == (key_of(frame) in self.open)
        self.open.discard(key_of(frame))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def death(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(sorted(self.held)))
        self.held.pop(process)
        given_up = self.dispatcher.bury(process)
        self.end([] if given_up is None else [given_up])

    @rule(session=st.sampled_from([SESSION, OTHER]), age_s=st.floats(0, 0.2))
    def too_old(self, session: int, age_s: float) -> None:
        self.end(self.dispatcher.drop_older({session: self.now_s - age_s}))
        self.end(self.dispatcher.expire({session: self.now_s - age_s}))

    @rule(session=st.sampled_from([SESSION, OTHER]))
    def camera_lost(self, session: int) -> None:
        self.dispatcher.forget(session)
        self.open = {key for key in self.open if key.session != session}

    @invariant()
    def no_frame_is_lost(self) -> None:
        held = {key_of(frame) for frame in self.held.values()} & self.open
        waiting = sum(self.dispatcher.waiting(session) for session in (SESSION, OTHER))
        assert waiting + len(held) == len(self.open)


TestDispatch = DispatchMachine.TestCase
TestDispatch.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("end", ["expire", "die", "not known"])
def test_a_thorough_look_that_came_to_nothing_is_the_next_frames_duty(end: str) -> None:
    dispatcher = LiveDispatcher()
    dispatcher.submit(raw_frame(0, effort="thorough", is_cut=True))
    frame = give(dispatcher, "a")
    dispatcher.submit(raw_frame(1))
    match end:
        case "expire":
            assert dispatcher.expire({SESSION: float("inf")}) == [frame]
        case "die":
            while dispatcher.bury("a") is None:
                give(dispatcher, "a")
        case _:
            assert dispatcher.finish("a", frame, is_known=False)
    dispatcher.add_idle("b")
    assert [frame for _, frame in dispatcher.assign(0.0)] == [raw_frame(1, effort="thorough")]
    dispatcher.submit(raw_frame(2))
    dispatcher.add_idle("c")
    assert [frame for _, frame in dispatcher.assign(0.0)] == [raw_frame(2)]

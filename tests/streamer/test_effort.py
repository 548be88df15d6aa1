"""Frames between thorough ones are looked at as carefully as the faces around them need, whoever answers first."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.faces import Faces
from streamer.effort import REMEMBERED_LOOKS, THOROUGH_EVERY_S, EffortPlanner, ThoroughLooks, ThoroughPace
from streamer.messages import FacesRecord, RawFrame

FRAME_SIZE = (1280, 720)
INTERVAL = 5
CUT = 15
ENDS = {11, 12, 13, 14, 26, 27, 28, 29}
"""Of thirty frames those behind which no thorough one of their shot comes."""


def faces_of(*widths: float) -> FacesRecord:
    boxes = np.array([[100, 100, 100 + width, 100 + width] for width in widths], np.float32).reshape(-1, 4)
    return FacesRecord.pack(Faces(boxes=boxes, scores=np.full(len(widths), 0.5, np.float32)))


def frame(number: int) -> RawFrame:
    """Every fifth is thorough, the sixteenth begins a new shot."""
    return RawFrame(
        stream=0,
        number=number,
        slot=number,
        generation=1,
        pts=number,
        duration=1,
        time_s=number / 25,
        is_corrupt=False,
        is_cut=number in (0, CUT),
        effort="quick" if number % INTERVAL else "thorough",
    )


def efforts(
    small_at: Sequence[int], *, frames: int = 30, unknown_at: Sequence[int] = (), seed: int | None = None
) -> dict[int, str]:
    """What each frame got, when thorough frames at `small_at` show a small face; answers come at once, or late in any order."""
    planner = EffortPlanner(FRAME_SIZE, may_wait=True)
    generator = random.Random(seed)
    got: dict[int, str] = {}
    working: list[RawFrame] = []

    def take(released: list[RawFrame]) -> None:
        for each in released:
            assert each.number not in got, "given twice"
            got[each.number] = each.effort
            working.append(each)

    def answer(done: RawFrame) -> None:
        faces = faces_of(200, 20) if done.number in small_at else faces_of(200)
        take(planner.answer(done, None if done.number in unknown_at else faces))

    for number in range(frames):
        take(planner.add(frame(number)))
        while working and (seed is None or generator.random() < 0.6):
            answer(working.pop(0 if seed is None else generator.randrange(len(working))))
    take(planner.end())
    while working:
        answer(working.pop(generator.randrange(len(working))))
    return got


def careful(got: dict[int, str]) -> set[int]:
    return {number for number, effort in got.items() if effort == "careful"}


def test_without_small_faces_all_between_are_quick_but_at_the_ends_of_shots() -> None:
    got = efforts([])
    assert len(got) == 30
    assert careful(got) == ENDS
    assert [number for number, effort in got.items() if effort == "thorough"] == list(range(0, 30, INTERVAL))


def test_a_small_face_makes_the_frames_before_it_and_a_while_those_after_it_careful() -> None:
    begin, at = 200 * INTERVAL, 210 * INTERVAL
    got = careful({number: effort for number, effort in efforts([at], frames=230 * INTERVAL).items() if number > begin})
    between = {number for number in range(at - INTERVAL, at + REMEMBERED_LOOKS * INTERVAL) if number % INTERVAL}
    assert got == between | set(range(230 * INTERVAL - INTERVAL + 1, 230 * INTERVAL))


def test_what_cannot_be_known_counts_as_small() -> None:
    assert careful(efforts([], unknown_at=[20])) == ENDS | {16, 17, 18, 19, 21, 22, 23, 24}


@pytest.mark.parametrize(("small_at", "expected"), [(10, {6, 7, 8, 9}), (CUT, {16, 17, 18, 19, 21, 22, 23, 24})])
def test_a_cut_keeps_the_faces_of_one_shot_from_the_other(small_at: int, expected: set[int]) -> None:
    assert careful(efforts([small_at])) == ENDS | expected


@given(small_at=st.sets(st.sampled_from(range(0, 30, INTERVAL))), seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 30))
def test_the_order_of_the_answers_does_not_matter(small_at: set[int], seed: int, frames: int) -> None:
    got = efforts(sorted(small_at), frames=frames, seed=seed)
    assert sorted(got) == list(range(frames))
    assert got == efforts(sorted(small_at), frames=frames)


def test_a_frame_waits_for_the_thorough_one_behind_it() -> None:
    planner = EffortPlanner(FRAME_SIZE, may_wait=True)
    assert planner.add(frame(0)) == [frame(0)]
    assert planner.answer(frame(0), faces_of()) == []
    for number in range(1, INTERVAL):
        assert planner.add(frame(number)) == []
    assert planner.add(frame(INTERVAL)) == [frame(INTERVAL)]
    assert planner.answer(frame(INTERVAL), faces_of()) == [frame(number) for number in range(1, INTERVAL)]


def test_where_there_is_no_room_to_wait_all_between_are_careful_at_once() -> None:
    planner = EffortPlanner(FRAME_SIZE, may_wait=False)
    assert planner.add(frame(0))[0].effort == "thorough"
    assert [planner.add(frame(number))[0].effort for number in range(1, INTERVAL)] == ["careful"] * 4


def test_what_is_remembered_does_not_grow_with_the_stream() -> None:
    planner = EffortPlanner(FRAME_SIZE, may_wait=True)
    for number in range(2000):
        for released in planner.add(frame(number)):
            planner.answer(released, faces_of(200))
    assert len(planner._intervals) <= REMEMBERED_LOOKS + 1


@pytest.mark.parametrize("rate", [5, 25, 240])
def test_thorough_frames_come_by_time_and_by_number(rate: float) -> None:
    def thorough(interval_frames: int | None) -> list[int]:
        pace = ThoroughPace(interval_frames)
        return [number for number in range(100) if pace.is_due(number, number / rate, is_cut=number == 50)]

    by_time, by_number = thorough(None), thorough(4)
    assert {0, 50} <= set(by_time) & set(by_number)
    assert all(later - earlier <= max(THOROUGH_EVERY_S * rate + 1, 1) for earlier, later in pairwise(by_time))
    assert all(later - earlier <= 4 for earlier, later in pairwise(by_number))


def test_a_time_that_goes_back_makes_a_frame_thorough() -> None:
    pace = ThoroughPace(None)
    assert [pace.is_due(number, time_s, is_cut=False) for number, time_s in enumerate((0.0, 0.08, 0.04, -0.1))] == [
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("looks", "is_enough"),
    [
        ([0, 7], True),
        ([0], False),
        ([7], False),
        ([], False),
        ([0, 14], False),
        ([-8, 7], False),
        ([-8, 0, 7, 14], True),
    ],
)
def test_a_quick_look_is_enough_between_two_thorough_ones_that_are_near(looks: list[int], is_enough: bool) -> None:
    known = ThoroughLooks(within_s=0.3)
    for number in looks:
        known.add(number, number / 25)
    assert known.surround(4, 4 / 25) is is_enough


def test_looks_of_another_shot_do_not_count() -> None:
    known = ThoroughLooks(within_s=0.3)
    known.add(0, 0.0)
    known.begin_shot()
    known.add(7, 0.28)
    assert not known.surround(4, 0.16)


def test_looks_that_no_frame_to_come_needs_are_forgotten() -> None:
    known = ThoroughLooks(within_s=0.3)
    for number in range(0, 2000, 5):
        known.add(number, number / 25)
        assert number == 0 or known.surround(number - 2, (number - 2) / 25)
        assert len(known._looks) <= 2

"""Timestamps always increase, and what is right is left alone."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamer.timeline import Epochs, Timeline

MILLISECONDS = Fraction(1, 1000)


@given(st.lists(st.integers(1, 500_000), min_size=1, max_size=50), st.integers(-1000, 1000))
def test_increasing_timestamps_are_left_alone(steps: list[int], start: int) -> None:
    stamps = [start + sum(steps[:count]) for count in range(len(steps))]
    timeline = Timeline(MILLISECONDS, Epochs())
    assert [timeline.place(stamp, 40) for stamp in stamps] == stamps
    assert (timeline.repaired, timeline.seams) == (0, 0)


@given(st.lists(st.one_of(st.none(), st.integers(-(10**9), 10**9)), min_size=2, max_size=60), st.booleans())
def test_whatever_comes_in_timestamps_increase(stamps: list[int | None], may_jump: bool) -> None:
    timeline = Timeline(MILLISECONDS, Epochs(), may_jump=may_jump)
    placed = [timeline.place(stamp, 40) for stamp in stamps]
    assert all(before < after for before, after in pairwise(placed))


def test_missing_repeated_and_swapped_timestamps_are_mended_and_counted() -> None:
    timeline = Timeline(MILLISECONDS, Epochs())
    assert [timeline.place(stamp, 40) for stamp in (0, None, 40, 120, 80, 160)] == [0, 40, 41, 120, 121, 160]
    assert timeline.repaired == 3


def test_a_clock_that_starts_again_goes_on_where_it_was() -> None:
    timeline = Timeline(MILLISECONDS, Epochs())
    assert [timeline.place(stamp, 40) for stamp in (50_000, 50_040, 0, 40)] == [50_000, 50_040, 50_080, 50_120]
    assert timeline.seams == 1


def test_a_long_gap_is_closed_only_where_clocks_may_jump() -> None:
    stamps = (0, 40, 60_000)
    assert [Timeline(MILLISECONDS, Epochs()).place(stamp, 40) for stamp in stamps[:1]] == [0]
    steady, jumping = Timeline(MILLISECONDS, Epochs()), Timeline(MILLISECONDS, Epochs(), may_jump=True)
    assert [steady.place(stamp, 40) for stamp in stamps] == [0, 40, 60_000]
    assert [jumping.place(stamp, 40) for stamp in stamps] == [0, 40, 80]


def test_tracks_take_the_same_shift_at_a_seam() -> None:
    epochs = Epochs()
    pictures, sound = Timeline(MILLISECONDS, epochs), Timeline(Fraction(1, 48000), epochs)
    assert [pictures.place(stamp, 40) for stamp in (90_000, 90_040, 0)] == [90_000, 90_040, 90_080]
    placed = [sound.place(stamp, 960) for stamp in (90_010 * 48, 90_030 * 48, 10 * 48)]
    assert placed[-1] == 90_090 * 48

"""The camera's times on the clock of the output."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.live.clock import MOST_AHEAD_S, MOST_BEHIND_S, CameraClock
from streamer.live.messages import CLOCK

ORIGIN_S = 5000.0
START_S = 5100.0
SOUND_BASE = Fraction(1, 16000)


def places(stamps: list[float | None], arrivals: list[float]) -> list[float]:
    """Seconds since the origin."""
    clock = CameraClock(ORIGIN_S)
    return [clock.place(stamp, arrival) / CLOCK for stamp, arrival in zip(stamps, arrivals, strict=True)]


def test_the_first_picture_is_of_the_moment_in_which_it_arrives() -> None:
    assert places([77.0], [START_S]) == [START_S - ORIGIN_S]


def test_the_distances_are_the_cameras_although_pictures_come_in_heaps() -> None:
    stamps = [number / 25 for number in range(100)]
    arrivals = [START_S + 0.2 * (-(-number // 5)) for number in range(100)]
    distances = [later - earlier for earlier, later in itertools.pairwise(places(list(stamps), arrivals))]
    assert distances == pytest.approx([0.04] * 99, abs=0.002)


def test_pictures_that_a_server_had_kept_are_not_of_the_future() -> None:
    stamps = [number / 25 for number in range(200)]
    arrivals = [START_S] * 100 + [START_S + number / 25 for number in range(1, 101)]
    placed = places(list(stamps), arrivals)
    assert all(later - earlier > 0 for earlier, later in itertools.pairwise(placed))
    assert placed[-1] - (arrivals[-1] - ORIGIN_S) == pytest.approx(0, abs=MOST_AHEAD_S)
    assert placed[-1] - placed[110] == pytest.approx(89 / 25, abs=0.01)


def test_a_stall_of_the_network_is_no_gap() -> None:
    stamps = [number / 25 for number in range(200)]
    arrivals = [START_S + (5.0 if 2 < stamp < 5 else stamp) for stamp in stamps]
    placed = places(list(stamps), arrivals)
    assert placed[-1] - placed[0] == pytest.approx(199 / 25, abs=0.01)


@pytest.mark.parametrize("jump_s", [-1e6, -60.0, -1.0, 6.0, 3600.0, 1e6])
def test_a_camera_whose_clock_is_set_goes_on_without_a_gap(jump_s: float) -> None:
    stamps = [number / 25 + (jump_s if number >= 50 else 0.0) + 1e6 for number in range(100)]
    arrivals = [START_S + number / 25 for number in range(100)]
    placed = places(list(stamps), arrivals)
    assert placed == pytest.approx([arrival - ORIGIN_S for arrival in arrivals], abs=0.01 if jump_s < 0 or jump_s > 6 else 6.1)


def test_a_suspended_machine_goes_on_at_its_own_time() -> None:
    """The monotonic clock stands still meanwhile, the camera's does not."""
    clock = CameraClock(ORIGIN_S)
    before = clock.place(0.0, START_S)
    after_s = START_S + 0.04
    assert clock.place_sound(3600.0, SOUND_BASE, after_s) is None, "sound that would be of the next hour"
    assert clock.place(3600.04, after_s) - before == pytest.approx(0.04 * CLOCK, abs=2)
    placed = clock.place_sound(3600.04, SOUND_BASE, after_s)
    assert placed is not None
    assert placed * SOUND_BASE == pytest.approx(after_s - ORIGIN_S, abs=0.001)


@pytest.mark.parametrize("parts_per_million", [-400, -50, 50, 400])
def test_a_clock_that_runs_wrong_is_followed_without_jumps(parts_per_million: int) -> None:
    clock = CameraClock(ORIGIN_S)
    last_s: float | None = None
    for number in range(6 * 3600):  # hours
        arrival_s = START_S + number + (0.03, 0.0, 0.1)[number % 3]
        stamp_s = number * (1 + parts_per_million / 1e6)
        placed_s = clock.place(stamp_s, arrival_s) / CLOCK
        assert placed_s - (START_S + number - ORIGIN_S) == pytest.approx(0, abs=0.2)
        assert last_s is None or placed_s - last_s == pytest.approx(1, abs=0.01)
        last_s = placed_s


def test_sound_stays_in_step_with_the_pictures_while_the_clock_is_followed() -> None:
    clock = CameraClock(ORIGIN_S)
    for number in range(3600):
        stamp_s, now_s = number * 1.0003, START_S + number
        picture_s = clock.place(stamp_s, now_s) / CLOCK
        sound = clock.place_sound(stamp_s, SOUND_BASE, now_s)
        assert sound is not None
        assert sound * SOUND_BASE == pytest.approx(picture_s, abs=0.001)


def test_sound_means_nothing_before_the_first_picture() -> None:
    assert CameraClock(ORIGIN_S).place_sound(1.0, SOUND_BASE, START_S) is None


def test_a_camera_that_says_no_times_is_of_the_time_of_arrival() -> None:
    arrivals = [START_S + number / 10 for number in range(10)]
    assert places([None] * 10, arrivals) == pytest.approx([arrival - ORIGIN_S for arrival in arrivals], abs=0.001)


@settings(max_examples=200, deadline=None)
@given(pictures=st.lists(st.tuples(st.none() | st.floats(-1e6, 1e6) | st.floats(0, 1), st.floats(0, 10)), min_size=1, max_size=40))
def test_whatever_a_camera_says_times_increase_and_stay_near_the_arrival(pictures: list[tuple[float | None, float]]) -> None:
    clock, now_s, last = CameraClock(ORIGIN_S), START_S, -1
    for stamp_s, pause_s in pictures:
        now_s += pause_s
        pts = clock.place(stamp_s, now_s)
        assert pts > last
        assert -MOST_AHEAD_S - 0.01 <= now_s - ORIGIN_S - pts / CLOCK <= MOST_BEHIND_S + 0.01
        last = pts

"""When viewers are told that there is no picture."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from streamer.live.slating import MOST_PATIENCE_S, SILENT_S, SLATE_EVERY_S, SlatePace

TURN_S = 0.05


class Show:
    """What viewers see of a stream whose supervisor asks every TURN_S."""

    def __init__(self) -> None:
        self.pace = SlatePace(0.0)
        self.slates_s: list[float] = []
        self._turns = itertools.count()
        self._now_s = 0.0

    def run(self, until_s: float, pictures_s: Sequence[float] = (), *, is_away: bool = False) -> None:
        """pictures_s: when pictures go out."""
        coming = sorted(pictures_s)
        while self._now_s < until_s:
            self._now_s = next(self._turns) * TURN_S
            while coming and coming[0] <= self._now_s:
                self.pace.picture(coming.pop(0))
            if self.pace.is_due(self._now_s, is_away=is_away):
                self.slates_s.append(self._now_s)
                self.pace.slate(self._now_s)


def every(interval_s: float, first_s: float, end_s: float) -> list[float]:
    return [first_s + number * interval_s for number in range(int((end_s - first_s) / interval_s))]


@pytest.mark.parametrize("interval_s", [0.04, 0.5, 1.0, 1.5, 1.9])
def test_a_slow_camera_is_not_taken_for_one_that_is_away(interval_s: float) -> None:
    show = Show()
    show.run(60.0, every(interval_s, 1.0, 60.0))
    assert show.slates_s == []


@pytest.mark.parametrize(("interval_s", "patience_s"), [(0.04, 1.0), (1.0, 2.5), (1.9, 4.75), (4.0, MOST_PATIENCE_S)])
def test_viewers_are_told_once_the_silence_is_longer_than_usual(interval_s: float, patience_s: float) -> None:
    show = Show()
    pictures = every(interval_s, 1.0, 20.0)
    show.run(30.0, pictures)
    first, second = [at_s for at_s in show.slates_s if at_s > pictures[-1]][:2]
    assert first - pictures[-1] == pytest.approx(patience_s, abs=1.1 * TURN_S)
    assert second - first == pytest.approx(SLATE_EVERY_S, abs=1.1 * TURN_S)


def test_where_the_camera_is_known_to_be_away_nobody_is_patient() -> None:
    show = Show()
    pictures = every(1.9, 1.0, 20.0)
    show.run(pictures[-1], pictures)
    show.run(30.0, is_away=True)
    assert show.slates_s[0] - pictures[-1] == pytest.approx(1.0, abs=1.1 * TURN_S)


def test_at_the_start_the_camera_gets_time_to_answer() -> None:
    show = Show()
    show.run(10.0)
    assert show.slates_s[0] == pytest.approx(SILENT_S, abs=1.1 * TURN_S)


def test_an_outage_does_not_make_patient() -> None:
    show = Show()
    show.run(60.0, [*every(0.04, 1.0, 5.0), *every(0.04, 35.0, 40.0)])
    after = [at_s for at_s in show.slates_s if at_s > 36.0]
    assert after[0] - 40.0 == pytest.approx(1.0, abs=0.1)


def test_a_camera_that_becomes_slower_is_known_after_a_few_pictures() -> None:
    show = Show()
    show.run(60.0, [*every(0.04, 1.0, 10.0), *every(1.5, 10.0, 60.0)])
    assert show.slates_s
    assert max(show.slates_s) < 10.0 + 6 * 1.5

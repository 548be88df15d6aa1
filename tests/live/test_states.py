"""What state a stream is in, from made-up times of its pictures."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from streamer.live.slating import SlatePace
from streamer.live.states import RECOVERY_S, STARTING_S, next_state, trouble_of
from streamer.live.statistics import StreamStatistics
from streamer.live.status import StreamState

TURN_S = 0.05


class Show:
    """A stream whose supervisor looks every TURN_S; every state that it gets into, and since when."""

    def __init__(self, *, has_slates: bool = True) -> None:
        self.figures = StreamStatistics()
        self.pace = SlatePace(0.0)
        self.has_camera = True
        self.states: list[tuple[float, StreamState]] = [(0.0, "starting")]
        self._has_slates = has_slates
        self._turns = 0

    def run(
        self, until_s: float, *, incoming_s: Iterable[float], outgoing_s: Iterable[float], skipped_s: Iterable[float] = ()
    ) -> None:
        """When pictures of the camera come in, one goes out, and one comes in that `max_fps` leaves out."""
        incoming, skipped = ((at_s, True) for at_s in incoming_s), ((at_s, False) for at_s in skipped_s)
        coming, going = sorted([*incoming, *skipped]), sorted(outgoing_s)
        while (now_s := self._turns * TURN_S) < until_s:
            self._turns += 1
            while coming and coming[0][0] <= now_s:
                at_s, is_wanted = coming.pop(0)
                self.figures.frame_in(at_s, is_wanted=is_wanted)
            while going and going[0] <= now_s:
                self.figures.frame_out(going[0], going[0] - 0.5)
                self.pace.picture(going.pop(0))
            self._look(now_s)

    def _look(self, now_s: float) -> None:
        if self._has_slates and self.pace.is_due(now_s, is_away=not self.has_camera):
            self.pace.slate(now_s)
        trouble = trouble_of(camera_for_s=now_s if self.has_camera else None, has_failed=not self.has_camera, figures=self.figures)
        _, before = self.states[-1]
        after = next_state(before, trouble, has_camera=self.has_camera, figures=self.figures, pace=self.pace, now_s=now_s)
        if after != before:
            self.states.append((now_s, after))

    @property
    def names(self) -> list[StreamState]:
        return [state for _, state in self.states]


def every(interval_s: float, first_s: float, end_s: float) -> list[float]:
    return [first_s + number * interval_s for number in range(int((end_s - first_s) / interval_s))]


@pytest.mark.parametrize("has_slates", [True, False])
def test_a_stream_of_which_no_picture_is_ready_in_time_is_too_slow_until_they_come_again(has_slates: bool) -> None:
    show = Show(has_slates=has_slates)
    show.run(60.0, incoming_s=every(0.04, 0.0, 60.0), outgoing_s=[*every(0.04, 0.5, 20.0), *every(0.04, 40.0, 60.0)])
    assert show.names == ["starting", "running", "too_slow", "running"]
    assert show.states[2][0] == pytest.approx(21.0, abs=0.2)
    assert show.states[3][0] == pytest.approx(40.0 + RECOVERY_S, abs=0.2)


def test_a_picture_now_and_then_is_no_recovery() -> None:
    show = Show()
    show.run(60.0, incoming_s=every(0.04, 0.0, 60.0), outgoing_s=[*every(0.04, 0.5, 10.0), *every(8.0, 15.0, 60.0)])
    assert show.names == ["starting", "running", "too_slow"]


@pytest.mark.parametrize("interval_s", [0.5, 1.9, 4.0, 8.0, 20.0])
def test_pictures_that_are_merely_far_apart_are_well(interval_s: float) -> None:
    show = Show()
    show.run(200.0, incoming_s=every(interval_s, 0.0, 200.0), outgoing_s=every(interval_s, 0.6, 200.0))
    assert show.names[-1] == "running"
    assert show.states[-1][0] < 2 * interval_s + 1.0, "as soon as its pace is known"
    assert "too_slow" not in show.names


def test_a_machine_that_just_about_keeps_up_does_not_go_back_and_forth() -> None:
    show = Show()
    outgoing_s = [at_s for at_s in every(0.04, 0.5, 60.0) if at_s < 10.0 or at_s % 4.0 > 1.5]
    show.run(60.0, incoming_s=every(0.04, 0.0, 60.0), outgoing_s=outgoing_s)
    assert show.names == ["starting", "running", "too_slow"]


def test_a_slow_camera_that_followed_a_slow_machine_is_well() -> None:
    show = Show()
    fast_s, slow_s = every(0.04, 0.0, 20.0), every(8.0, 20.0, 200.0)
    show.run(200.0, incoming_s=[*fast_s, *slow_s], outgoing_s=[*every(0.04, 0.5, 10.0), *(at_s + 0.6 for at_s in slow_s)])
    assert show.names[:3] == ["starting", "running", "too_slow"]
    assert show.names[-1] == "running"
    assert show.states[-1][0] < 100.0


def test_pictures_that_max_fps_leaves_out_are_not_waited_for() -> None:
    show = Show()
    rare = {"incoming_s": every(10.0, 0.0, 100.0), "outgoing_s": every(10.0, 0.6, 100.0)}
    show.run(100.0, **rare, skipped_s=every(0.04, 0.0, 100.0))
    assert "too_slow" not in show.names
    assert show.names[-1] == "running"


def test_a_camera_that_is_connected_and_sends_nothing_is_no_slow_machine() -> None:
    show = Show()
    show.run(60.0, incoming_s=every(0.04, 0.0, 20.0), outgoing_s=every(0.04, 0.5, 20.4))
    assert show.names == ["starting", "running", "no_signal"]


def test_a_stream_that_never_sends_a_picture_is_starting_only_for_a_while() -> None:
    show = Show()
    show.run(STARTING_S + 10, incoming_s=every(0.04, 0.0, 60.0), outgoing_s=[])
    assert show.names == ["starting", "too_slow"]
    assert show.states[1][0] == pytest.approx(STARTING_S, abs=0.2)


def test_a_camera_that_is_away_is_said_to_be() -> None:
    show = Show()
    show.run(10.0, incoming_s=every(0.04, 0.0, 10.0), outgoing_s=every(0.04, 0.5, 10.0))
    show.has_camera = False
    show.run(20.0, incoming_s=[], outgoing_s=[])
    assert show.names == ["starting", "running", "no_signal"]

"""How carefully the detector looks at each frame of a video: which frames are thorough, and what those between them need.

The frames between thorough ones get a quick look, which misses small faces. It is enough only between two thorough looks of the
same shot that show none.

In files, frames wait until the thorough one behind them is known. Where that or one of those lately shows a small face, or where
the shot ends before there is one behind them, they get a careful look. What is decided depends on the pictures alone and not on
which process answers when.

Of a camera nothing can wait for that: see `ThoroughLooks`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import msgspec

from models.detectors import Size, has_small_faces
from streamer.messages import FacesRecord, RawFrame
from streamer.smoothing import TIME_ERROR_S

THOROUGH_EVERY_S = 0.13
"""Longest time between thorough frames: small faces that show for less may be missed."""
REMEMBERED_LOOKS = 16
"""Thorough looks, the last two seconds of them, in which a small face makes the frames after them careful: others walk past it, so
that it is seen between thorough looks only."""


class ThoroughPace:
    """Says of the frames of a stream, in their order, which are thorough: the first of each shot, and others close enough together.

    interval_frames: most frames from one to the next, whatever their times; None sets no limit but time. every_s: the longest time.
    """

    def __init__(self, interval_frames: int | None, every_s: float = THOROUGH_EVERY_S) -> None:
        self._interval_frames = interval_frames
        self._every_s = every_s
        self._last: tuple[int, float] | None = None

    def is_due(self, number: int, time_s: float, *, is_cut: bool) -> bool:
        if not is_cut and self._last is not None:
            last_number, last_s = self._last
            is_within = self._interval_frames is None or number - last_number < self._interval_frames
            if is_within and 0 <= time_s - last_s < self._every_s:
                return False
        self._last = (number, time_s)
        return True


@dataclass(kw_only=True)
class _Interval:
    """A thorough frame, and those that follow it up to the next."""

    number: int
    is_cut: bool
    has_small: bool | None = None
    """Whether it shows small faces; None until that is known."""
    waiting: list[RawFrame] = field(default_factory=list)


class EffortPlanner:
    """Takes the frames of one stream in their order and gives each back once, when it is known how carefully to look at it.

    frame_size: width and height in pixels.
    may_wait: whether the rings hold all frames from one thorough one to the next; where they do not, all between are careful.
    """

    def __init__(self, frame_size: Size, *, may_wait: bool) -> None:
        self._frame_size = frame_size
        self._may_wait = may_wait
        self._intervals: deque[_Interval] = deque()
        self._has_ended = False

    def add(self, frame: RawFrame) -> list[RawFrame]:
        """Takes a frame, thorough or quick, the first one thorough; returns those that can be looked at now."""
        if frame.effort == "thorough":
            self._intervals.append(_Interval(number=frame.number, is_cut=frame.is_cut))
            return [frame, *self._release()]
        if not self._may_wait:
            return [msgspec.structs.replace(frame, effort="careful")]
        self._intervals[-1].waiting.append(frame)
        return self._release()

    def answer(self, frame: RawFrame, faces: FacesRecord | None) -> list[RawFrame]:
        """What was found in a frame, None where that cannot be known; returns the frames that can be looked at now."""
        for interval in self._intervals:
            if interval.number == frame.number:
                interval.has_small = faces is None or has_small_faces(faces.unpack().boxes, self._frame_size)
                return self._release()
        return []

    def end(self) -> list[RawFrame]:
        """The stream has no more frames; returns those that can be looked at now, which may not be all that wait."""
        self._has_ended = True
        return self._release()

    def _release(self) -> list[RawFrame]:
        """The waiting frames about which all is known, or enough to be careful."""
        released: list[RawFrame] = []
        for place, interval in enumerate(self._intervals):
            if not interval.waiting:
                continue
            around = self._around(place)
            if self._ends_shot(place) or any(near is not None and near.has_small for near in around):
                released += [msgspec.structs.replace(frame, effort="careful") for frame in interval.waiting]
            elif all(near is not None and near.has_small is not None for near in around):
                released += interval.waiting
            else:
                continue
            interval.waiting = []
        while len(self._intervals) > REMEMBERED_LOOKS and not any(
            self._intervals[place].waiting for place in range(REMEMBERED_LOOKS)
        ):
            self._intervals.popleft()
        return released

    def _around(self, place: int) -> list[_Interval | None]:
        """The intervals of the same shot whose thorough frames count; None for one that has not come yet."""
        first = place
        while first > 0 and place - first < REMEMBERED_LOOKS - 1 and not self._intervals[first].is_cut:
            first -= 1
        around: list[_Interval | None] = [self._intervals[number] for number in range(first, place + 1)]
        around.append(self._intervals[place + 1] if place + 1 < len(self._intervals) else None)
        return around

    def _ends_shot(self, place: int) -> bool:
        """Whether no thorough look of the same shot comes behind the interval."""
        if place + 1 == len(self._intervals):
            return self._has_ended
        return self._intervals[place + 1].is_cut


class ThoroughLooks:
    """Tells which frames of a camera a quick look is enough for: those with thorough ones near them, before and behind.

    What is known of small faces there is held, bridged or reached back to such a frame; of any other one, small faces may show.
    within_s: how near; the look-ahead.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s + TIME_ERROR_S
        self._looks: deque[tuple[int, float]] = deque()

    def add(self, number: int, time_s: float) -> None:
        """It is known which faces, small ones too, a frame shows; in the order of the frames."""
        self._looks.append((number, time_s))

    def begin_shot(self) -> None:
        """What is known of the frames so far tells nothing of those to come."""
        self._looks.clear()

    def surround(self, number: int, time_s: float) -> bool:
        """Whether there are looks near a frame on both sides; asked of every frame, in their order, so that looks are forgotten."""
        while len(self._looks) > 1 and self._looks[1][0] < number:
            self._looks.popleft()
        near = [look for look, look_s in self._looks if abs(look_s - time_s) <= self._within_s]
        return any(look < number for look in near) and any(look > number for look in near)

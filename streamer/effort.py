"""How carefully the detector looks at each frame of a video: which frames are thorough, and what those between them need.

The frames between thorough ones get a quick look, unless one of the two thorough ones before them or the one behind them shows
a small face: then they get a careful look. So they wait until the one behind them is known, and a small face that enters is looked
for in the frames before a thorough one found it, too.

What is decided depends on the pictures alone and not on which process answers when.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import msgspec

from models.detectors import Size, has_small_faces
from streamer.messages import FacesRecord, RawFrame

THOROUGH_EVERY_S = 0.3
"""Longest time between thorough frames."""


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
            if any(near is not None and near.has_small for near in around):
                released += [msgspec.structs.replace(frame, effort="careful") for frame in interval.waiting]
            elif all(near is not None and near.has_small is not None for near in around):
                released += interval.waiting
            else:
                continue
            interval.waiting = []
        while len(self._intervals) > 2 and not self._intervals[0].waiting and not self._intervals[1].waiting:
            self._intervals.popleft()
        return released

    def _around(self, place: int) -> list[_Interval | None]:
        """The intervals of the same shot whose thorough frames count; None for one that has not come yet."""
        interval = self._intervals[place]
        around: list[_Interval | None] = [interval]
        if place > 0 and not interval.is_cut:
            around.append(self._intervals[place - 1])
        if place + 1 == len(self._intervals):
            around += [] if self._has_ended else [None]
        elif not self._intervals[place + 1].is_cut:
            around.append(self._intervals[place + 1])
        return around

"""When viewers get a slate because there is no picture, and what it tells them."""

from __future__ import annotations

from collections import deque
from typing import Literal

from streamer.live.messages import CLOCK, Slate
from streamer.live.stages import Stages

SILENT_S = 3.0
"""Without a picture for so long, viewers are told at the start; the camera gets this time to answer."""
SLATE_EVERY_S = 0.5
_LEAST_PATIENCE_S = 1.0
"""The same later on, and where pictures usually come further apart, so many times as far, but never longer than the most: players
of HLS wait for about three segments, servers such as MediaMTX end a publication after 10 s without a packet."""
_USUAL_INTERVALS = 2.5
MOST_PATIENCE_S = 5.0
_REMEMBERED_INTERVALS = 9

Trouble = Literal["starting", "no signal", "too slow", "failed"]
"""Why there is no picture, as viewers are told."""


class SlatePace:
    """When the next slate is due: a while after the last picture, then one after the other until a picture comes.

    How long the while is depends on how far apart this stream's pictures usually are, so that a slow one does not flicker between
    its pictures and slates.
    """

    def __init__(self, now_s: float) -> None:
        self.last_output_s = now_s
        """When the last picture or slate went out."""
        self._last_picture_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=_REMEMBERED_INTERVALS)
        self._is_showing = False
        self._last_s = 0.0
        self._calm_since_s = now_s

    def picture(self, now_s: float) -> None:
        """A picture went out."""
        if self.lacks_picture(now_s):
            self._calm_since_s = now_s
        if self._last_picture_s is not None:
            self._intervals_s.append(now_s - self._last_picture_s)
        self.last_output_s = self._last_picture_s = now_s
        self._is_showing = False

    def slate(self, now_s: float) -> None:
        """A slate went out."""
        self.last_output_s = now_s

    def is_due(self, now_s: float, *, is_away: bool) -> bool:
        """Whether to send one now; asked when it can be sent. is_away: the camera is, and there is nothing to be patient for."""
        if self._is_showing:
            is_due = now_s - self._last_s >= SLATE_EVERY_S
        else:
            is_due = now_s - self.last_output_s >= (_LEAST_PATIENCE_S if is_away else self._patience_s())
        if is_due:
            self._is_showing, self._last_s = True, now_s
        return is_due

    def lacks_picture(self, now_s: float) -> bool:
        """Whether viewers see slates for want of a picture, or would see them."""
        return self._is_showing or now_s - self.last_output_s >= self._patience_s()

    def calm_for_s(self, now_s: float) -> float:
        """Since when no picture has been lacking, if none is now."""
        return now_s - self._calm_since_s

    def is_later_than_usual(self, now_s: float) -> bool:
        """Whether the last picture is longer ago than usual, however long that is; False before the first."""
        return self._last_picture_s is not None and now_s - self._last_picture_s >= self._longest_usual_s()

    def _patience_s(self) -> float:
        return min(self._longest_usual_s(), MOST_PATIENCE_S)

    def _longest_usual_s(self) -> float:
        if not self._intervals_s:
            return SILENT_S
        # The median, as one long outage says nothing of what is usual.
        usual_s = sorted(self._intervals_s)[len(self._intervals_s) // 2]
        return max(_USUAL_INTERVALS * usual_s, _LEAST_PATIENCE_S)


class SlateSender:
    """Has a stream's sink send slates while there is no picture, one at a time.

    delay_s: how much later than they arrive pictures usually go out. origin_s: the beginning of the stream's time.
    """

    def __init__(self, stages: Stages, *, is_enabled: bool, delay_s: float, origin_s: float) -> None:
        self._stages = stages
        self._is_enabled = is_enabled
        self._delay_s = delay_s
        self._origin_s = origin_s
        self.pace = SlatePace(origin_s)
        self._is_under_way = False

    def tick(self, now_s: float, trouble: Trouble, *, is_away: bool) -> None:
        """Send the next one, if it is due. trouble: why there is no picture, if there is none. is_away: the camera is."""
        if not self._is_enabled or self._is_under_way or self._stages.lacks("live-sink"):
            return
        if not self.pace.is_due(now_s, is_away=is_away):
            return
        self._is_under_way = True
        # As late as pictures are, so that the next one is not earlier.
        pts = max(0, round((now_s - self._delay_s - self._origin_s) * CLOCK))
        self._stages.send("live-sink", Slate(text=trouble, pts=pts))

    def written(self, now_s: float) -> None:
        """The sink has sent it."""
        self._is_under_way = False
        self.pace.slate(now_s)

    def begin_anew(self) -> None:
        """Another sink has taken the place of the one that had it."""
        self._is_under_way = False

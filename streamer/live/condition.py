"""How a stream fares, in words: its state, since when, what went wrong, and what viewers are told while there is no picture."""

from __future__ import annotations

import time
from collections import deque

from loguru import logger

from streamer.live.status import Event, StreamState

SILENT_S = 3.0
"""Without a picture for so long, viewers are told at the start; the camera gets this time to answer."""
SLATE_EVERY_S = 0.5
_LEAST_PATIENCE_S = 1.0
"""The same later on, and where pictures usually come further apart, so many times as far, but never longer than the most: players
of HLS wait for about three segments, servers such as MediaMTX end a publication after 10 s without a packet."""
_USUAL_INTERVALS = 2.5
MOST_PATIENCE_S = 5.0
_REMEMBERED_INTERVALS = 9
_MOST_EVENTS = 10


class Condition:
    """The state and the last events of one stream."""

    def __init__(self, stream: str) -> None:
        self._log = logger.bind(stream=stream)
        self.state: StreamState = "starting"
        self.since = time.time()
        self.events: deque[Event] = deque(maxlen=_MOST_EVENTS)

    def become(self, state: StreamState) -> None:
        if state != self.state:
            self.state, self.since = state, time.time()
            self._log.info("{}", state.replace("_", " "))

    def tell(self, text: str) -> None:
        """A line for the log, once as long as nothing else happens, and for the status page. text: without credentials."""
        if not self.events or self.events[0].text != text:
            self._log.warning("{}", text)
        self.events.appendleft(Event(at=time.time(), text=text))


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

    def picture(self, now_s: float) -> None:
        """A picture went out."""
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

    def _patience_s(self) -> float:
        if not self._intervals_s:
            return SILENT_S
        # The median, as one long outage says nothing of what is usual.
        usual_s = sorted(self._intervals_s)[len(self._intervals_s) // 2]
        return min(max(_USUAL_INTERVALS * usual_s, _LEAST_PATIENCE_S), MOST_PATIENCE_S)

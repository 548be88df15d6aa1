"""How a stream fares, in words: its state, since when, and what went wrong."""

from __future__ import annotations

import time
from collections import deque

from loguru import logger

from streamer.live.status import Event, StreamState

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

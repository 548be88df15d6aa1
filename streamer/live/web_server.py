"""The supervisor's part in the status page: a process that shows what it is told, once a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from loguru import logger

from streamer.errors import InternalError
from streamer.live.backoff import Backoff
from streamer.live.crew import Crew
from streamer.live.messages import Preview, PreviewWanted, StatusUpdate, WebSetup
from streamer.live.status import ServeStatus
from streamer.messages import Message, Ready
from streamer.supervisor import Child, Died


class WebServer:
    """Owner of the web server. on_preview_wanted: somebody looks at a stream."""

    def __init__(self, crew: Crew, setup: WebSetup, on_preview_wanted: Callable[[PreviewWanted], None]) -> None:
        self._crew = crew
        self._setup = setup
        self._place = f"port {setup.port}"
        self._on_preview_wanted = on_preview_wanted
        self._child: Child | None = None
        self._backoff = Backoff()
        self._start_at_s = 0.0
        self._started_s = 0.0
        self.trouble: str | None = None
        """Why it is away; None while it serves, or has yet to begin."""

    def tick(self, now_s: float) -> None:
        if self._child is not None or now_s < self._start_at_s:
            return
        if not self._crew.is_able_to_start or self._crew.is_taken(self._place):
            return
        try:
            self._child = self._crew.start("web", [self._setup], self, place=self._place)
            self._started_s = now_s
        except InternalError as error:
            logger.error("{}", error)
            self._start_at_s = now_s + self._backoff.wait_s(0.0)

    def show(self, status: ServeStatus) -> None:
        self._crew.send(self._child, StatusUpdate(status=status))

    def show_preview(self, preview: Preview) -> None:
        self._crew.send(self._child, preview)

    def stop(self) -> None:
        self._crew.dismiss(self._child)
        self._child = None
        self._start_at_s = float("inf")

    def received(self, child: Child, message: Message, payload: bytes) -> None:
        match message:
            case Ready():
                self.trouble = None
            case PreviewWanted():
                self._on_preview_wanted(message)
            case _:
                pass

    def died(self, died: Died) -> None:
        if died.child is self._child:
            now_s = time.monotonic()
            self._child = None
            self._start_at_s = now_s + self._backoff.wait_s(now_s - self._started_s)
            # It is tried for ever: said again only where it is news.
            is_news, self.trouble = self.trouble != str(died.error), str(died.error)
            logger.log("ERROR" if is_news else "DEBUG", "the status page is away, will be tried again: {}", died.error)

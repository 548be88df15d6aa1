"""The supervisor's part in the status page: a process that shows what it is told, once a second."""

from __future__ import annotations

from collections.abc import Callable

from loguru import logger

from streamer.children import Child, Died
from streamer.errors import VeilError
from streamer.live.crew import DISMISSAL_S, Crew
from streamer.live.keeping import KeptProcess
from streamer.live.messages import Preview, PreviewWanted, StatusUpdate, WebSetup
from streamer.live.status import ServeStatus
from streamer.messages import Message, Ready


class WebServer:
    """Keeper of the web server. on_preview_wanted: somebody looks at a stream."""

    def __init__(self, crew: Crew, setup: WebSetup, on_preview_wanted: Callable[[PreviewWanted], None]) -> None:
        self._crew = crew
        self._setup = setup
        self._on_preview_wanted = on_preview_wanted
        self._process = KeptProcess(crew, "web", self, place=f"port {setup.port}")
        self.trouble: str | None = None
        """Why it is away; None while it serves, or has yet to begin."""

    def tick(self, now_s: float) -> None:
        self._process.tick(now_s)

    def show(self, status: ServeStatus) -> None:
        self._crew.send(self._process.child, StatusUpdate(status=status))

    def show_preview(self, preview: Preview) -> None:
        self._crew.send(self._process.child, preview)

    def stop(self) -> None:
        self._process.stop(DISMISSAL_S)

    def opening(self) -> list[Message]:
        return [self._setup]

    def started(self, child: Child) -> None:
        """It serves once it is ready."""

    def received(self, child: Child, message: Message, payload: bytes) -> None:
        match message:
            case Ready():
                self._process.works()
                self.trouble = None
            case PreviewWanted():
                self._on_preview_wanted(message)
            case _:
                pass

    def ended(self, error: VeilError, died: Died | None) -> None:
        # It is tried for ever: said again only where it is news.
        is_news, self.trouble = self.trouble != str(error), str(error)
        logger.log("ERROR" if is_news else "DEBUG", "the status page is away, will be tried again: {}", error)

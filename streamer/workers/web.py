"""Serves the status page; what it knows is what it is told, and it has no way to any picture but previews."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterable

from streamer.live.messages import Preview, PreviewWanted, StatusUpdate, WebSetup
from streamer.live.web.gate import Gate, is_loopback_host
from streamer.live.web.listening import open_sockets
from streamer.live.web.previews import PreviewDesk
from streamer.live.web.server import Server
from streamer.live.web.site import Site
from streamer.messages import Message
from streamer.redaction import register
from streamer.workers import RingHandles

_STEP_S = 0.1


class WebWorker:
    """The loop of the process hands messages to the server's thread, and what that wants to the supervisor."""

    _site: Site
    _server: Server
    _listeners: list[socket.socket]

    def __init__(self, rings: RingHandles) -> None:
        self._wanted: queue.SimpleQueue[str] = queue.SimpleQueue()

    @property
    def port(self) -> int:
        """Where it listens: what was asked for, or what the system chose for port 0."""
        return int(self._listeners[0].getsockname()[1])

    def process(self, message: Message) -> Iterable[Message]:
        match message:
            case WebSetup():
                if message.token is not None:
                    register(message.token)
                self._listeners = open_sockets(message.host, message.port)
                gate = Gate(message.token, is_loopback=is_loopback_host(message.host))
                self._site = Site(gate, PreviewDesk(self._wanted.put), shows_previews=message.preview)
                self._server = Server(self._site, self._listeners)
                self._server.start()
            case StatusUpdate():
                self._server.call(self._site.update, message.status)
            case Preview():
                self._server.call(self._site.previews.put, message.name, message.jpeg)
            case _:
                pass
        return ()

    def step(self) -> Iterable[Message]:
        """What somebody wants to see."""
        try:
            yield PreviewWanted(name=self._wanted.get(timeout=_STEP_S))
        except queue.Empty:
            return

    def close(self) -> None:
        if hasattr(self, "_server"):
            self._server.close()

"""The server: a thread with a loop of its own, beside the loop of the process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from loguru import logger

from streamer.live.web.conversation import Conversation, Limits
from streamer.live.web.site import Site

T = TypeVar("T")

MOST_CONNECTIONS = 64
_CLOSE_S = 2.0


class Server:
    """Serves a site on sockets that listen already, until it is closed."""

    def __init__(self, site: Site, listeners: Sequence[socket.socket], limits: Limits | None = None) -> None:
        self._site = site
        self._listeners = listeners
        self._limits = limits or Limits()
        self._open: set[Conversation] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run it in the server's loop and wait for what it gives.

        The loop of the process waits here, so that a server that is stuck makes the process look stuck, as it should.
        """
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(function(*arguments))
            except Exception as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result()

    def close(self) -> None:
        """End all connections and the thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda _, context: logger.warning("web server: {}", context.get("message")))
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        servers = [
            await asyncio.start_server(self._welcome, sock=listener, limit=self._limits.header_bytes)
            for listener in self._listeners
        ]
        await self._stop.wait()
        for server in servers:
            server.close()
        for conversation in list(self._open):
            conversation.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Whoever comes gets in: where all places are taken, who has kept us waiting longest has to leave."""
        conversation = Conversation(reader, writer, self._site.answer, self._limits)
        if len(self._open) >= MOST_CONNECTIONS:
            waiting = [(one.waits_since_s, one) for one in self._open if one.waits_since_s is not None]
            if not waiting:
                conversation.abort()
                return
            _, slowest = min(waiting, key=lambda pair: pair[0])
            self._open.discard(slowest)
            slowest.abort()
        self._open.add(conversation)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # when the server is closed
                await conversation.run()
        finally:
            self._open.discard(conversation)

"""One connection: requests and answers over HTTP/1.1, by somebody who may be slow, confused or hostile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

import h11
from loguru import logger

from streamer.live.web.exchange import Request, Response, line

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer."""
METHODS = ("GET", "HEAD", "POST")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one connection may take."""

    request_s: float = 10.0
    """From the answer before it to the last byte of a request."""
    response_s: float = 10.0
    """To take an answer."""
    header_bytes: int = 16384
    body_bytes: int = 4096


class _RefusedError(Exception):
    """A request that is answered and ends the connection."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class Conversation:
    """One connection from its first byte to its last."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Callable[[Request], Awaitable[Response]],
        limits: Limits,
    ) -> None:
        self.waits_since_s: float | None = time.monotonic()
        """Since when it waits for the other side; None while a request is answered."""
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._limits = limits
        self._peer = str((writer.get_extra_info("peername") or ("",))[0])
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        # What has been sent is out when `drain` returns, so that closing leaves nothing behind that waits for the other side.
        writer.transport.set_write_buffer_limits(high=0)

    async def run(self) -> None:
        """Answer until the other side has had enough, or this one has."""
        try:
            while await self._exchange():
                self._http.start_next_cycle()
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._writer.transport.abort()

    def abort(self) -> None:
        """End it at once."""
        self._writer.transport.abort()

    async def _exchange(self) -> bool:
        """One request and its answer; whether another may follow."""
        self.waits_since_s = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.request_s):
                request = await self._read_request()
        except h11.RemoteProtocolError as error:
            await self._refuse(HTTPStatus(error.error_status_hint), "this is not HTTP as it is understood here")
            return False
        except _RefusedError as refused:
            await self._refuse(refused.status, str(refused))
            return False
        if request is None:
            return False
        self.waits_since_s = None
        response = await self._answer_safely(request)
        self.waits_since_s = time.monotonic()
        await self._send(response, has_body=request.method != "HEAD")
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _read_request(self) -> Request | None:
        """None where the other side is done."""
        head: h11.Request | None = None
        body = b""
        while True:
            match await self._next_event():
                case h11.Request() as head:
                    if head.method.decode() not in METHODS:
                        raise _RefusedError(HTTPStatus.NOT_IMPLEMENTED, f"only {', '.join(METHODS)} are known here")
                case h11.Data(data=data):
                    body += data
                    if len(body) > self._limits.body_bytes:
                        raise _RefusedError(
                            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {self._limits.body_bytes} bytes are taken"
                        )
                case h11.EndOfMessage() if head is not None:
                    break
                case _:
                    return None
        target, _, _ = head.target.decode("ascii", "replace").partition("?")
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        return Request(method=head.method.decode("ascii"), path=target, headers=headers, body=body, peer=self._peer)

    async def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(4096))
        return event

    async def _answer_safely(self, request: Request) -> Response:
        """A defect in one answer is no reason to leave everybody without any."""
        try:
            return await self._answer(request)
        except Exception:
            logger.exception("a request could not be answered")
            return line(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; please report it")

    async def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Say why, and listen a moment longer: closing with something unread would take the answer back from the other side."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        response = line(status, text, Connection="close")
        await self._send(response, has_body=True)
        self._writer.write_eof()
        async with asyncio.timeout(1.0):
            left = 1 << 18
            while left > 0 and (data := await self._reader.read(left)):
                left -= len(data)

    async def _send(self, response: Response, *, has_body: bool) -> None:
        headers = [
            *SECURITY_HEADERS.items(),
            *response.headers.items(),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
        ]
        events: list[h11.Event] = [
            h11.Response(status_code=response.status.value, reason=response.status.phrase.encode(), headers=headers),
            *([h11.Data(data=response.body)] if has_body else []),
            h11.EndOfMessage(),
        ]
        self._writer.write(b"".join(self._http.send(event) or b"" for event in events))
        async with asyncio.timeout(self._limits.response_s):
            await self._writer.drain()

"""What is answered to what: the routes, without sockets."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from importlib import resources

import msgspec

from streamer.live.status import ServeStatus
from streamer.live.web.exchange import Request, Response, line, redirect
from streamer.live.web.gate import Gate
from streamer.live.web.health import health, no_news, readiness
from streamer.live.web.metrics import CONTENT_TYPE, exposition
from streamer.live.web.previews import PreviewDesk

_FILES: Mapping[str, str] = {
    "index.html": "text/html; charset=utf-8",
    "login.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "format.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""All that is read from disk, at the start; a path of a request never becomes a path of a file."""
_PREVIEW = re.compile(r"/preview/([a-z0-9_-]{1,64})\.jpg")

_NOTE = b"<!-- note -->"
"""Where the form says what is wrong."""

Handler = Callable[[Request], Awaitable[Response]]


class Site:
    """Belongs to the server's loop; only that calls it."""

    def __init__(
        self, gate: Gate, previews: PreviewDesk, *, shows_previews: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.previews = previews
        self._gate = gate
        self._shows_previews = shows_previews
        self._clock = clock
        self._status: ServeStatus | None = None
        self._updated_s = 0.0
        self._files = {
            name: Response(content_type=kind, body=(resources.files(__package__) / "page" / name).read_bytes())
            for name, kind in _FILES.items()
        }
        self._open: Mapping[str, Mapping[str, Handler]] = {
            "/healthz": {"GET": self._health},
            "/readyz": {"GET": self._readiness},
            "/login": {"GET": self._file("login.html"), "POST": self._log_in},
            "/logout": {"POST": self._log_out},
            "/page.css": {"GET": self._file("page.css")},
            "/icon.svg": {"GET": self._file("icon.svg")},
        }
        """What needs no token: the health, and what the form for it consists of."""
        self._guarded: Mapping[str, Mapping[str, Handler]] = {
            "/": {"GET": self._file("index.html")},
            "/page.js": {"GET": self._file("page.js")},
            "/format.js": {"GET": self._file("format.js")},
            "/api/streams": {"GET": self._streams},
            "/metrics": {"GET": self._metrics},
        }

    def update(self, status: ServeStatus) -> None:
        """What is known now."""
        self._status = status
        self._updated_s = self._clock()
        self.previews.keep_only({stream.name for stream in status.streams})

    async def answer(self, request: Request) -> Response:
        """The answer to a request; the body of one to HEAD is there too, to be left out."""
        if (refusal := self._gate.refuse_host(request)) is not None:
            return refusal
        handlers = self._open.get(request.path)
        if handlers is None:
            if (refusal := self._gate.refuse(request)) is not None:
                is_page = request.path == "/" and "authorization" not in request.headers
                return redirect("/login") if is_page else refusal
            handlers = self._guarded.get(request.path) or self._preview_handlers(request.path)
        if handlers is None:
            return line(HTTPStatus.NOT_FOUND, "there is nothing here; the page is at /")
        handler = handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = ", ".join([*handlers, *(["HEAD"] if "GET" in handlers else [])])
            return line(HTTPStatus.METHOD_NOT_ALLOWED, f"only {allowed} here", Allow=allowed)
        if request.method == "POST" and request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return line(HTTPStatus.FORBIDDEN, "forms of other pages are not accepted")
        return await handler(request)

    def _preview_handlers(self, path: str) -> Mapping[str, Handler] | None:
        """None for what is no stream of now, so that names from outside never reach the tables of the previews."""
        found = _PREVIEW.fullmatch(path)
        names = {stream.name for stream in self._status.streams} if self._status is not None else set()
        if found is None or not self._shows_previews or found[1] not in names:
            return None
        return {"GET": lambda _: self._preview(found[1])}

    def _file(self, name: str) -> Handler:
        async def answer(_: Request) -> Response:
            return self._files[name]

        return answer

    async def _log_in(self, request: Request) -> Response:
        """A wrong token gets the form again, with what is wrong."""
        response = self._gate.log_in(request)
        if response.status is HTTPStatus.SEE_OTHER:
            return response
        form = self._files["login.html"]
        return replace(form, status=response.status, body=form.body.replace(_NOTE, response.body.strip()), headers=response.headers)

    async def _log_out(self, _: Request) -> Response:
        return self._gate.log_out()

    async def _health(self, _: Request) -> Response:
        return health(self._status, self._age_s)

    async def _readiness(self, _: Request) -> Response:
        return readiness(self._status, self._age_s)

    async def _streams(self, _: Request) -> Response:
        if (answer := no_news(self._status, self._age_s)) is not None:
            return answer
        headers = {"X-Veil-Login": "yes" if self._gate.needs_token else "no"}
        return Response(content_type="application/json", body=msgspec.json.encode(self._status), headers=headers)

    async def _metrics(self, _: Request) -> Response:
        if (answer := no_news(self._status, self._age_s)) is not None:
            return answer
        assert self._status is not None
        return Response(content_type=CONTENT_TYPE, body=exposition(self._status).encode())

    async def _preview(self, name: str) -> Response:
        jpeg = await self.previews.newest(name)
        if jpeg is None:
            return line(HTTPStatus.SERVICE_UNAVAILABLE, "no picture at the moment", Retry_After="2")
        return Response(content_type="image/jpeg", body=jpeg)

    @property
    def _age_s(self) -> float:
        return self._clock() - self._updated_s

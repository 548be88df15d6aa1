"""A request and its answer, as the routes see them: no sockets, no bytes of HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus


@dataclass(frozen=True, kw_only=True)
class Request:
    """What somebody asks for."""

    method: str
    path: str
    """Without the query."""
    headers: Mapping[str, str]
    """By name in small letters."""
    body: bytes
    peer: str
    """The address it comes from."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """What is answered; what every answer carries is added when it is sent."""

    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def line(status: HTTPStatus, text: str, **headers: str) -> Response:
    """An answer of one line of text; headers with _ for -."""
    return Response(
        status=status, body=f"{text}\n".encode(), headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def redirect(path: str, **headers: str) -> Response:
    """Look there, with GET."""
    return line(HTTPStatus.SEE_OTHER, f"see {path}", Location=path, **headers)

"""Asking a running daemon how it is, over its status page's address."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from streamer.errors import InputError, UsageError
from streamer.escaping import printable
from streamer.live.status import ServeStatus

DEFAULT_ADDRESS = "127.0.0.1:8700"
_ANSWER_LIMIT_S = 5.0
_LONGEST_ANSWER = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """Where a daemon answers, and with what token."""

    host: str
    port: int
    token: str | None

    @property
    def address(self) -> str:
        """As the user would write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnreachableError(InputError):
    """No daemon answers, or what answers is none."""


def ask_status(daemon: Daemon) -> ServeStatus:
    """The status of now. Raises UnreachableError where none is to be had, UsageError where the token is wrong or missing."""
    connection = http.client.HTTPConnection(daemon.host, daemon.port, timeout=_ANSWER_LIMIT_S)
    headers = {"Authorization": f"Bearer {daemon.token}"} if daemon.token else {}
    try:
        connection.request("GET", "/api/streams", headers=headers)
        response = connection.getresponse()
        body = response.read(_LONGEST_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"{daemon.address}: no daemon answers ({_reason(error)}); is veil serve running?") from None
    except ValueError:
        raise UsageError("the token has characters that a request cannot hold") from None
    finally:
        connection.close()
    match response.status:
        case HTTPStatus.OK:
            return _decode(body, daemon)
        case HTTPStatus.UNAUTHORIZED:
            what = "is not this token's" if daemon.token else "wants a token"
            raise UsageError(f"{daemon.address}: the daemon {what}; see --config and VEIL_HTTP_TOKEN in the help")
        case HTTPStatus.TOO_MANY_REQUESTS:
            raise UsageError(f"{daemon.address}: too many wrong tokens came from here; wait a little")
        case HTTPStatus.SERVICE_UNAVAILABLE:
            said = body[:200].decode("utf-8", "replace").strip()
            raise UnreachableError(f"{daemon.address}: the daemon does not tell how it is ({printable(said)})")
        case status:
            raise UnreachableError(f"{daemon.address}: what answers is not veil serve (HTTP {status})")


def _decode(body: bytes, daemon: Daemon) -> ServeStatus:
    try:
        return msgspec.json.decode(body, type=ServeStatus)
    except msgspec.DecodeError:
        raise UnreachableError(f"{daemon.address}: what answers is not veil serve, or not of this version") from None


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"silent for {_ANSWER_LIMIT_S:g} s"
    return getattr(error, "strerror", None) or type(error).__name__

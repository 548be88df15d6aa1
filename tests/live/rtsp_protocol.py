"""The words of RTSP 1.0 (RFC 2326): requests, answers, packets between them on the same connection, and passwords."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    459: "Aggregate Operation Not Allowed",
    461: "Unsupported Transport",
    501: "Not Implemented",
}
Scheme = Literal["basic", "digest"]
Role = Literal["publish", "read"]

_REALM = "live tests"
_LONGEST_HEAD = 64
_LONGEST_BODY = 65536


class ProtocolError(Exception):
    """What came is not RTSP."""


@dataclass(frozen=True, kw_only=True)
class Packet:
    """An RTP or RTCP packet inside the connection; an even channel carries RTP."""

    channel: int
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class Request:
    """headers: by names in small letters."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """Of the URL, without slashes around it."""
        return unquote(urlsplit(self.url).path).strip("/")


async def read_item(reader: asyncio.StreamReader) -> Request | Packet | None:
    """The next thing on a connection, None at its end. Raises ProtocolError."""
    try:
        first = await reader.readexactly(1)
        if first == b"$":
            head = await reader.readexactly(3)
            return Packet(channel=head[0], payload=await reader.readexactly(int.from_bytes(head[1:], "big")))
        return await _read_request(first, reader)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except ValueError as error:
        raise ProtocolError(str(error)) from error


async def _read_request(first: bytes, reader: asyncio.StreamReader) -> Request:
    line = (first + await reader.readline()).decode()
    method, url, version = line.split()
    if not version.startswith("RTSP/1."):
        raise ProtocolError(f"{version} instead of RTSP/1.0")
    headers = {}
    for _ in range(_LONGEST_HEAD):
        line = (await reader.readline()).decode().strip()
        if not line:
            break
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    if length > _LONGEST_BODY:
        raise ProtocolError(f"a body of {length} bytes")
    return Request(method=method.upper(), url=url, headers=headers, body=await reader.readexactly(length))


def answer(request: Request, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """headers without CSeq and Content-Length, which are added."""
    lines = [f"RTSP/1.0 {status} {REASONS[status]}", f"CSeq: {request.headers.get('cseq', '0')}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def controls_of(sdp: str) -> list[str]:
    """The last parts of the addresses of a description's tracks, in its order. Raises ProtocolError where there are none."""
    controls = []
    for number, section in enumerate(re.split(r"^m=", sdp, flags=re.MULTILINE)[1:]):
        found = re.search(r"^a=control:(\S+)", section, flags=re.MULTILINE)
        controls.append(found[1].rstrip("/").rpartition("/")[2] if found else f"streamid={number}")
    if not controls:
        raise ProtocolError("a description without tracks")
    return controls


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Who may publish and read.

    users: name and password of each role; a role that is not there needs none.
    """

    users: dict[Role, tuple[str, str]] = field(default_factory=dict)
    scheme: Scheme = "digest"
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))

    def admits(self, role: Role, request: Request) -> bool:
        if role not in self.users:
            return True
        name, password = self.users[role]
        kind, _, credentials = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != self.scheme:
            return False
        if self.scheme == "basic":
            expected = base64.b64encode(f"{name}:{password}".encode()).decode()
            return hmac.compare_digest(expected, credentials.strip())
        return self._is_digest(dict(re.findall(r'(\w+)="([^"]*)"', credentials)), request.method, name, password)

    def _is_digest(self, given: dict[str, str], method: str, name: str, password: str) -> bool:
        secret = _md5(f"{name}:{_REALM}:{password}")
        expected = _md5(f"{secret}:{self.nonce}:{_md5(f'{method}:' + given.get('uri', ''))}")
        return given.get("username") == name and given.get("nonce") == self.nonce and given.get("response") == expected

    @property
    def challenge(self) -> dict[str, str]:
        """The header of an answer 401."""
        if self.scheme == "basic":
            return {"WWW-Authenticate": f'Basic realm="{_REALM}"'}
        return {"WWW-Authenticate": f'Digest realm="{_REALM}", nonce="{self.nonce}"'}


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

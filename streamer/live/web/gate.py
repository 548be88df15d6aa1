"""Who may look: the token, the cookie that stands for it, how wrong ones are slowed down, and the names that the page goes by."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from streamer.live.web.exchange import Request, Response, line, redirect

COOKIE = "veil"
_COOKIE_LASTS_S = 30 * 86400
_LONGEST_PAUSE_S = 30.0
_MOST_PEERS = 1024

Clock = Callable[[], float]


class Slowdown:
    """How long each peer has to wait after wrong tokens: one second, then twice as long each time."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}
        """By peer, oldest first: how many in a row, and until when nothing of it is looked at."""

    def wait_s(self, peer: str) -> float:
        """Seconds until a token of this peer is looked at; 0 for now."""
        _, until = self._failures.get(_network_of(peer), (0, 0.0))
        return max(0.0, until - self._clock())

    def failed(self, peer: str) -> None:
        network = _network_of(peer)
        count, _ = self._failures.pop(network, (0, 0.0))
        self._failures[network] = (count + 1, self._clock() + min(_LONGEST_PAUSE_S, 2.0**count))
        if len(self._failures) > _MOST_PEERS:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, peer: str) -> None:
        self._failures.pop(_network_of(peer), None)


class Gate:
    """What is asked of everybody before anything but the health is shown."""

    def __init__(self, token: str | None, *, is_loopback: bool, now: Clock = time.time, slowdown: Slowdown | None = None) -> None:
        """is_loopback: the page is served to this machine alone, so that it goes by no other name than this machine's own."""
        self.needs_token = token is not None
        self._token = (token or "").encode()
        self._is_loopback = is_loopback
        self._now = now
        self._slowdown = slowdown or Slowdown()

    def refuse_host(self, request: Request) -> Response | None:
        """The answer to a page elsewhere that has its own name point to this machine, to be let in by the browser."""
        host = request.headers.get("host")
        if not self._is_loopback or host is None or is_loopback_host(_host_alone(host)):
            return None
        text = "this address answers to localhost only; what passes requests on to it must send Host: localhost"
        return line(HTTPStatus.MISDIRECTED_REQUEST, text)

    def refuse(self, request: Request) -> Response | None:
        """The answer to who has not shown the token; None to who has, or where there is none."""
        if not self.needs_token or self._is_cookie_valid(request.headers.get("cookie", "")):
            return None
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._refuse_token(shown.strip(), request.peer)
        return _unauthorized("a token is required, as Authorization: Bearer ... or by logging in")

    def log_in(self, request: Request) -> Response:
        """The answer to the form with the token."""
        try:
            fields = parse_qs(request.body.decode(), max_num_fields=4)
        except ValueError:
            fields = {}
        refusal = self._refuse_token(fields.get("token", [""])[0].strip(), request.peer) if self.needs_token else None
        if refusal is not None:
            return refusal
        cookie = f"{COOKIE}={self._make_cookie()}; Max-Age={_COOKIE_LASTS_S}; Path=/; HttpOnly; SameSite=Strict"
        return redirect("/", **({"Set-Cookie": cookie} if self.needs_token else {}))

    def log_out(self) -> Response:
        return redirect("/login", **{"Set-Cookie": f"{COOKIE}=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict"})

    def _refuse_token(self, shown: str, peer: str) -> Response | None:
        """None for the right token. While a peer has to wait, its tokens are not even looked at."""
        wait_s = self._slowdown.wait_s(peer)
        if wait_s > 0.0:
            text = "too many wrong tokens; wait a little"
            return line(HTTPStatus.TOO_MANY_REQUESTS, text, Retry_After=str(int(wait_s) + 1))
        if _is_same(shown.encode(), self._token):
            self._slowdown.succeeded(peer)
            return None
        self._slowdown.failed(peer)
        return _unauthorized("the token is wrong")

    def _make_cookie(self) -> str:
        expires = str(int(self._now()) + _COOKIE_LASTS_S)
        return f"{expires}.{self._sign(expires)}"

    def _sign(self, expires: str) -> str:
        return hmac.new(self._token, f"veil session until {expires}".encode(), hashlib.sha256).hexdigest()

    def _is_cookie_valid(self, header: str) -> bool:
        expires, _, signature = _cookies(header).get(COOKIE, "").partition(".")
        if not (expires.isascii() and expires.isdigit() and len(expires) < 16):
            return False
        return _is_same(signature.encode(), self._sign(expires).encode()) and int(expires) > self._now()


def is_loopback_host(host: str) -> bool:
    """Whether a host, as in a URL but without brackets, is this machine and nothing else."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_alone(host: str) -> str:
    """Of a Host header: without port and brackets; empty where it makes no sense."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _network_of(peer: str) -> str:
    """Whoever has an IPv6 address has 2^64 of them."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else peer


def _is_same(shown: bytes, wanted: bytes) -> bool:
    """Takes as long whatever is shown; digests, because comparing would tell the length."""
    return hmac.compare_digest(hashlib.sha256(shown).digest(), hashlib.sha256(wanted).digest())


def _cookies(header: str) -> Mapping[str, str]:
    pairs = (pair.partition("=") for pair in header.split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _unauthorized(text: str) -> Response:
    return line(HTTPStatus.UNAUTHORIZED, text, WWW_Authenticate='Bearer realm="veil"')

"""The status page's server against clients that are slow, greedy or malicious, over real connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from streamer.live.web.conversation import Limits
from streamer.live.web.gate import Gate
from streamer.live.web.listening import open_sockets
from streamer.live.web.previews import PreviewDesk
from streamer.live.web.server import MOST_CONNECTIONS, Server
from streamer.live.web.site import Site
from tests.live.statuses import serve_status, stream_status

LIMITS = Limits(request_s=0.5, response_s=0.5)
_DEADLINE_S = 20.0
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Served:
    """A server with short limits, and ways to it."""

    def __init__(self, limits: Limits) -> None:
        listeners = open_sockets("127.0.0.1", 0)
        self.address = listeners[0].getsockname()[:2]
        self.site = Site(Gate(None, is_loopback=True), PreviewDesk(lambda _: None), shows_previews=True)
        self.server = Server(self.site, listeners, limits)
        self.server.start()
        self.server.call(self.site.update, serve_status())

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=_DEADLINE_S)

    def is_well(self) -> bool:
        """Whether somebody who behaves is served."""
        with self.connect() as client:
            client.sendall(HEALTH)
            return client.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.fixture
def served() -> Iterator[Served]:
    one = Served(LIMITS)
    yield one
    one.server.close()


@pytest.fixture
def patient() -> Iterator[Served]:
    """With the limits of always."""
    one = Served(Limits())
    yield one
    one.server.close()


def everything(client: socket.socket) -> bytes:
    """All that comes until the other side ends it, which it must; a reset is an end too."""
    received = b""
    try:
        while data := client.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received


def test_who_says_nothing_is_shown_out(served: Served) -> None:
    with served.connect() as client:
        assert everything(client) == b""


def test_who_sends_a_byte_at_a_time_does_not_get_more_time_for_it(served: Served) -> None:
    with served.connect() as client:
        started = time.monotonic()
        try:
            for byte in HEALTH[:-2] * 20:
                client.sendall(bytes([byte]))
                client.settimeout(0.05)
                try:
                    if not client.recv(1):
                        break
                except TimeoutError:
                    continue
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert time.monotonic() - started < 5.0
    assert served.is_well()


def test_who_keeps_the_connection_and_goes_silent_is_shown_out(served: Served) -> None:
    with served.connect() as client:
        client.sendall(HEALTH)
        assert everything(client).count(b"HTTP/1.1 200") == 1


def test_who_does_not_read_the_answers_is_shown_out(served: Served) -> None:
    # The status is made larger than what the two sockets of a connection hold between them.
    served.server.call(served.site.update, serve_status(*(stream_status(f"camera{index}") for index in range(20000))))
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(served.address)
    client.sendall(b"GET /api/streams HTTP/1.1\r\nHost: localhost\r\n\r\n")
    deadline = time.monotonic() + _DEADLINE_S
    while not served.server.call(lambda: bool(served.server._open)):
        assert time.monotonic() < deadline
    while served.server.call(lambda: bool(served.server._open)):
        assert time.monotonic() < deadline
    client.close()
    assert served.is_well()


@pytest.mark.parametrize("count", [MOST_CONNECTIONS, 3 * MOST_CONNECTIONS])
def test_however_many_hold_a_place_who_behaves_still_gets_one(count: int, patient: Served) -> None:
    clients = []
    for _ in range(count):
        client = patient.connect()
        client.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        clients.append(client)
    assert patient.is_well()
    assert patient.server.call(lambda: len(patient.server._open)) <= MOST_CONNECTIONS
    for client in clients:
        client.close()


def test_many_who_behave_are_served_at_once(patient: Served) -> None:
    wells: list[bool] = []
    threads = [threading.Thread(target=lambda: wells.append(patient.is_well())) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_DEADLINE_S)
    assert wells == [True] * 30


def test_a_huge_header_is_refused_and_said_so(patient: Served) -> None:
    with patient.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n")
        assert everything(client).startswith(b"HTTP/1.1 431 ")
    assert patient.is_well()


def test_headers_without_end_are_refused(patient: Served) -> None:
    with patient.connect() as client:
        try:
            client.sendall(b"GET / HTTP/1.1\r\n")
            for index in range(200_000):
                client.sendall(b"X-%d: a\r\n" % index)
        except (ConnectionResetError, BrokenPipeError):
            pass
        else:
            pytest.fail("all of it was taken")
    assert patient.is_well()


@pytest.mark.parametrize("length", [b"Content-Length: 999999999999", b"Transfer-Encoding: chunked"], ids=["announced", "in chunks"])
def test_a_huge_body_is_refused_and_said_so(length: bytes, patient: Served) -> None:
    body = b"token=" + b"a" * 6000
    if b"chunked" in length:
        body = b"%x\r\n%s\r\n" % (len(body), body)
    with patient.connect() as client:
        client.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\n" + length + b"\r\n\r\n" + body)
        assert everything(client).startswith(b"HTTP/1.1 413 ")
    assert patient.is_well()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["TLS", "words", "no host", "two hosts", "space in a name", "two lengths", "negative length", "zero byte"],
)
def test_what_is_not_http_is_refused(sent: bytes, patient: Served) -> None:
    with patient.connect() as client:
        client.sendall(sent)
        assert everything(client).startswith(b"HTTP/1.1 400 ")
    assert patient.is_well()


@pytest.mark.parametrize("target", [b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"http://evil.example/", b"*", b"/\xff"])
def test_no_target_leads_out_of_the_site(target: bytes, patient: Served) -> None:
    with patient.connect() as client:
        client.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = everything(client)
    assert answer.split(b" ")[1] in (b"400", b"404")
    assert b"root:" not in answer


def test_who_hangs_up_in_the_middle_of_anything_hurts_nobody(patient: Served) -> None:
    for length in range(0, len(HEALTH) + 1, 3):
        with patient.connect() as client:
            client.sendall(HEALTH[:length])
    assert patient.is_well()


def test_a_defect_in_one_answer_leaves_the_others(patient: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient.site, "_clock", lambda: None)
    with patient.connect() as client:
        client.sendall(HEALTH)
        assert client.recv(1000).startswith(b"HTTP/1.1 500 ")
    monkeypatch.undo()
    assert patient.is_well()

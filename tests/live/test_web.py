"""The status page's server, asked over real connections: what it answers to whom."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from streamer.errors import OutputError, UsageError
from streamer.live.messages import Preview, PreviewWanted, StatusUpdate, WebSetup
from streamer.live.status import ServeStatus
from streamer.live.web.conversation import SECURITY_HEADERS
from streamer.live.web.gate import Gate, Slowdown
from streamer.live.web.health import health, readiness
from streamer.live.web.server import Server
from streamer.messages import Message
from streamer.pipeline import row_of
from streamer.workers.web import WebWorker
from tests.live.statuses import assorted_status, fetch, serve_status, small_jpeg, stream_status, tell, web_worker

TOKEN = "correct horse"
BEARER = f"Bearer {TOKEN}"
GUARDED = ("/", "/page.js", "/format.js", "/api/streams", "/metrics", "/preview/door.jpg", "/nothing")
_DEADLINE_S = 20.0


@pytest.fixture
def worker() -> Iterator[WebWorker]:
    with web_worker() as one:
        tell(one, serve_status())
        yield one


@pytest.fixture
def locked() -> Iterator[WebWorker]:
    """With a token."""
    with web_worker(token=TOKEN) as one:
        tell(one, serve_status())
        yield one


def test_the_worker_is_the_one_of_the_table() -> None:
    row = row_of("web")
    assert row.worker == f"{WebWorker.__module__}:{WebWorker.__name__}"
    assert set(row.reads) == {WebSetup, StatusUpdate, Preview}
    assert (row.writes, row.steps) == ((PreviewWanted,), True)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/login", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/format.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
        ("/api/streams?since=now", "application/json"),
        ("/metrics", "text/plain"),
        ("/healthz", "text/plain"),
    ],
)
def test_every_answer_has_its_kind_and_keeps_the_browser_from_doing_more_than_it_should(
    path: str, kind: str, worker: WebWorker
) -> None:
    answer = fetch(worker, path)

    assert answer.status == 200
    assert answer.headers["content-type"].startswith(kind)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name.lower()] == value
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_the_json_is_the_status(worker: WebWorker) -> None:
    tell(worker, assorted_status())
    assert msgspec.json.decode(fetch(worker, "/api/streams").body, type=ServeStatus) == assorted_status()


def test_head_is_get_without_the_body(worker: WebWorker) -> None:
    whole, head = fetch(worker, "/"), fetch(worker, "/", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.body))


@pytest.mark.parametrize(
    "path", ["/nothing", "/index.html", "/../page.css", "/page/../page.css", "/%2e%2e/x", "//page.css", "/page.css/", "/preview/"]
)
def test_what_is_not_there_is_not_found(path: str, worker: WebWorker) -> None:
    assert fetch(worker, path).status == 404


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/"), ("POST", "/metrics"), ("GET", "/logout"), ("POST", "/preview/door.jpg")]
)
def test_a_method_that_a_path_does_not_have_is_refused(method: str, path: str, worker: WebWorker) -> None:
    answer = fetch(worker, path, method=method, body="x" if method == "POST" else None)
    assert answer.status == 405
    assert method not in answer.headers["allow"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_a_method_that_nothing_has_is_refused(method: str, worker: WebWorker) -> None:
    answer = fetch(worker, "/", method=method)
    assert answer.status == 501
    assert answer.headers["connection"] == "close"


def test_several_requests_share_a_connection(worker: WebWorker) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=_DEADLINE_S)
    for path, status in (("/healthz", 200), ("/nothing", 404), ("/api/streams", 200)):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8700", "127.0.0.1:1", "127.3.2.1", "[::1]:8700"])
def test_this_machine_may_be_called_by_its_own_names(host: str, worker: WebWorker) -> None:
    assert fetch(worker, "/api/streams", Host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example:8700", "[::1", ""])
@pytest.mark.parametrize("path", ["/", "/healthz", "/api/streams"])
def test_a_name_that_was_made_to_point_here_gets_nothing(host: str, path: str, worker: WebWorker) -> None:
    answer = fetch(worker, path, Host=host)
    assert answer.status == 421
    assert "door" not in answer.text


@pytest.mark.parametrize("host", ["0.0.0.0", ""])
def test_beyond_this_machine_any_name_will_do(host: str) -> None:
    with web_worker(host=host, token=TOKEN) as one:
        tell(one, serve_status())
        assert fetch(one, "/api/streams", Host="cameras.example", Authorization=BEARER).status == 200


def test_it_is_well_as_long_as_the_daemon_says_so() -> None:
    with web_worker() as one:
        assert (fetch(one, "/healthz").status, fetch(one, "/readyz").status) == (503, 503)
        assert fetch(one, "/api/streams").text == "starting\n"

        tell(one, serve_status())
        assert (fetch(one, "/healthz").text, fetch(one, "/readyz").text) == ("ok\n", "ready\n")

        streams = (
            stream_status("door"),
            stream_status("yard", is_silent=True),
            stream_status("hall", state="failed"),
            stream_status("roof", state="starting", frames_out=0, slates=0),
        )
        tell(one, serve_status(*streams, is_healthy=False, is_ready=False))
        unwell, unready = fetch(one, "/healthz"), fetch(one, "/readyz")
        assert (unwell.status, unwell.text) == (503, "given up: hall; silent: yard\n")
        assert (unready.status, unready.text) == (503, "nothing sent yet: roof\n")


def test_given_up_streams_are_named_while_the_others_are_well() -> None:
    answer = health(serve_status(stream_status(), stream_status("hall", state="failed")), age_s=1.0)
    assert (answer.status, answer.body) == (200, b"ok; given up: hall\n")


def test_old_news_is_no_news() -> None:
    for what in (health, readiness):
        assert what(serve_status(), 9.0).status == 200
        assert what(serve_status(), 61.0).status == 503
        assert what(serve_status(), 61.0).body == b"no news of the streams for 61 s\n"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/login", "/page.css", "/icon.svg"])
def test_the_health_and_the_login_need_no_token(path: str, locked: WebWorker) -> None:
    assert fetch(locked, path).status == 200


@pytest.mark.parametrize("path", GUARDED)
def test_everything_else_needs_the_token(path: str, locked: WebWorker) -> None:
    without = fetch(locked, path)
    assert without.status == (303 if path == "/" else 401)
    assert "door" not in without.text
    assert fetch(locked, path, Authorization="Basic dXNlcjpjb3JyZWN0IGhvcnNl").status == 401
    assert fetch(locked, path, Cookie="veil=; veil=0.abc").status in (303, 401)
    assert fetch(locked, path, Authorization="Bearer wrong").status == 401


def test_the_token_opens(locked: WebWorker) -> None:
    assert fetch(locked, "/api/streams", Authorization=BEARER).status == 200
    assert fetch(locked, "/nothing", Authorization=BEARER).status == 404


def test_after_a_wrong_token_nothing_is_looked_at_for_a_while(locked: WebWorker) -> None:
    assert fetch(locked, "/api/streams", Authorization="Bearer wrong").status == 401
    hasty = fetch(locked, "/api/streams", Authorization=BEARER)
    assert hasty.status == 429
    deadline = time.monotonic() + _DEADLINE_S
    while fetch(locked, "/api/streams", Authorization=BEARER).status == 429:
        assert time.monotonic() < deadline


def test_each_wrong_token_of_a_peer_costs_it_twice_the_time_of_the_one_before() -> None:
    now = [0.0]
    slowdown = Slowdown(lambda: now[0])
    waits = []
    for _ in range(8):
        slowdown.failed("10.0.0.1")
        waits.append(slowdown.wait_s("10.0.0.1"))
        now[0] += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    assert slowdown.wait_s("10.0.0.1") == 0
    assert slowdown.wait_s("10.0.0.2") == 0
    slowdown.failed("10.0.0.1")
    slowdown.succeeded("10.0.0.1")
    assert slowdown.wait_s("10.0.0.1") == 0


def test_neighbours_of_one_ipv6_network_are_one_peer_and_the_table_of_peers_stays_small() -> None:
    slowdown = Slowdown(lambda: 0.0)
    slowdown.failed("2001:db8::1")
    assert slowdown.wait_s("2001:db8::ffff") > 0
    assert slowdown.wait_s("2001:db8:0:1::1") == 0
    for index in range(2000):
        slowdown.failed(f"10.0.{index // 256}.{index % 256}")
    assert slowdown.wait_s("2001:db8::1") == 0


def log_in(worker: WebWorker, token: str, **headers: str) -> tuple[int, str, str]:
    """Status, cookie header and text."""
    answer = fetch(
        worker, "/login", method="POST", body=f"token={token}", Content_Type="application/x-www-form-urlencoded", **headers
    )
    return answer.status, answer.headers.get("set-cookie", ""), answer.text


def test_logging_in_gives_a_cookie_that_opens_and_that_scripts_cannot_read(locked: WebWorker) -> None:
    status, cookie, _ = log_in(locked, "correct+horse")

    assert status == 303
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    pair = cookie.partition(";")[0]
    assert fetch(locked, "/api/streams", Cookie=f"other=1; {pair}").status == 200
    assert fetch(locked, "/api/streams", Cookie=pair[:-1] + ("0" if pair[-1] != "0" else "1")).status == 401
    assert fetch(locked, "/logout", method="POST", Cookie=pair).headers["set-cookie"].startswith("veil=; Max-Age=0")


def test_a_wrong_token_gets_the_form_again(locked: WebWorker) -> None:
    status, cookie, text = log_in(locked, "wrong")
    assert (status, cookie) == (401, "")
    assert "the token is wrong" in text
    assert "<form" in text
    assert log_in(locked, "correct+horse")[0] == 429


def test_a_form_of_another_page_is_not_accepted(locked: WebWorker) -> None:
    assert log_in(locked, "correct+horse", Sec_Fetch_Site="cross-site")[0] == 403
    assert log_in(locked, "correct+horse", Sec_Fetch_Site="same-origin")[0] == 303


def test_a_cookie_ends_with_its_time_and_with_the_token() -> None:
    now = [1000.0]
    gate = Gate(TOKEN, is_loopback=True, now=lambda: now[0])
    pair = f"veil={gate._make_cookie()}"
    assert gate._is_cookie_valid(pair)
    assert not Gate("another", is_loopback=True, now=lambda: now[0])._is_cookie_valid(pair)
    expires, _, signature = pair.removeprefix("veil=").partition(".")
    assert not gate._is_cookie_valid(f"veil={int(expires) + 1}.{signature}")
    now[0] += 31 * 86400
    assert not gate._is_cookie_valid(pair)


class Loop:
    """The loop of the process: hands what the worker wants to somebody who answers."""

    def __init__(self, worker: WebWorker, jpeg: bytes | None) -> None:
        self.wanted: list[Message] = []
        self._stop = threading.Event()
        self._worker, self._jpeg = worker, jpeg
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Loop:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_DEADLINE_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            for message in self._worker.step():
                self.wanted.append(message)
                assert isinstance(message, PreviewWanted)
                if self._jpeg is not None:
                    tell(self._worker, Preview(name=message.name, jpeg=self._jpeg))


def test_who_asks_for_a_preview_gets_the_newest(worker: WebWorker) -> None:
    jpeg = small_jpeg()
    with Loop(worker, jpeg) as loop:
        answers = [fetch(worker, "/preview/door.jpg") for _ in range(5)]

    assert all((answer.status, answer.headers["content-type"], answer.body) == (200, "image/jpeg", jpeg) for answer in answers)
    assert loop.wanted == [PreviewWanted(name="door")], "at most one a second is made, however many ask"


def test_nobody_who_asks_means_no_preview_is_made(worker: WebWorker) -> None:
    with Loop(worker, small_jpeg()) as loop:
        fetch(worker, "/")
        fetch(worker, "/api/streams")
        fetch(worker, "/preview/yard.jpg")
    assert loop.wanted == []


def test_a_preview_that_does_not_come_is_not_waited_for_long(worker: WebWorker) -> None:
    started = time.monotonic()
    with Loop(worker, None):
        answer = fetch(worker, "/preview/door.jpg")
    assert answer.status == 503
    assert time.monotonic() - started < _DEADLINE_S / 2


def test_an_old_preview_is_not_shown_as_if_it_were_new(worker: WebWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(worker, Preview(name="door", jpeg=small_jpeg()))
    assert fetch(worker, "/preview/door.jpg").status == 200
    at_s = time.monotonic() + 60.0
    monkeypatch.setattr(worker._site.previews, "_clock", lambda: at_s)
    assert fetch(worker, "/preview/door.jpg").status == 503


@pytest.mark.parametrize("name", ["yard", "DOOR", "door.jpg", "..", "%2e%2e", "door%00", "a" * 500])
def test_there_is_no_preview_of_what_is_no_stream(name: str, worker: WebWorker) -> None:
    tell(worker, Preview(name="yard", jpeg=small_jpeg()))
    assert fetch(worker, f"/preview/{name}.jpg").status == 404


def test_the_preview_of_a_stream_goes_with_it(worker: WebWorker) -> None:
    tell(worker, Preview(name="door", jpeg=small_jpeg()))
    tell(worker, serve_status(stream_status("yard")))
    tell(worker, serve_status(stream_status("door")))
    assert fetch(worker, "/preview/door.jpg").status == 503


def test_previews_can_be_forbidden() -> None:
    with web_worker(preview=False) as one:
        tell(one, serve_status())
        tell(one, Preview(name="door", jpeg=small_jpeg()))
        assert fetch(one, "/preview/door.jpg").status == 404


def test_a_port_in_use_is_said_in_one_line(worker: WebWorker) -> None:
    with pytest.raises(OutputError, match=rf"^http\.address: 127\.0\.0\.1:{worker.port} is in use by another program; [^\n]*$"):
        list(WebWorker({}).process(WebSetup(host="127.0.0.1", port=worker.port, token=None, preview=True)))


@pytest.mark.parametrize(
    ("host", "problem"),
    [("192.0.2.1", "is not an address of this machine"), ("nowhere.invalid", "has a host that is not known here")],
)
def test_an_address_that_cannot_be_had_is_said_in_one_line(host: str, problem: str) -> None:
    with pytest.raises(UsageError, match=rf"^http\.address: {host}:8700 {problem}[^\n]*$"):
        list(WebWorker({}).process(WebSetup(host=host, port=8700, token=None, preview=True)))


def test_localhost_is_both_of_its_addresses_where_the_machine_has_them() -> None:
    with web_worker(host="localhost") as one:
        tell(one, serve_status())
        found = [listener.getsockname()[:2] for listener in one._listeners]
        assert found
        for address in found:
            with socket.create_connection(address, timeout=_DEADLINE_S) as client:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_a_worker_that_was_closed_listens_no_more() -> None:
    with web_worker() as one:
        port = one.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE_S)


def test_a_server_that_has_ended_is_noticed_by_the_loop_of_the_process(worker: WebWorker) -> None:
    worker.close()
    with pytest.raises(RuntimeError, match="closed"):
        tell(worker, serve_status())


def test_what_fails_in_the_server_fails_in_the_process(worker: WebWorker) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    server: Server = worker._server
    with pytest.raises(ZeroDivisionError):
        server.call(broken)

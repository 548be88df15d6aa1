"""The status page's server, asked over real connections: what it answers to whom."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import msgspec
import pytest

from streamer.errors import OutputError, UsageError
from streamer.live.messages import Preview, PreviewWanted, StatusUpdate, WebSetup
from streamer.live.status import ServeStatus
from streamer.live.web.conversation import SECURITY_HEADERS
from streamer.live.web.health import health, readiness
from streamer.live.web.server import Server
from streamer.pipeline import row_of
from streamer.workers.web import WebWorker
from tests.live.statuses import assorted_status, fetch, output_status, serve_status, stream_status, tell, web_worker

_DEADLINE_S = 20.0


@pytest.fixture
def worker() -> Iterator[WebWorker]:
    with web_worker() as one:
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


def test_streams_to_look_at_are_named_though_all_is_healthy() -> None:
    away = output_status(state="retrying", reconnects=3)
    answer = health(serve_status(stream_status(state="no_signal"), stream_status("hall", outputs=(away,))), age_s=1.0)
    expected = b"ok; needs attention: door (no signal), hall (its output is not connected)\n"
    assert (answer.status, answer.body) == (200, expected)


def test_old_news_is_no_news() -> None:
    for what in (health, readiness):
        assert what(serve_status(), 9.0).status == 200
        assert what(serve_status(), 61.0).status == 503
        assert what(serve_status(), 61.0).body == b"no news of the streams for 61 s\n"


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

"""Who is let in to the status page: names of the machine, the token, the cookie; over real connections."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from streamer.live.web.gate import Gate, Slowdown
from streamer.workers.web import WebWorker
from tests.live.statuses import fetch, serve_status, tell, web_worker

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

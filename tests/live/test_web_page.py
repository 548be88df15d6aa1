"""The status page in a real browser, from the real server."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from streamer.live.messages import Preview, PreviewWanted, WebSetup
from streamer.live.status import ServeStatus
from streamer.live.web import health
from streamer.workers.web import WebWorker
from tests.live.browser import CHROMIUM, WHY_NOT, Browser, Page, browser
from tests.live.statuses import HOSTILE, assorted_status, output_status, serve_status, small_jpeg, stream_status, tell, web_worker

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)

_DEADLINE_S = 60.0
PICTURES = "[...document.querySelectorAll('figure img')].filter((one) => !one.hidden && one.naturalWidth === 320).length"

CONTRASTS = """
(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = channels(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] > 0.99) return color;
      if (color[3] > 0) return [60, 60, 60];  // a veil over a picture
    }
    throw new Error("no ground");
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== "");
    if (!says || element.checkVisibility() === false) continue;
    const [light, dark] = [luminance(channels(getComputedStyle(element).color)), luminance(ground(element))].sort((a, b) => b - a);
    found.push([element.textContent.trim().slice(0, 30), (light + 0.05) / (dark + 0.05)]);
  }
  return found;
})()
"""
"""By text: how much it differs from what is behind it, as WCAG 2 defines it."""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


class Daemon:
    """The status of a daemon whose time goes on, and whose streams have pictures."""

    def __init__(self, worker: WebWorker, status: ServeStatus) -> None:
        self.status = status
        self.is_frozen = False
        self._worker = worker
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        tell(worker, status)

    def _run(self) -> None:
        steps = 0
        while not self._stop.is_set():
            if not self.is_frozen:
                steps += 1
                now, cpu_s = self.status.now + steps / 10, {"detector": 100.0 + 0.05 * steps}
                tell(self._worker, msgspec.structs.replace(self.status, now=now, cpu_s=cpu_s))
            for wanted in self._worker.step():
                assert isinstance(wanted, PreviewWanted)
                tell(self._worker, Preview(name=wanted.name, jpeg=small_jpeg()))

    @contextlib.contextmanager
    def running(self) -> Iterator[Daemon]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(_DEADLINE_S)


@contextlib.contextmanager
def daemon(status: ServeStatus, *, token: str | None = None, preview: bool = True) -> Iterator[tuple[str, Daemon]]:
    """The page's address, and the daemon behind it."""
    with web_worker(token=token, preview=preview) as worker, Daemon(worker, status).running() as one:
        yield f"http://127.0.0.1:{worker.port}/", one


def open_assorted(chromium: Browser, address: str, *, width: int = 1280, is_dark: bool = False) -> Page:
    page = chromium.open(address, width=width, is_dark=is_dark)
    page.wait_for_text("updated")
    page.wait(f"{PICTURES} === 2")
    page.wait_for_text("Processor 0.50 cores")
    return page


def test_the_page_shows_all_that_is_known(chromium: Browser) -> None:
    with daemon(assorted_status()) as (address, _):
        page = open_assorted(chromium, address)
        text = page.text

    for shown in (
        "2 of 3 streams need attention",
        "Version 1.2.3",
        "Up for 1 d 2 h",
        "Backend openvino",
        "Detectors 2, 1 restart",
        "Memory 1.35 GiB",
        "Reloads 3, 1 refused",
        "Settings /etc/veil/stream.yaml",
        "The newest reload was refused, the settings before it go on: streams[2].outputs: door and yard would write",
        "door ● running for 3 h 12 min",
        "Latency 412 ms p99 587 ms",
        "Pictures 24.8 /s of 25.0 /s",
        "Faces covered 2 1,882 so far",
        "1280 \N{MULTIPLICATION SIGN} 720, h264",
        "gan, look-ahead 300 ms",
        "Covered whole corrupt 1",
        "Dropped overload 5, late 2",
        "Fallbacks no keypoints 7",
        "Under way 9 frames, 1 of them before detection",
        "Reconnects 2",
        "Restarts source 1",
        "● connected rtsp rtsp://media.example:8554/door 120,400 packets",
        "● connected recording /var/lib/veil/door",
        "▲ retrying rtmp rtmp://live.example/app 120,400 packets, 5 reconnects connection refused",
        "the camera sent nothing for 2 s",
        "yard ▲ no signal for 1 min",
        "garage ✕ given up for 1 h 6 min",
    ):
        assert shown in text
    assert page.title == "▲ Veil: 2 of 3 streams need attention"
    assert "not reachable" not in text
    assert page.complaints == []


def test_a_calm_page_says_so(chromium: Browser) -> None:
    with daemon(serve_status(stream_status("door"), stream_status("yard"))) as (address, _):
        page = chromium.open(address)
        page.wait_for_text("all 2 streams are well")
        assert page.title == "Veil: all 2 streams are well"
        assert "refused" not in page.text
        assert "Log out" not in page.text


@pytest.mark.parametrize(
    "changes", [{"state": "too_slow"}, {"outputs": (output_status(state="connecting", reconnects=2),)}], ids=["slow", "output"]
)
def test_the_page_warns_as_the_status_does(changes: dict[str, Any], chromium: Browser) -> None:
    with daemon(serve_status(stream_status(**changes))) as (address, _):
        page = chromium.open(address)
        page.wait_for_text("1 of 1 stream needs attention")
        assert page.title == "▲ Veil: 1 of 1 stream needs attention"
        assert page.evaluate("document.getElementById('verdict').dataset.level") == "warn"
        assert ("▲ too slow" in page.text) == ("state" in changes)


def test_nothing_that_a_camera_says_becomes_part_of_the_page(chromium: Browser) -> None:
    with daemon(assorted_status()) as (address, _):
        page = open_assorted(chromium, address)
        texts = page.evaluate(
            "[...document.querySelectorAll('[data-field=error], [data-field=text]')].map((one) => one.textContent)"
        )
        assert texts.count(HOSTILE) == 2, "as the output's error and as the stream's"
        assert "owned" not in page.title
        assert page.evaluate("document.querySelector('#owned')") is None
        assert page.evaluate("document.querySelectorAll('script').length") == 1
        assert page.evaluate("[...document.images].every((one) => /^(blob:|\\/icon|http)/.test(one.src) || one.src === '')")
        assert page.complaints == []


def test_a_change_of_state_is_told_to_who_listens(chromium: Browser) -> None:
    with daemon(serve_status()) as (address, behind):
        page = chromium.open(address)
        page.wait_for_text("the stream is well")
        assert page.evaluate("document.getElementById('news').textContent") == ""
        behind.status = serve_status(stream_status(state="no_signal"))
        page.wait("document.getElementById('news').textContent === 'door: no signal'")
        assert page.evaluate("document.getElementById('news').ariaLive") == "polite"


def test_streams_come_and_go_with_the_settings(chromium: Browser) -> None:
    names = "[...document.querySelectorAll('article .name')].map((one) => one.textContent).join()"
    with daemon(serve_status(stream_status("door"), stream_status("yard"))) as (address, behind):
        page = chromium.open(address)
        page.wait(f"{names} === 'door,yard'")
        behind.status = serve_status(stream_status("yard"), stream_status("hall"))
        page.wait(f"{names} === 'yard,hall'")


def test_without_previews_there_is_no_place_for_them(chromium: Browser) -> None:
    with daemon(serve_status(), preview=False) as (address, _):
        page = chromium.open(address)
        page.wait("document.querySelector('figure')?.hidden")
        page.wait_for_text("the stream is well")


def test_the_page_says_when_there_is_no_news(chromium: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "STALE_S", 2.0)
    with daemon(serve_status()) as (address, behind):
        page = chromium.open(address)
        page.wait_for_text("the stream is well")
        behind.is_frozen = True
        page.wait_for_text("The daemon does not tell how it is: no news of the streams for ")
        assert page.title == "✕ Veil: out of touch"


def test_the_page_says_since_when_the_daemon_is_gone_and_finds_it_again(chromium: Browser) -> None:
    with daemon(serve_status()) as (address, _):
        port = int(address.rstrip("/").rpartition(":")[2])
        page = chromium.open(address)
        page.wait_for_text("the stream is well")
    page.wait_for_text("The daemon is not reachable since ")
    assert re.search(r"not reachable since \d\d:\d\d:\d\d [AP]M; what is shown is old\.", page.text)
    assert "door" in page.text, "what was known last stays"
    assert page.title == "✕ Veil: out of touch"

    again = WebWorker({})
    list(again.process(WebSetup(host="127.0.0.1", port=port, token=None, preview=True)))
    tell(again, serve_status())
    page.wait_for_text("the stream is well")
    assert "not reachable" not in page.text
    again.close()


def test_the_token_opens_the_page_and_leaving_closes_it(chromium: Browser) -> None:
    with daemon(serve_status(), token="correct horse") as (address, _):
        page = chromium.open(address)
        page.wait("document.title === 'Veil: log in'")
        assert "door" not in page.text
        for token, sign in (("wrong", "the token is wrong"), ("correct horse", "too many wrong tokens")):
            log_in(page, token)
            page.wait_for_text(sign)
        page.evaluate("new Promise((done) => setTimeout(done, 1100))")
        log_in(page, "correct horse")
        page.wait_for_text("the stream is well")
        assert page.evaluate("document.cookie") == ""
        page.evaluate("document.querySelector('#logout button').click()")
        page.wait("document.title === 'Veil: log in'")


def log_in(page: Page, token: str) -> None:
    page.evaluate(f"document.getElementById('token').value = {json.dumps(token)}; document.querySelector('button').click()")


@pytest.mark.parametrize(("width", "columns"), [(360, 1), (1400, 3)])
def test_the_page_fits_a_phone_and_a_desk(width: int, columns: int, chromium: Browser) -> None:
    with daemon(assorted_status()) as (address, _):
        page = open_assorted(chromium, address, width=width)
        assert page.evaluate("innerWidth") == width
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        lefts = page.evaluate("[...document.querySelectorAll('article')].map((one) => one.getBoundingClientRect().left)")
        assert len(set(lefts)) == columns


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_all_text_can_be_read(is_dark: bool, chromium: Browser) -> None:
    with daemon(assorted_status()) as (address, _):
        page = open_assorted(chromium, address, is_dark=is_dark)
        contrasts = page.evaluate(CONTRASTS)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert len(contrasts) > 100
    assert [(text, ratio) for text, ratio in contrasts if ratio < 4.5] == []
    assert ground == ("rgb(14, 19, 24)" if is_dark else "rgb(243, 245, 247)")

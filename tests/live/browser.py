"""Headless Chromium, driven over its own debugging protocol through a pipe, as far as the tests of the status page need it."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WHY_NOT = "no Chromium is installed (Debian: apt install chromium)"

_DEADLINE_S = 60.0
_START = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
"""Chromium reads from descriptor 3 and writes to descriptor 4."""
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
    "--lang=en",
    "--remote-debugging-pipe",
)


def _high(descriptor: int) -> int:
    """The same under a number that is not in the way of 3 and 4."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20)
    os.close(descriptor)
    return int(moved)


class Browser:
    """One browser; all pages of a test share its cookies."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None, WHY_NOT
        its_read, our_write = map(_high, os.pipe())
        our_read, its_write = map(_high, os.pipe())
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", _START, str(its_read), str(its_write)),
                *(CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"),
            ],
            pass_fds=(its_read, its_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TZ": "UTC", "LANG": "C.UTF-8"},
        )
        os.close(its_read)
        os.close(its_write)
        self._read, self._write = our_read, our_write
        self._buffer = b""
        self._number = 0
        self._target: str | None = None
        self.complaints: dict[str, list[str]] = {}
        """By page: what it logged, and what was refused to it."""

    def command(self, method: str, page: str | None = None, **parameters: Any) -> Mapping[str, Any]:
        """Say something and wait for the answer."""
        self._number += 1
        said: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if page is not None:
            said["sessionId"] = page
        os.write(self._write, json.dumps(said).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self._number:
                assert "error" not in heard, heard
                return dict(heard["result"])
            self._note(heard)

    def open(self, address: str, *, width: int = 1280, height: int = 900, is_dark: bool = False) -> Page:
        """A page, instead of the one before."""
        if self._target is not None:
            self.command("Target.closeTarget", targetId=self._target)
        self._target = str(self.command("Target.createTarget", url="about:blank")["targetId"])
        session = str(self.command("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"])
        self.complaints[session] = []
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable", session)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", session, **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self.command("Emulation.setEmulatedMedia", session, features=scheme)
        self.command("Page.navigate", session, url=address)
        return page

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._write)
        self._process.kill()
        self._process.wait(_DEADLINE_S)
        os.close(self._read)

    def _hear(self) -> Mapping[str, Any]:
        deadline = time.monotonic() + _DEADLINE_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser says nothing"
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, heard: Mapping[str, Any]) -> None:
        match heard.get("method"):
            case "Log.entryAdded":
                self.complaints[heard["sessionId"]].append(str(heard["params"]["entry"]["text"]))
            case "Runtime.exceptionThrown":
                self.complaints[heard["sessionId"]].append(str(heard["params"]["exceptionDetails"]))


class Page:
    """One page of the browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    @property
    def complaints(self) -> list[str]:
        self.evaluate("0")
        return self._browser.complaints[self._session]

    @property
    def text(self) -> str:
        """All that can be seen, in one line."""
        return " ".join(str(self.evaluate("document.body.innerText")).split())

    @property
    def title(self) -> str:
        return str(self.evaluate("document.title"))

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self._browser.command(
            "Runtime.evaluate", self._session, expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until it is true."""
        deadline = time.monotonic() + _DEADLINE_S
        while not self.evaluate(f"Boolean(document.body) && Boolean({expression})"):
            assert time.monotonic() < deadline, f"never true: {expression}\n{self.text}"
            time.sleep(0.05)

    def wait_for_text(self, text: str) -> None:
        self.wait(f"document.body.innerText.replace(/\\s+/g, ' ').includes({json.dumps(text)})")

    def screenshot(self, path: Path) -> None:
        """The whole page, with what is below the edge of the screen."""
        taken = self._browser.command("Page.captureScreenshot", self._session, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    one = Browser(profile)
    try:
        yield one
    finally:
        one.close()

"""The daemon for the tests: `veil serve` as its users run it, asked by HTTP and watched by its processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import psutil
import yaml

from streamer.live.status import ServeStatus, StreamStatus
from tests.command import VEIL

START_S = 60.0
WAIT_S = 40.0
_ASK_EVERY_S = 0.05


class Daemon:
    """A context manager; inside, it has started, though no stream needs to be ready.

    streams: as in the file of settings. settings: its other keys. environment: beside what this process has.
    """

    def __init__(
        self,
        folder: Path,
        streams: Sequence[Mapping[str, Any]],
        *,
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.path = folder / "stream.yaml"
        self.log_path = folder / "veil.log"
        self.port = free_port()
        self._settings = {"http": {"address": f"127.0.0.1:{self.port}"}, **(settings or {})}
        self._environment = {**os.environ, **(environment or {})}
        self._arguments = arguments
        self._popen: subprocess.Popen[bytes] | None = None
        self.write(streams)

    def write(self, streams: Sequence[Mapping[str, Any]], **changes: Any) -> None:
        """Write the file of settings anew. changes: of its other keys, from now on."""
        self._settings |= changes
        self.path.write_text(yaml.safe_dump({**self._settings, "streams": [dict(stream) for stream in streams]}))

    def __enter__(self) -> Self:
        with self.log_path.open("wb") as log:
            command = [*VEIL, "serve", str(self.path), "-v", *self._arguments]
            self._popen = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
        try:
            self.wait_for(lambda status: True, START_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._popen is not None, "it has not been started"
        return self._popen

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def get(self, path: str, token: str | None = None) -> tuple[int, str]:
        """Status code and body."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def status(self) -> ServeStatus | None:
        """None where it does not answer."""
        try:
            code, body = self.get("/api/streams")
            return msgspec.json.decode(body, type=ServeStatus) if code == 200 else None
        except (OSError, msgspec.DecodeError):
            return None

    def wait_for(self, is_so: Callable[[ServeStatus], bool], deadline_s: float = WAIT_S) -> ServeStatus:
        """The first status of which something holds. Raises TimeoutError, also when the daemon has ended."""
        end_s = time.monotonic() + deadline_s
        pause = threading.Event()
        while time.monotonic() < end_s:
            status = self.status()
            if status is not None and is_so(status):
                return status
            if self.process.poll() is not None:
                raise TimeoutError(f"veil serve ended with {self.process.returncode}:\n{self.log}")
            pause.wait(_ASK_EVERY_S)
        raise TimeoutError(f"not within {deadline_s:.0f} s: {self.status()}\n{self.log}")

    def wait_for_stream(self, name: str, is_so: Callable[[StreamStatus], bool], deadline_s: float = WAIT_S) -> StreamStatus:
        status = self.wait_for(lambda status: any(one.name == name and is_so(one) for one in status.streams), deadline_s)
        return next(one for one in status.streams if one.name == name)

    def children(self, role: str) -> list[psutil.Process]:
        """Its living processes of a role, as the kernel names them."""
        name = f"veil-{role}"[:15]
        found = [child for child in psutil.Process(self.process.pid).children(recursive=True) if _name(child) == name]
        return sorted(found, key=lambda child: child.pid)

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def stop(self, deadline_s: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(deadline_s)


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


def _name(process: psutil.Process) -> str:
    try:
        return process.name() if process.status() != psutil.STATUS_ZOMBIE else ""
    except psutil.NoSuchProcess:
        return ""

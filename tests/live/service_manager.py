"""Stands for systemd in the tests of `veil serve`."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path


class Manager:
    """Hears every message, in another thread."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self.heard: list[tuple[float, str]] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(b"", self.address)
        self._listener.join()
        self._socket.close()

    def lines(self, name: str) -> list[tuple[float, str]]:
        """Of one name: when, and what."""
        found = [(at_s, line.partition("=")) for at_s, text in list(self.heard) for line in text.splitlines()]
        return [(at_s, value) for at_s, (key, _, value) in found if key == name]

    def silence_s(self, name: str) -> float:
        """Since the last one."""
        return time.monotonic() - self.lines(name)[-1][0]

    def _listen(self) -> None:
        while message := self._socket.recv(4096):
            self.heard.append((time.monotonic(), message.decode()))

"""What the daemon tells the service manager (systemd): that it is ready, reloads, stops, how it fares, and that it lives.

The protocol is that of sd_notify(3): one datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

from loguru import logger

from streamer.environment import SERVICE_VARIABLES

_LONGEST_STATUS = 2000  # bytes; systemd refuses datagrams of more than 4096


class ServiceManager:
    """The way to the service manager that started this process; without one, all calls do nothing.

    environment: read once, and what is read is removed from it, so that no child can speak in the name of the daemon.
    A service manager that cannot be reached is no error: the daemon goes on, and the first failure is logged.
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        address, interval_us, watched = (environment.pop(name, "") for name in SERVICE_VARIABLES)
        self._address: str | None = None
        self._is_failing = False
        self._unsent: dict[str, bytes] = {}
        self._watchdog_s: float | None = None
        if address.startswith("/"):
            self._address = address
        elif address.startswith("@"):
            self._address = "\0" + address[1:]
        elif address:
            logger.warning("NOTIFY_SOCKET is neither a path nor an abstract address; the service manager is told nothing")
        if self._address and watched in ("", str(os.getpid())) and interval_us.isdecimal() and int(interval_us):
            self._watchdog_s = int(interval_us) / 1e6 / 2

    @property
    def watchdog_s(self) -> float | None:
        """Seconds between two calls of `watchdog`, half of what is allowed; None where nobody waits for them."""
        return self._watchdog_s

    def ready(self) -> None:
        """The service has started, or has finished to reload."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The settings are being read anew; `ready` must follow, whatever comes of it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """What `systemctl status` shows: one line; line breaks and whatever cannot be printed become spaces."""
        printable = "".join(character if character.isprintable() else " " for character in text)
        line = " ".join(printable.split()).encode()[:_LONGEST_STATUS].decode(errors="ignore")
        self._tell(f"STATUS={line}")

    def watchdog(self) -> None:
        """A sign of life; the service is restarted when none has come for twice `watchdog_s`."""
        if self._watchdog_s is not None:
            self._tell("WATCHDOG=1")

    def flush(self) -> None:
        """Tell what the service manager had no room for; to be called again and again. Never waits, as no other call does."""
        while self._unsent:
            what, message = next(iter(self._unsent.items()))
            if not self._has_sent(message):
                return
            del self._unsent[what]

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        what = lines[0].partition("=")[0]
        # Of each kind only the newest counts, at its own place: a reload that follows one is over after it has begun.
        self._unsent.pop(what, None)
        self._unsent[what] = "\n".join(lines).encode()
        self.flush()

    def _has_sent(self, message: bytes) -> bool:
        """False where there is no room yet; what nobody is there to hear is as good as sent."""
        assert self._address is not None
        try:
            # Connected anew each time, since the service manager may have put another socket in place of an earlier one.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as line:
                line.sendto(message, self._address)
        except OSError as error:
            if not self._is_failing:
                logger.warning("the service manager cannot be told anything: {}", error.strerror or error)
            self._is_failing = True
            return not isinstance(error, BlockingIOError)
        self._is_failing = False
        return True

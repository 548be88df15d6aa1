"""The credentials in the environment: read once, and gone from there before anybody else could see them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

from streamer.redaction import register

PREFIX = "VEIL_SECRET_"
SERVICE_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What the service manager puts into the environment of the daemon, and no other process is to have."""

_taken: dict[str, str] = {}


def take_secrets() -> Mapping[str, str]:
    """The VEIL_SECRET_ variables by their whole names. To be called before any process is started.

    The first call removes them from the environment, which children inherit, and from /proc/PID/environ, where everybody of the
    same user reads what this process was started with.
    """
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        _taken[name] = os.environ[name]
        register(_taken[name])
        _overwrite(name)
        del os.environ[name]
    return _taken


def for_children() -> dict[str, str]:
    """The environment for processes that this one starts: without secrets, and without the way to the service manager, to whom the
    daemon alone speaks."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) and name not in SERVICE_VARIABLES}


def _overwrite(name: str) -> None:
    library = ctypes.CDLL(None)
    library.getenv.restype = ctypes.c_void_p
    address = library.getenv(os.fsencode(name))
    if address:
        ctypes.memset(address, ord("*"), len(os.environb[os.fsencode(name)]))

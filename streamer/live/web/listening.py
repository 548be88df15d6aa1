"""The sockets that the status page listens on."""

from __future__ import annotations

import errno
import socket
from typing import Any

from streamer.errors import OutputError, UsageError

_BACKLOG = 64
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets, one for each address that the host has; an empty host has all of this machine's.

    Raises OutputError where the port is taken, UsageError where it cannot be had; one line that names http.address.
    """
    place = f"http.address: {shown_address(host, port)}"
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _explain(error, place) from None
    opened: list[socket.socket] = []
    absent: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            opened.append(_listen(family, address))
        except OSError as error:
            if error.errno in _ABSENT:  # localhost is ::1 as well, which not every machine has
                absent = error
                continue
            for listener in opened:
                listener.close()
            raise _explain(error, place) from None
    if absent is not None and not opened:
        raise _explain(absent, place)
    return opened


def _listen(family: int, address: Any) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def shown_address(host: str, port: int) -> str:
    """As in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _explain(error: OSError, place: str) -> OutputError | UsageError:
    if isinstance(error, socket.gaierror):
        return UsageError(f"{place} has a host that is not known here ({error.strerror}); give an address of this machine")
    match error.errno:
        case errno.EADDRINUSE:
            return OutputError(f"{place} is in use by another program; stop that or give another port")
        case errno.EACCES | errno.EPERM:
            return UsageError(f"{place} is not permitted to this user; give a port from 1024 on")
        case errno.EADDRNOTAVAIL:
            return UsageError(f"{place} is not an address of this machine; 0.0.0.0 stands for all that it has")
        case _:
            return OutputError(f"{place} cannot be listened on ({error.strerror or error})")

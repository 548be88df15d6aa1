"""The sockets that the status page listens on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from typing import Any

from streamer.errors import OutputError, UsageError

_BACKLOG = 64
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class AbsentAddressError(UsageError):
    """This machine does not have the address, or not yet."""


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets, one for each address that the host has; an empty host has all of this machine's.

    Raises OutputError where the port is taken, UsageError where it cannot be had; one line that names http.address.
    """
    bound = _bind_all(host, port)
    try:
        for listener in bound:
            listener.listen(_BACKLOG)
    except OSError as error:
        _close_all(bound)
        raise _explain(error, host, port) from None
    return bound


def check_address(host: str, port: int) -> None:
    """Whether somebody could listen there now; nobody can connect meanwhile. Raises as `open_sockets`."""
    _close_all(_bind_all(host, port))


def _bind_all(host: str, port: int) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _explain(error, host, port) from None
    bound: list[socket.socket] = []
    absent: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            bound.append(_bind(family, address))
        except OSError as error:
            if error.errno in _ABSENT:  # localhost is ::1 as well, which not every machine has
                absent = error
                continue
            _close_all(bound)
            raise _explain(error, host, port) from None
    if absent is not None and not bound:
        raise _explain(absent, host, port)
    return bound


def _bind(family: int, address: Any) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _close_all(sockets: Iterable[socket.socket]) -> None:
    for one in sockets:
        one.close()


def shown_address(host: str, port: int) -> str:
    """As in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _explain(error: OSError, host: str, port: int) -> OutputError | UsageError:
    place = f"http.address: {shown_address(host, port)}"
    if isinstance(error, socket.gaierror):
        return AbsentAddressError(f"{place} has a host that is not known here ({error.strerror}); give an address of this machine")
    match error.errno:
        case errno.EADDRINUSE:
            return OutputError(f"{place} is in use by another program; stop that or give another port")
        case errno.EACCES | errno.EPERM:
            return UsageError(f"{place} is not permitted to this user; give a port from 1024 on")
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return AbsentAddressError(f"{place} is not an address of this machine; 0.0.0.0 stands for all that it has")
        case _:
            return OutputError(f"{place} cannot be listened on ({error.strerror or error})")

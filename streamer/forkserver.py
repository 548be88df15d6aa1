"""Starts children without their start-up time: a process that has imported everything once and forks a child for each request.

    Supervisor -> ForkServer ==(descriptors)==> python -m streamer.forking -> fork -> fork -> streamer.process.run
                     ^                                                            | ends at once
                     +------ the child's parent, as the reaper of orphans <-------+

A child is to belong to the supervisor, which alone knows what its death means. So it is forked twice: when the process between
ends, the kernel gives the orphan to the nearest ancestor that has asked for orphans, which `ForkServer` does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
from types import TracebackType
from typing import Literal

import msgspec

from streamer.environment import for_children
from streamer.errors import InternalError

LONGEST_REQUEST = 1 << 16
"""Bytes."""
MOST_DESCRIPTORS = 16

Pipelines = Literal["files", "live"]

_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
_REPLY_LIMIT_S = 60.0
_THREAD_BOUNDS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")
"""Processes are what uses the cores; threads that libraries start beside them would only fight."""


class ChildStart(msgspec.Struct, frozen=True, kw_only=True):
    """How a child begins; nothing of the job is in it."""

    role: str
    worker: str
    """module:class"""
    name: str
    endpoint: str
    """Of the supervisor's socket."""
    parent: int
    """Process id of the supervisor."""
    heartbeat: int
    """Descriptor of the page of heartbeats."""
    cell: int
    """Of that page."""
    rings: dict[str, int]
    """Name -> descriptor."""
    log_level: str = "WARNING"


class ForkServer:
    """The server as the supervisor sees it; a context manager. While it is open, orphans of this process become its children."""

    def __init__(self, pipelines: Pipelines = "files") -> None:
        """pipelines: whose modules it imports beforehand; it can start the children of others as well, only later."""
        self._pipelines = pipelines
        self._was_reaper = _becomes_reaper(is_reaper=True)
        self._start()

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_REPLY_LIMIT_S)
        with theirs:
            command = [sys.executable, "-P", "-m", "streamer.forking", "--socket", str(theirs.fileno()), "--for", self._pipelines]
            self._popen = subprocess.Popen(
                [*command, "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**for_children(), **_THREAD_BOUNDS},
                pass_fds=(theirs.fileno(),),
            )

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def fork(self, start: ChildStart) -> int:
        """Start a child of this process; its process id. The child gets the descriptors that `start` names, and no others.

        Raises InternalError where no process can be had, also not from a second server in the place of one that has died.
        """
        pid = self._request(start)
        if pid is None:
            self._end()
            self._start()
            pid = self._request(start)
        if not pid:
            raise InternalError("no further process can be started: the memory or the number of processes may be exhausted")
        return pid

    def close(self) -> None:
        """End the server; the children live on."""
        self._end()
        _becomes_reaper(is_reaper=self._was_reaper)

    def _request(self, start: ChildStart) -> int | None:
        """None where the server is gone, 0 where it cannot fork."""
        with contextlib.suppress(OSError):
            socket.send_fds(self._socket, [msgspec.msgpack.encode(start)], [start.heartbeat, *start.rings.values()])
            reply = self._socket.recv(64)
            return int(reply) if reply else None
        return None

    def _end(self) -> None:
        self._socket.close()
        self._popen.kill()  # it may still be importing
        self._popen.wait()


def _becomes_reaper(*, is_reaper: bool) -> bool:
    """Ask the kernel for the orphans among the descendants of this process, or no longer; returns how it was before."""
    library = ctypes.CDLL(None, use_errno=True)
    was = ctypes.c_int()
    library.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(was), 0, 0, 0)
    library.prctl(_PR_SET_CHILD_SUBREAPER, int(is_reaper), 0, 0, 0)
    return bool(was.value)

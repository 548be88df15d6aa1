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
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Literal

import msgspec
from loguru import logger

from streamer.deaths import is_stopped
from streamer.environment import for_children
from streamer.errors import InternalError

LONGEST_REQUEST = 1 << 16
"""Bytes."""
MOST_DESCRIPTORS = 16

Pipelines = Literal["files", "live"]

_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
READY, PING, PONG = b"ready", b"?", b"!"
"""What the server says when it has imported everything; whether it listens, and that it does."""

_REPLY_LIMIT_S = 60.0
_PING_EVERY_S = 0.5
_SILENCE_LIMIT_S = 10.0
"""Without an answer for so long, a server that was ready hangs. Starting another one is what a busy machine can do least."""
_STOPPED_LIMIT_S = 1.5
"""The same for one that somebody has stopped (SIGSTOP)."""
_FORK_LIMIT_S = 4.0
"""For who cannot wait."""
_LOOK_S = 0.5
_LONGEST_REPLY = 64  # bytes
_NO_PROCESS = "no further process can be started: the memory or the number of processes may be exhausted"
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
        self._is_ready = False
        self._asked_s = time.monotonic()
        self._is_unanswered = True  # READY is awaited
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        with theirs, _undisturbed():
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
        pid = self._request(start, _REPLY_LIMIT_S)
        if pid is None:
            self._replace()
            pid = self._request(start, _REPLY_LIMIT_S)
        if not pid:
            raise InternalError(_NO_PROCESS)
        return pid

    def fork_soon(self, start: ChildStart) -> int:
        """The same for who can wait for a moment at most, once the server `is_able`. Raises InternalError also where it hangs."""
        pid = self._request(start, _FORK_LIMIT_S if self._is_ready else _REPLY_LIMIT_S, heeds_stop=True)
        if pid is None:
            self._replace_if_possible()
        if not pid:
            raise InternalError(_NO_PROCESS)
        return pid

    @property
    def is_able(self) -> bool:
        """Whether a child can be had at once. Never waits; another server takes the place of one that has died or hangs."""
        now_s = time.monotonic()
        if not self._hear() or (self._is_unanswered and now_s - self._asked_s > self._patience_s()):
            self._replace_if_possible()
        elif not self._is_unanswered and now_s - self._asked_s >= _PING_EVERY_S:
            self._asked_s, self._is_unanswered = now_s, True
            with contextlib.suppress(OSError):  # it is gone, which the next look shows
                self._socket.send(PING)
        return self._is_ready

    def close(self) -> None:
        """End the server; the children live on."""
        self._end()
        _becomes_reaper(is_reaper=self._was_reaper)

    def _patience_s(self) -> float:
        if is_stopped(self._popen.pid):
            return _STOPPED_LIMIT_S
        return _SILENCE_LIMIT_S if self._is_ready else _REPLY_LIMIT_S

    def _hear(self) -> bool:
        """Take what the server has said; False where it is gone."""
        # A limit of time would be waited for even with MSG_DONTWAIT.
        self._socket.setblocking(False)
        try:
            while self._socket.recv(_LONGEST_REPLY):
                self._is_ready, self._is_unanswered = True, False
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def _request(self, start: ChildStart, limit_s: float, *, heeds_stop: bool = False) -> int | None:
        """None where the server is gone or says nothing for so long, 0 where it cannot fork.

        heeds_stop: do not wait for one that has been stopped either.
        """
        deadline_s = time.monotonic() + limit_s
        with contextlib.suppress(OSError):
            socket.send_fds(self._socket, [msgspec.msgpack.encode(start)], [start.heartbeat, *start.rings.values()])
            arrival = select.poll()  # unlike select, for any number of descriptors
            arrival.register(self._socket, select.POLLIN)
            while (left_s := deadline_s - time.monotonic()) > 0:
                if not arrival.poll(1000 * min(left_s, _LOOK_S)):
                    if heeds_stop and is_stopped(self._popen.pid):
                        return None
                    continue
                reply = self._socket.recv(_LONGEST_REPLY)
                if not reply:
                    return None
                self._is_ready, self._is_unanswered = True, False
                if reply not in (READY, PONG):
                    return int(reply)
        return None

    def _replace(self) -> None:
        self._end()
        self._start()

    def _replace_if_possible(self) -> None:
        logger.warning("the process that starts the others has ended or hangs; another one takes its place")
        with contextlib.suppress(OSError):  # tried again with the next look
            self._replace()

    def _end(self) -> None:
        self._popen.kill()  # it may still be importing
        self._popen.wait()
        self._socket.close()  # not before: it would complain of that, for as long as it still lives


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """What is started in here is not interrupted by a Ctrl-C of the terminal before it ignores that by itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _becomes_reaper(*, is_reaper: bool) -> bool:
    """Ask the kernel for the orphans among the descendants of this process, or no longer; returns how it was before."""
    library = ctypes.CDLL(None, use_errno=True)
    was = ctypes.c_int()
    library.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(was), 0, 0, 0)
    library.prctl(_PR_SET_CHILD_SUBREAPER, int(is_reaper), 0, 0, 0)
    return bool(was.value)

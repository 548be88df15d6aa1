"""Starts children without their start-up time: a process that has imported everything once and forks a child for each request.

    Supervisor -> ForkServer ==(descriptors)==> python -m streamer.forkserver -> fork -> fork -> streamer.process.run
                     ^                                                            | ends at once
                     +------ the child's parent, as the reaper of orphans <-------+

A child is to belong to the supervisor, which alone knows what its death means. So it is forked twice: when the process between
ends, the kernel gives the orphan to the nearest ancestor that has asked for orphans, which `ForkServer` does.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType

import msgspec

from streamer import process
from streamer.errors import InternalError
from streamer.pipeline import IMAGE_PIPELINE, VIDEO_PIPELINE

_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
_LONGEST_REQUEST = 1 << 16
_MOST_DESCRIPTORS = 16
_REPLY_LIMIT_S = 60.0
_ADOPTION_LIMIT_S = 10.0
_THREAD_BOUNDS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")
"""Processes are what uses the cores; threads that libraries start beside them would only fight."""


class ForkServer:
    """The server as the supervisor sees it; a context manager. While it is open, orphans of this process become its children."""

    def __init__(self) -> None:
        self._was_reaper = _becomes_reaper(is_reaper=True)
        self._start()

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_REPLY_LIMIT_S)
        with theirs:
            command = [sys.executable, "-P", "-m", "streamer.forkserver", "--socket", str(theirs.fileno())]
            self._popen = subprocess.Popen(
                [*command, "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **_THREAD_BOUNDS},
                pass_fds=(theirs.fileno(),),
            )

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def fork(self, start: process.ChildStart) -> int:
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

    def _request(self, start: process.ChildStart) -> int | None:
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


def main() -> int:
    """Serves until the other end is closed; in a child, returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m streamer.forkserver")
    parser.add_argument("--socket", required=True, type=int, metavar="DESCRIPTOR")
    parser.add_argument("--parent", required=True, type=int, metavar="PID")
    arguments = parser.parse_args()
    process.die_with_parent(arguments.parent)
    process.show_name("forkserver")
    requests = socket.socket(fileno=arguments.socket)
    _import_all()
    while True:
        payload, descriptors, _, _ = socket.recv_fds(requests, _LONGEST_REQUEST, _MOST_DESCRIPTORS)
        if not payload:
            return 0
        pid = _fork_orphan()
        if pid is None:
            requests.close()
            return _be_child(payload, descriptors)
        # Told only now, when the child has its new parent: it could be awaited at once.
        requests.send(str(pid).encode())
        for descriptor in descriptors:
            os.close(descriptor)


def _import_all() -> None:
    """What all children need; not ONNX Runtime, whose import starts a thread, which a fork would not survive."""
    for row in (*VIDEO_PIPELINE, *IMAGE_PIPELINE):
        importlib.import_module(row.worker.partition(":")[0])
    # What lies here now is left alone by the collector, so that its pages stay shared with the children.
    gc.collect()
    gc.freeze()


def _fork_orphan() -> int | None:
    """As os.fork, for a child whose parent has ended: its process id, None in the child, 0 where there can be none."""
    readable, writable = os.pipe()
    between = _fork()
    if between is None:
        os.close(readable)
        child = _fork()
        if child is None:
            os.close(writable)
            return None
        os.write(writable, str(child).encode())
        os._exit(0)
    os.close(writable)
    with open(readable, "rb") as told:
        pid = int(told.read() or b"0")
    if between:
        os.waitpid(between, 0)
    return pid


def _fork() -> int | None:
    """The process id of the child, None in the child, 0 where there can be none."""
    try:
        return os.fork() or None
    except OSError:
        return 0


def _be_child(payload: bytes, descriptors: Sequence[int]) -> int:
    start = msgspec.msgpack.decode(payload, type=process.ChildStart)
    heartbeat, *rings = descriptors
    start = msgspec.structs.replace(start, heartbeat=heartbeat, rings=dict(zip(start.rings, rings, strict=True)))
    first, deadline_s = os.getppid(), time.monotonic() + _ADOPTION_LIMIT_S
    while os.getppid() == first != start.parent and time.monotonic() < deadline_s:
        time.sleep(0.0005)
    return process.run(start)


def _becomes_reaper(*, is_reaper: bool) -> bool:
    """Ask the kernel for the orphans among the descendants of this process, or no longer; returns how it was before."""
    library = ctypes.CDLL(None, use_errno=True)
    was = ctypes.c_int()
    library.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(was), 0, 0, 0)
    library.prctl(_PR_SET_CHILD_SUBREAPER, int(is_reaper), 0, 0, 0)
    return bool(was.value)


if __name__ == "__main__":
    raise SystemExit(main())

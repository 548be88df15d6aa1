"""Standard error that never makes anybody wait: for a daemon whose log goes to a pipe that may not be read.

this process, its children, their libraries -> descriptor 2, a pipe -> reader -> lines, up to a limit -> writer -> where they go

A log collector that hangs would otherwise stop every process with its next line, whichever library writes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator

MOST_WAITING_BYTES = 1 << 20
"""Of lines that nobody has taken; beyond, the oldest are lost, and counted."""
LAST_LINES_S = 1.0
"""At the end, the lines that are left get so long to be taken."""
_READ_BYTES = _LONGEST_LINE = 1 << 16
_LOOK_S = 0.1


@contextlib.contextmanager
def never_blocking_stderr() -> Iterator[None]:
    """Inside, descriptor 2 of this process and of those that it starts is a pipe that is always read; what fails is as before.

    A process that is killed takes the lines with it that nobody has taken.
    """
    try:
        target = os.dup(2)
    except OSError:  # there is none
        yield
        return
    source, end = os.pipe()
    with contextlib.suppress(OSError):  # this user may have as much in pipes as is allowed
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, MOST_WAITING_BYTES)
    os.dup2(end, 2)
    os.close(end)
    relay = _Relay(source, target)
    try:
        yield
    finally:
        os.dup2(target, 2)
        relay.finish(LAST_LINES_S)


class _Relay:
    """Two threads, one of which always reads, while the other one may wait for ever to write."""

    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = source, target
        self._waiting: deque[bytes] = deque()  # whole lines, several in each
        self._waiting_bytes = self._lost_lines = 0
        self._is_finishing = self._has_read_all = False
        self._change = threading.Condition()
        self._threads = [threading.Thread(target=run, name=run.__name__, daemon=True) for run in (self._read, self._write)]
        for thread in self._threads:
            thread.start()

    def finish(self, limit_s: float) -> None:
        """Hand on what is left, for so long at most."""
        self._is_finishing = True
        end_s = time.monotonic() + limit_s
        for thread in self._threads:
            thread.join(max(0.0, end_s - time.monotonic()))

    def _read(self) -> None:
        arrival = select.poll()
        arrival.register(self._source, select.POLLIN)
        begun = b""
        while True:
            if not arrival.poll(1000 * _LOOK_S):
                if self._is_finishing:  # others may hold the pipe open, so that its end may never come
                    break
                continue
            read = os.read(self._source, _READ_BYTES)
            if not read:
                break
            lines, newline, begun = (begun + read).rpartition(b"\n")
            if len(begun) > _LONGEST_LINE:
                newline, begun = newline + begun, b""
            self._put(lines + newline)
        self._put(begun)
        with self._change:
            self._has_read_all = True
            self._change.notify()

    def _put(self, lines: bytes) -> None:
        if not lines:
            return
        with self._change:
            self._waiting.append(lines)
            self._waiting_bytes += len(lines)
            while self._waiting_bytes > MOST_WAITING_BYTES:
                lost = self._waiting.popleft()
                self._waiting_bytes -= len(lost)
                self._lost_lines += lost.count(b"\n")
            self._change.notify()

    def _write(self) -> None:
        while (lines := self._next()) is not None:
            try:
                while lines:
                    lines = lines[os.write(self._target, lines) :]
            except OSError:  # nobody is there to take it, or the disk is full
                with self._change:
                    self._lost_lines += lines.count(b"\n")

    def _next(self) -> bytes | None:
        """What is to be written next, once there is something; None when all is."""
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._has_read_all)
            if not self._waiting:
                return None
            lines = self._waiting.popleft()
            self._waiting_bytes -= len(lines)
            lost, self._lost_lines = self._lost_lines, 0
        return b"veil: %d lines of the log were lost, as nobody took them\n%s" % (lost, lines) if lost else lines

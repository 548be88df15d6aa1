"""How processes end and are kept from hanging: why one is dead, in words, and whether there have been too many deaths."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamer.errors import ExitCode, InputError, InternalError, OutputError, UsageError, VeilError

if TYPE_CHECKING:  # every command imports this, few start processes
    from streamer.messages import Failed
    from streamer.pipeline import RestartLimit

_KINDS: dict[ExitCode, Callable[[str], VeilError]] = {
    ExitCode.INPUT: InputError,
    ExitCode.OUTPUT: OutputError,
    ExitCode.USAGE: UsageError,
}


def explain(role: str, *, failure: Failed | None, hung_s: float | None, was_ready: bool, exit_code: int) -> VeilError:
    """The error to raise where this death ends the job.

    failure: its last words. hung_s: after so much silence it was killed. exit_code: negative for the number of a signal.
    """
    if failure is not None:
        return _KINDS.get(ExitCode(failure.exit_code), InternalError)(failure.error)
    if hung_s is not None:
        what = "gave no sign of life for" if was_ready else "was not ready after"
        return InternalError(f"the {role} process {what} {hung_s:.0f} s and was stopped")
    if exit_code < 0:
        return InternalError(f"the {role} process was ended by {signal.Signals(-exit_code).name}")
    return InternalError(f"the {role} process ended unexpectedly with exit code {exit_code}")


class Deaths:
    """Whether there have been too many of late."""

    def __init__(self, limit: RestartLimit) -> None:
        self._limit = limit
        self._times_s: deque[float] = deque()

    def add(self) -> bool:
        """Count one; True where that is one too many."""
        now_s = time.monotonic()
        self._times_s.append(now_s)
        while now_s - self._times_s[0] > self._limit.within_s:
            self._times_s.popleft()
        return len(self._times_s) > self._limit.restarts

    def forget(self) -> None:
        self._times_s.clear()


def is_stopped(pid: int) -> bool:
    """Whether a child of this process has been stopped by a signal (SIGSTOP) and not continued."""
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # it has ended
        return False


def watch(pid: int) -> int:
    """A descriptor that is readable once the child has ended. Raises OSError, and leaves no process then that nobody watches."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def spent_s(usage: resource.struct_rusage) -> float:
    """CPU seconds."""
    return usage.ru_utime + usage.ru_stime

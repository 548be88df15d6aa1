"""A command whose output goes to a program that stops reading, as `| head` does, ends without a traceback.

Of no use to the networks: it lies here because this package is the only one that both commands may import.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

CLOSED_PIPE = 128 + signal.SIGPIPE
"""Exit code, 141: what a shell reports of a program that SIGPIPE ended. Python itself ignores that signal, and it stays so, because
it would also end the command without a word where another process at the end of a pipe or socket dies."""


@contextmanager
def quiet_when_nobody_reads() -> Iterator[None]:
    """Around all that a command does: exits with CLOSED_PIPE where standard output was closed before everything was written.

    What the command raises otherwise, SystemExit too, and broken pipes to anything but standard output are left alone.
    """
    try:
        try:
            yield
        finally:
            # Now, rather than when the interpreter ends and can only complain.
            sys.stdout.flush()
    except BrokenPipeError:
        if not _is_reader_gone():
            raise
        _leave()
    except SystemExit as left:
        # Rich answers a broken pipe by itself, with an exit code that has another meaning here.
        if isinstance(left.__context__, BrokenPipeError) and left.code == 1:
            _leave()
        raise


def _is_reader_gone() -> bool:
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _leave() -> NoReturn:
    # What is still in the buffer must go somewhere (Python's documentation of `signal`, note on SIGPIPE).
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    raise SystemExit(CLOSED_PIPE) from None

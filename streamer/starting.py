"""The first thing that `veil` runs: Ctrl-C and SIGTERM end it with one line also while everything else is still imported."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED = 130
"""ExitCode.INTERRUPTED, whose module is not imported yet."""


def main() -> NoReturn:
    """Entry point of `veil`."""
    for number in _heeded():
        signal.signal(number, _leave)
    try:
        from streamer.cli import main as run  # only here, where a signal is answered already

        run()
    except KeyboardInterrupt:
        _leave()


@contextlib.contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """While a command runs, both signals raise KeyboardInterrupt, so that what it has begun is cleared away."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in _heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heeded() -> list[signal.Signals]:
    """Those that whoever started this process did not tell it to ignore, as nohup and shells do."""
    return [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def _leave(number: int = 0, frame: FrameType | None = None) -> NoReturn:
    """At once: an exception would be lost in some of the libraries that are just being imported, and nothing is begun yet."""
    with contextlib.suppress(OSError):
        os.write(2, b"veil: interrupted\n")
    os._exit(_INTERRUPTED)

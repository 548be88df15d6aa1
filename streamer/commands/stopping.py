"""Ctrl-C and SIGTERM as a request to stop, which the work answers when nothing is half done."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from streamer.supervisor import StopRequest


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """The first signal asks to stop; a second one interrupts like any program."""
    stop = StopRequest()

    def request(number: int, frame: FrameType | None) -> None:
        stop.request()
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

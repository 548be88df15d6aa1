"""What the daemon is asked by signals: only noted here, and answered by its loop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from streamer.supervisor import StopRequest


@dataclass
class Signals:
    """What was asked for by signals."""

    stop: StopRequest
    reload: bool = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask to stop, SIGHUP to reload."""

        def on_stop(number: int, frame: FrameType | None) -> None:
            self.stop.request()

        def on_reload(number: int, frame: FrameType | None) -> None:
            self.reload = True

        handlers = {signal.SIGTERM: on_stop, signal.SIGINT: on_stop, signal.SIGHUP: on_reload}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

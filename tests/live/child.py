"""A tool of these tests in a process of its own, which can be frozen and killed, and with which one talks in lines of JSON.

Settings go in by standard input and not by the command line: they hold passwords, and some tests search all command lines.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

REPOSITORY = Path(__file__).parents[2]
_END_S = 10.0

Message = TypeVar("Message")


class Child:
    """A module of the tests that runs as a process, from construction until `close`."""

    def __init__(self, module: str, on_line: Callable[[bytes], None], on_end: Callable[[], None] = lambda: None) -> None:
        """on_line: called in another thread for each line that the process writes; on_end: once, when it writes no more."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._on_line, self._on_end = on_line, on_end
        self._listener = threading.Thread(target=self._listen, name=f"listens to {module}", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: msgspec.Struct) -> None:
        """Raises BrokenPipeError where the process has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")
        self._process.stdin.flush()

    def pause(self) -> None:
        """SIGSTOP: the process hangs, its connections stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._process.kill()
        self._process.wait(_END_S)

    def hang_up(self) -> None:
        """As the end of the test would: the process is expected to end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self, deadline_s: float) -> None:
        """Until it has ended. Raises subprocess.TimeoutExpired."""
        self._process.wait(deadline_s)

    def close(self) -> None:
        """Kill the process if it lives, and let go of its pipes; to be called once or more."""
        self.kill()
        self._listener.join(_END_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # The last line of a process that was killed may be half a line.
            if line.endswith(b"\n"):
                self._on_line(line)
        self._on_end()


def say(message: msgspec.Struct) -> None:
    """In the child: send a message to the test, and end where it has gone."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(1)


def heard(*kinds: type[Message]) -> Iterator[Message]:
    """In the child: the messages of the test, each of one of these kinds, until it has gone."""
    decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(functools.reduce(operator.or_, kinds))
    for line in sys.stdin.buffer:
        yield decoder.decode(line)


def end_with_parent() -> None:
    """In the child, after its settings: end the process as soon as the test has gone, whatever it hangs in."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

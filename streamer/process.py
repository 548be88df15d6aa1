"""The life of a child: one loop around one worker, with its socket, its sign of life and its last words.

Forked by `forking.py` for the supervisor. Nothing about the job stands in the arguments or the environment; the first message
that arrives sets the worker up.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
from collections.abc import Iterable, Iterator
from typing import cast

from loguru import logger

from models.backends.fallback import replacements
from models.core_dumps import leave_no_core
from streamer.channel import Line
from streamer.errors import ExitCode, VeilError
from streamer.forkserver import ChildStart
from streamer.heartbeat import Heartbeat
from streamer.messages import BackendReplaced, Failed, Hello, Message, Ready, Stop
from streamer.pipeline import EVERY_CHILD_READS, row_of
from streamer.redaction import redact
from streamer.rings import RingHandle, RingInbox
from streamer.telemetry import configure_logging
from streamer.workers import SteppingWorker, Worker

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_GIBIBYTE = 1 << 30
_IDLE_BEAT_S = 0.25
_LAST_WORDS_S = 5.0


def run(start: ChildStart) -> int:
    """Runs a worker until the supervisor says Stop; returns the exit code."""
    die_with_parent(start.parent)
    leave_no_core()
    keep_freed_memory()
    show_name(start.role)
    configure_logging(start.name, start.log_level)
    row = row_of(start.role)
    ring_end = RingInbox if row.is_live else RingHandle
    rings = {name: ring_end(descriptor) for name, descriptor in start.rings.items()}
    heartbeat = Heartbeat(start.heartbeat, start.cell)
    line = Line(start.endpoint, start.name, (*row.reads, *EVERY_CHILD_READS))
    line.send(Hello())
    try:
        module, _, name = start.worker.partition(":")
        worker: Worker = getattr(importlib.import_module(module), name)(rings)
        if row.steps:
            _serve_stepping(cast(SteppingWorker, worker), line, heartbeat)
        else:
            _serve(worker, line, heartbeat)
    except VeilError as error:
        return _say_last_words(line, str(error), error.exit_code, is_final=True)
    except Exception as error:
        logger.exception("the process gives up")
        return _say_last_words(
            line, f"internal error in the {row.role}: {type(error).__name__}: {error}", ExitCode.INTERNAL, is_final=False
        )
    finally:
        line.close()
    return ExitCode.DONE


def _serve(worker: Worker, line: Line, heartbeat: Heartbeat) -> None:
    """The loop of every process."""
    is_set_up, news = False, _News()
    while True:
        heartbeat.beat()
        message = line.receive(_IDLE_BEAT_S)
        if message is None:
            continue
        if isinstance(message, Stop):
            worker.close()
            return
        for answer in news.among(worker.process(message)):
            line.send(answer)
            heartbeat.beat()
        if not is_set_up:
            is_set_up = True
            line.send(Ready())


def _serve_stepping(worker: SteppingWorker, line: Line, heartbeat: Heartbeat) -> None:
    """The loop of a process whose work does not wait for messages."""
    is_set_up, news = False, _News()
    while True:
        heartbeat.beat()
        message = line.receive(0.0 if is_set_up else _IDLE_BEAT_S)
        if isinstance(message, Stop):
            worker.close()
            return
        if message is not None:
            answers = worker.process(message)
        elif is_set_up:
            answers = worker.step()
        else:
            continue
        for answer in news.among(answers):
            line.send(answer)
            heartbeat.beat()
        if not is_set_up:
            is_set_up = True
            line.send(Ready())


class _News:
    """What every process has to say beside its worker's answers: which backends had to be replaced."""

    def __init__(self) -> None:
        self._said = 0

    def among(self, answers: Iterable[Message]) -> Iterator[Message]:
        """The answers, each behind what had to be replaced while it was made."""
        for answer in answers:
            yield from self._new()
            yield answer
        yield from self._new()

    def _new(self) -> Iterator[Message]:
        for one in replacements()[self._said :]:
            self._said += 1
            yield BackendReplaced(network=one.network, backend=one.backend, replaced_by=one.replaced_by, reason=redact(one.reason))


def _say_last_words(line: Line, error: str, exit_code: ExitCode, *, is_final: bool) -> int:
    """Tell the supervisor why, and leave when it has heard: it answers with Stop or a signal."""
    line.send(Failed(error=" ".join(redact(error).split()), exit_code=exit_code, is_final=is_final))
    while (message := line.receive(_LAST_WORDS_S)) is not None and not isinstance(message, Stop):
        pass
    return exit_code


def die_with_parent(parent: int) -> None:
    """Be killed when the supervisor ends, however it ends; leave Ctrl-C and the like to the supervisor, who says Stop."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(ExitCode.INTERNAL)  # the supervisor ended before we could ask to be told


def keep_freed_memory() -> None:
    """Let the allocator keep what is freed instead of giving it back to the system, where the C library is glibc.

    The planes and temporary pictures of each frame are larger than what glibc keeps by itself, so that every page of them would be
    asked for, zeroed and given back for every frame: half the time of hiding a face and of rendering a frame for the detector.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _GIBIBYTE)
        library.mallopt(_M_TRIM_THRESHOLD, _GIBIBYTE)


def show_name(role: str) -> None:
    """In lists of processes, where all children of a fork server would look the same."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, f"veil-{role}".encode(), 0, 0, 0)

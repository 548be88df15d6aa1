"""The life of a child: one loop around one worker, with its socket, its sign of life and its last words.

Started as `python -m streamer.process` by the supervisor. Nothing about the job stands in the arguments or the environment; the
first message that arrives sets the worker up.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import resource
import signal

from loguru import logger

from streamer.channel import Line
from streamer.errors import ExitCode, VeilError
from streamer.heartbeat import Heartbeat
from streamer.messages import Failed, Hello, Ready, Stop
from streamer.pipeline import EVERY_CHILD_READS, row_of
from streamer.rings import RingHandle
from streamer.telemetry import configure_logging
from streamer.workers import Worker

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_GIBIBYTE = 1 << 30
_IDLE_BEAT_S = 0.25
_LAST_WORDS_S = 5.0


def main() -> int:
    """Runs a worker until the supervisor says Stop; returns the exit code."""
    arguments = _parse_arguments()
    _die_with_parent(arguments.parent)
    _leave_no_core()
    keep_freed_memory()
    configure_logging(arguments.name, arguments.log_level)
    row = row_of(arguments.role)
    rings = {name: RingHandle(int(descriptor)) for name, _, descriptor in (ring.partition("=") for ring in arguments.ring)}
    heartbeat = Heartbeat(*map(int, arguments.heartbeat.split(":")))
    line = Line(arguments.endpoint, arguments.name, (*row.reads, *EVERY_CHILD_READS))
    line.send(Hello())
    try:
        module, _, name = arguments.worker.partition(":")
        worker: Worker = getattr(importlib.import_module(module), name)(rings)
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
    is_set_up = False
    while True:
        heartbeat.beat()
        message = line.receive(_IDLE_BEAT_S)
        if message is None:
            continue
        if isinstance(message, Stop):
            worker.close()
            return
        for answer in worker.process(message):
            line.send(answer)
            heartbeat.beat()
        if not is_set_up:
            is_set_up = True
            line.send(Ready())


def _say_last_words(line: Line, error: str, exit_code: ExitCode, *, is_final: bool) -> int:
    """Tell the supervisor why, and leave when it has heard: it answers with Stop or a signal."""
    line.send(Failed(error=" ".join(error.split()), exit_code=exit_code, is_final=is_final))
    while (message := line.receive(_LAST_WORDS_S)) is not None and not isinstance(message, Stop):
        pass
    return exit_code


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m streamer.process", description=__doc__)
    parser.add_argument("--role", required=True)
    parser.add_argument("--worker", required=True, metavar="MODULE:CLASS")
    parser.add_argument("--name", required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--parent", required=True, type=int, metavar="PID")
    parser.add_argument("--heartbeat", required=True, metavar="DESCRIPTOR:CELL")
    parser.add_argument("--ring", action="append", default=[], metavar="NAME=DESCRIPTOR")
    parser.add_argument("--log-level", default="WARNING")
    return parser.parse_args()


def _die_with_parent(parent: int) -> None:
    """Be killed when the supervisor ends, however it ends; leave Ctrl-C and the like to the supervisor, who says Stop."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
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


def _leave_no_core() -> None:
    """A crash must not write faces to the disk: Linux takes 0 bytes as no file, but only 1 as nothing for a collector either."""
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


if __name__ == "__main__":
    raise SystemExit(main())

"""Tries inputs and outputs, each in a process of its own that ends when it takes too long: FFmpeg's calls can hang for ever.

probe(requests) -> python -m streamer.live.trying (one for each, several at a time) -> Answer
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from streamer.environment import for_children
from streamer.redaction import redact

AT_ONCE = 8
_START_S = 20.0
"""Longest that a process may take before its time runs, on a busy machine."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is to try; goes to its standard input, as arguments could be read by everybody."""

    kind: Literal["input", "output"]
    url: str
    transport: Literal["tcp", "udp"]
    timeout_s: float


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How it went."""

    works: bool
    fact: str
    """What is there, or what is wrong; without credentials."""


def probe(requests: Sequence[Request]) -> list[Answer]:
    """The answers, in the order of the requests; takes about the longest timeout for every AT_ONCE of them."""
    batches = (requests[start : start + AT_ONCE] for start in range(0, len(requests), AT_ONCE))
    return list(itertools.chain.from_iterable(map(_probe_together, batches)))


def _probe_together(requests: Sequence[Request]) -> list[Answer]:
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(_process_for(request)) for request in requests]
        started_s = time.monotonic()
        return [
            _answer_of(process, request, started_s + request.timeout_s + _START_S - time.monotonic())
            for process, request in zip(processes, requests, strict=True)
        ]


@contextlib.contextmanager
def _process_for(request: Request) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "streamer.live.trying"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=for_children(),
    )
    try:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(msgspec.json.encode(request))
        process.stdin = None
        yield process
    finally:
        process.kill()
        process.communicate()


def _answer_of(process: subprocess.Popen[bytes], request: Request, limit_s: float) -> Answer:
    try:
        said, _ = process.communicate(timeout=max(0.0, limit_s))
        answer = msgspec.json.decode(said, type=Answer)
    except subprocess.TimeoutExpired:
        return Answer(works=False, fact=f"does not answer within {request.timeout_s:g} s")
    except msgspec.DecodeError:
        if process.returncode == -signal.SIGALRM:
            return Answer(works=False, fact=f"does not answer within {request.timeout_s:g} s")
        return Answer(works=False, fact=f"the process that tried it ended without an answer (exit code {process.returncode})")
    return msgspec.structs.replace(answer, fact=redact(answer.fact))

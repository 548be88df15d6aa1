"""Standard error of a process whose log nobody reads, or only sometimes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from streamer.standard_error import LAST_LINES_S, MOST_WAITING_BYTES
from tests.live.child import REPOSITORY

_PIPE_BYTES = 1 << 16
_PROGRAM = """
import os, subprocess, sys
from streamer.standard_error import never_blocking_stderr

with never_blocking_stderr():
    {body}
    print("done", flush=True)
    sys.stdin.readline()
    print("the last one", file=sys.stderr)
"""
_FLOOD = "for number in range(100_000): print(f'line {number:06} ' + 60 * '.', file=sys.stderr)"


@dataclass
class Talker:
    """A process whose standard error is a pipe that is read by nobody but the test."""

    process: subprocess.Popen[str]
    ear: int

    def wait_until_done(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> float:
        """Seconds that it took."""
        began_s = time.monotonic()
        assert self.process.stdin is not None
        self.process.stdin.write("end\n")
        self.process.stdin.flush()
        assert self.process.wait(20) == 0
        return time.monotonic() - began_s

    def take(self) -> list[str]:
        """All lines that arrive until it has ended, or that lie there if it has."""
        with open(self.ear, closefd=False) as ear:
            return ear.read().splitlines()


@pytest.fixture
def talker(request: pytest.FixtureRequest) -> Iterator[Talker]:
    ear, mouth = os.pipe()
    fcntl.fcntl(mouth, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(body=request.param)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=mouth,
        text=True,
    )
    os.close(mouth)
    with process:
        yield Talker(process, ear)
        process.kill()
    os.close(ear)


@pytest.mark.parametrize("talker", [_FLOOD], indirect=True)
def test_a_log_that_nobody_reads_holds_nobody_up(talker: Talker) -> None:
    talker.wait_until_done()
    assert talker.end() < LAST_LINES_S + 5
    lines = talker.take()
    assert lines[0] == "line 000000 " + 60 * "."
    assert sum(map(len, lines)) <= _PIPE_BYTES


@pytest.mark.parametrize("talker", [_FLOOD], indirect=True)
def test_whoever_reads_again_gets_the_newest_lines_and_how_many_were_lost(talker: Talker) -> None:
    talker.wait_until_done()
    assert talker.process.stdin is not None
    talker.process.stdin.write("end\n")
    talker.process.stdin.flush()
    lines = talker.take()
    (note,) = [line for line in lines if line.startswith("veil: ")]
    lost = int(note.split()[1])
    at = lines.index(note)
    numbers = [int(line.split()[1]) for line in lines if line.startswith("line ")]
    assert lines[-1] == "the last one"
    assert numbers[-1] == 99_999
    assert len(numbers) + lost == 100_000, "every line is there or counted"
    assert numbers == [*range(at), *range(at + lost, 100_000)], "none is cut"
    assert sum(len(line) + 1 for line in lines[at:]) <= 2 * MOST_WAITING_BYTES, "what is kept, and what came meanwhile"


@pytest.mark.parametrize(
    "talker",
    [
        "print('by Python', file=sys.stderr)",
        "os.write(2, b'by a library\\n')",
        "subprocess.run(['sh', '-c', 'echo by a child >&2'])",
        "sys.stderr.write('without an end')",
        "subprocess.run(['sh', '-c', 'echo by a parent >&2; sleep 5 &'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)",
    ],
    indirect=True,
    ids=["python", "library", "child", "no newline", "orphan"],
)
def test_whoever_writes_is_heard(talker: Talker, request: pytest.FixtureRequest) -> None:
    talker.wait_until_done()
    assert talker.end() < 5
    text = "\n".join(talker.take())
    assert text.startswith(("by ", "without an end"))
    assert text.endswith("the last one")

"""A command whose reader goes away ends quietly; every other broken pipe is still an error."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from models.closed_pipe import CLOSED_PIPE

VEIL = "from streamer.cli import main; main()"
VEIL_TRAIN = "from trainer.cli import main; main()"
GUARDED = "from models.closed_pipe import quiet_when_nobody_reads\nwith quiet_when_nobody_reads():\n    "


def run_without_reader(code: str, *arguments: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit code and stderr of Python code whose standard output is a pipe that nobody reads any more."""
    command = [sys.executable, *options, "-c", code, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, error = process.communicate(timeout=120)
    return process.returncode, error


@pytest.mark.parametrize(
    ("code", "arguments"),
    [(VEIL, ("--help",)), (VEIL, ("doctor", "--json")), (VEIL_TRAIN, ("--help",)), (VEIL_TRAIN, ("export", "--help"))],
)
def test_the_commands_end_quietly(code: str, arguments: tuple[str, ...]) -> None:
    assert run_without_reader(code, *arguments) == (CLOSED_PIPE, "")


@pytest.mark.parametrize(
    "printing",
    ["print('line')", "print('line\\n' * 100_000)", "import rich.console; rich.console.Console().print('line')"],
)
@pytest.mark.parametrize("options", [(), ("-u",)])
def test_any_way_of_printing_ends_quietly(printing: str, options: tuple[str, ...]) -> None:
    assert run_without_reader(GUARDED + printing, options=options) == (CLOSED_PIPE, "")


def test_an_exit_code_stays_where_nothing_was_printed() -> None:
    assert run_without_reader(GUARDED + "raise SystemExit(3)") == (3, "")


def test_a_broken_pipe_to_something_else_is_an_error() -> None:
    code = GUARDED + "import os; read, write = os.pipe(); os.close(read); os.write(write, b'lost')"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 1
    assert "BrokenPipeError" in finished.stderr


def test_what_is_read_arrives_whole() -> None:
    code = GUARDED + "print('line'); raise SystemExit(4)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (4, "line\n", "")

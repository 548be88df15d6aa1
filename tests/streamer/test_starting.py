"""Ctrl-C and SIGTERM while `veil` starts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamer.errors import ExitCode
from tests.command import TIMEOUT_S, VEIL
from tests.streamer.running import write_clip

_SLOW_IMPORT = (
    sys.executable,
    "-c",
    "import sys, time\n"
    "class Slow:\n"
    "    def find_spec(self, name, path, target=None):\n"
    "        if name == 'streamer.{module}':\n"
    "            print('importing', flush=True)\n"
    "            time.sleep(60)\n"
    "sys.meta_path.insert(0, Slow())\n"
    "from streamer.starting import main\n"
    "main()\n",
)
"""`veil`, whose import of one module says so and takes a minute."""


def _begun(command: list[str], folder: Path, said: str) -> subprocess.Popen[str]:
    """`veil anonymize clip.mp4` in a process group of its own, once it has said so much."""
    process = subprocess.Popen(
        [*command, "anonymize", "clip.mp4"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == said
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["cli", "commands.anonymize"])
def test_a_signal_during_the_imports_ends_with_one_line(number: signal.Signals, module: str, tmp_path: Path) -> None:
    *command, code = _SLOW_IMPORT
    with _begun([*command, code.replace("{module}", module)], tmp_path, "importing\n") as process:
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        _, error = process.communicate(timeout=TIMEOUT_S)

    assert (process.returncode, error) == (ExitCode.INTERRUPTED, "veil: interrupted\n")


def test_a_signal_at_any_time_of_the_start_leaves_no_traceback(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", frames=5)
    for delay_s in (0.15, 0.25, 0.4, 0.6, 0.9):
        with _begun([sys.executable, "-c", f"print('on', flush=True); {VEIL[-1]}"], tmp_path, "on\n") as process:
            time.sleep(delay_s)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            _, error = process.communicate(timeout=TIMEOUT_S)
        assert "Traceback" not in error
        if process.returncode == ExitCode.DONE and delay_s > 0.15:
            break  # this machine is done before it is interrupted
        assert process.returncode == ExitCode.INTERRUPTED, (delay_s, error)
        assert "interrupted" in error
        assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_signal_that_is_to_be_ignored_stays_ignored(tmp_path: Path) -> None:
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nfrom streamer import starting\n"
        "with starting.interrupt_on_signals():\n    print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)\n"
        "    print(signal.getsignal(signal.SIGTERM) is signal.default_int_handler)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    assert shown.stdout == "True\nTrue\n"

"""What crashes leaves no pictures, from before the first file is opened."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

LOOK = """
import ctypes, resource, sys
def state():
    return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE)  # 3 = PR_GET_DUMPABLE
"""
AT_FIRST_OPEN = """
def look(event, arguments):
    if event == "open" and str(arguments[0]).endswith("photo.png"):
        print("STATE", *state())
sys.addaudithook(look)
"""
AT_THE_END = """
import atexit
atexit.register(lambda: print("STATE", *state()))
"""
VEIL = "from streamer.cli import main; main()"
VEIL_TRAIN = "from trainer.cli import main; main()"
ALL = "resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)"


def allow_cores() -> None:
    """As far as the machine does."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)


def first_state(code: str, *arguments: str, cwd: Path) -> list[int]:
    """Whether it is dumped, the soft and the hard limit, when the process that runs the code has said so for the first time."""
    command = [sys.executable, "-c", code, *arguments]
    run = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False, preexec_fn=allow_cores)
    said = [line for line in run.stdout.splitlines() if line.startswith("STATE ")]
    assert said, run.stderr
    return [int(word) for word in said[0].split()[1:]]


def is_dumped(code: str, cwd: Path) -> bool:
    """Whether the kernel wrote a core of Python code that aborts, or handed it to a collector."""
    command = [sys.executable, "-c", f"import contextlib, os, resource\n{code}\nos.abort()"]
    with subprocess.Popen(command, cwd=cwd, stderr=subprocess.DEVNULL, preexec_fn=allow_cores) as process:
        _, status = os.waitpid(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert os.WTERMSIG(status) == signal.SIGABRT
    return os.WCOREDUMP(status)


@pytest.mark.parametrize(
    "code",
    [
        "leave_no_core()",
        "leave_no_core(seal=True)",
        f"leave_no_core(seal=True)\nwith contextlib.suppress(ValueError, OSError): {ALL}",
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); leave_no_core()",
    ],
)
def test_a_crash_is_not_dumped(code: str, tmp_path: Path) -> None:
    assert not is_dumped(f"from models.core_dumps import leave_no_core\n{code}", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", ["verify photo.png other.png --recognizer none", "anonymize photo.png -o safe.png --filter blackout"]
)
def test_a_command_is_sealed_before_it_opens_an_original(words: str, tmp_path: Path) -> None:
    for name in ("photo.png", "other.png"):
        Image.new("RGB", (64, 48)).save(tmp_path / name)

    is_dumpable, soft, hard = first_state(LOOK + AT_FIRST_OPEN + VEIL, *words.split(), cwd=tmp_path)

    assert not is_dumpable
    assert max(soft, hard) <= 1


@pytest.mark.parametrize(("code", "words"), [(VEIL, "serve missing.yaml"), (VEIL_TRAIN, "export --help")])
def test_who_must_be_watched_has_the_limit_alone(code: str, words: str, tmp_path: Path) -> None:
    is_dumpable, soft, hard = first_state(LOOK + AT_THE_END + code, *words.split(), cwd=tmp_path)

    assert is_dumpable
    assert (soft, hard) == (1, 1) or soft == hard == 0

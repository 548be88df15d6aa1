"""Credentials in the environment are gone from it before another process could see them."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.streamer.running import REPOSITORY

SECRET = "correct-horse-battery"


def run(program: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "VEIL_SECRET_DOOR": SECRET, "VEIL_SECRET_EMPTY": ""}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_variables_are_read_once_and_gone() -> None:
    shown = run(
        "import os, subprocess\n"
        "from streamer.environment import take_secrets\n"
        "from streamer.redaction import redact\n"
        "here = lambda: open('/proc/self/environ').read()\n"
        "print('VEIL_SECRET_DOOR' in os.environ, 'correct-horse' in here())\n"
        "print(take_secrets() == {'VEIL_SECRET_DOOR': 'correct-' + 'horse-battery', 'VEIL_SECRET_EMPTY': ''})\n"
        "print([name for name in os.environ if 'VEIL_SECRET' in name], 'correct-horse' in here(), 'PYTHONPATH=' in here())\n"
        "print('VEIL_SECRET' in subprocess.run(['env'], capture_output=True, text=True).stdout)\n"
        "print(len(take_secrets()), redact('it is correct-' + 'horse-battery'))\n"
    )
    assert shown.splitlines() == ["True True", "True", "[] False True", "False", "2 it is ***"]


def test_the_fork_server_is_started_without_them() -> None:
    shown = run(
        "from streamer.forkserver import ForkServer\n"
        "with ForkServer() as server:\n"
        "    print('VEIL_SECRET' in open(f'/proc/{server._popen.pid}/environ').read())\n"
    )
    assert shown == "False\n"


def test_the_command_takes_them_before_it_starts_anything() -> None:
    shown = run(
        "import os, contextlib\n"
        "from streamer.cli import main\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main(['schema'])\n"
        "print()\n"
        "print([name for name in os.environ if 'VEIL_SECRET' in name])\n"
    )
    assert shown.splitlines()[-1] == "[]"

#!/opt/veil/bin/python
"""Stands for `veil` in a trial of the unit: `check` and `serve` without cameras, but with the secret, the folders and systemd.

try-in-container.sh tests/stand_in_daemon.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from streamer.errors import ExitCode
from streamer.sdnotify import ServiceManager


def main() -> int:
    command, settings = sys.argv[1], Path(sys.argv[2])
    if not _is_valid(settings):
        print(f"{settings}: streams is missing", file=sys.stderr)
        return ExitCode.USAGE
    if command == "check":
        return ExitCode.DONE
    secret = Path(os.environ["CREDENTIALS_DIRECTORY"], "door").read_text()
    Path("recording").write_text("written to the state directory")
    tempfile.mkdtemp()
    _serve(settings, f"a secret of {len(secret)} characters")
    return ExitCode.DONE


def _is_valid(settings: Path) -> bool:
    return "streams:" in settings.read_text()


def _serve(settings: Path, about: str) -> None:
    manager = ServiceManager()
    subprocess.Popen(["sleep", "infinity"])  # a child that ends only when it is killed
    awaited = {signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    manager.status(f"serving, {about}")
    manager.ready()
    reloads = 0
    while True:
        received = signal.sigtimedwait(awaited, manager.watchdog_s or 1.0)
        manager.watchdog()
        if received is None:
            continue
        if received.si_signo == signal.SIGTERM:
            manager.stopping()
            return
        reloads += 1
        manager.reloading()
        manager.status(f"serving, {reloads} reloads" if _is_valid(settings) else "serving, settings refused: streams is missing")
        manager.ready()


if __name__ == "__main__":
    raise SystemExit(main())

"""`veil reload`: let the running daemon read its settings again, and say what came of it."""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path

from rich.console import Console

from streamer.commands.daemon import TOKEN_VARIABLE, add_daemon_options, daemon_of
from streamer.errors import ExitCode, InternalError, UsageError
from streamer.escaping import printable
from streamer.live.asking import Daemon, UnreachableError, ask_status
from streamer.live.status import ServeStatus

DEADLINE_S = 15.0
_EVERY_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_daemon_options(parser)
    parser.epilog = (
        "The daemon checks the file that it was started with; only what changed is restarted. A wrong file changes nothing.\n"
        f"A token is taken from {TOKEN_VARIABLE} or the file's http.token.\n\n"
        f"exit codes: 0 done, 1 no outcome within {DEADLINE_S:g} s, 2 refused, 3 no daemon answers"
    )


def run(arguments: argparse.Namespace) -> ExitCode:
    daemon = daemon_of(arguments)
    before = ask_status(daemon)
    _tell(before.pid)
    after = _await_outcome(daemon, before)
    if after.reload_error is not None:
        raise UsageError(f"refused, nothing was changed: {printable(after.reload_error)}")
    names = ", ".join(stream.name for stream in after.streams)
    Console(highlight=False, markup=False, soft_wrap=True).print(f"{printable(after.config)} is in force; streams: {names}")
    return ExitCode.DONE


def _tell(pid: int) -> None:
    """SIGHUP to the daemon, and to nothing else: its number may be that of another process where it runs elsewhere."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    if b"serve" not in words:
        raise UsageError(f"the daemon is no process of this machine (or container) with the number {pid}; reload it where it runs")
    try:
        os.kill(pid, signal.SIGHUP)
    except PermissionError:
        raise UsageError(f"the daemon (process {pid}) belongs to another user; use sudo, or systemctl reload") from None
    except ProcessLookupError:
        raise UnreachableError(f"the daemon (process {pid}) has just ended") from None


def _await_outcome(daemon: Daemon, before: ServeStatus) -> ServeStatus:
    """The first status after the reload. Raises InternalError where there is none in time."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        time.sleep(_EVERY_S)
        try:
            now = ask_status(daemon)
        except UnreachableError:
            continue  # its page may be what was restarted
        is_over = now.reloads > before.reloads or now.reloads_refused > before.reloads_refused
        if is_over or now.reload_error != before.reload_error:
            return now
    raise InternalError(f"{daemon.address}: no word of the reload within {DEADLINE_S:g} s; the daemon's log tells more")

"""`veil status`: how the running daemon and its streams are."""

from __future__ import annotations

import argparse
import contextlib
import time
from datetime import datetime
from typing import NoReturn

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from streamer.commands.daemon import TOKEN_VARIABLE, add_daemon_options, daemon_of
from streamer.errors import ExitCode
from streamer.live.asking import Daemon, UnreachableError, ask_status
from streamer.live.status import ServeStatus
from streamer.live.terminal import render

_EVERY_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_daemon_options(parser)
    parser.add_argument("--json", action="store_true", help="all that is known, as JSON, for programs; with --watch a line each")
    parser.add_argument("--watch", action="store_true", help="go on every second, until Ctrl-C")
    parser.epilog = (
        f"A token is taken from {TOKEN_VARIABLE} or the file's http.token.\n\n"
        "exit codes: 0 healthy, 1 not healthy, 2 wrong arguments or token, 3 no daemon answers"
    )


def run(arguments: argparse.Namespace) -> ExitCode:
    daemon = daemon_of(arguments)
    if arguments.watch:
        _watch(daemon, as_json=arguments.json)
    status = ask_status(daemon)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(status)).decode())
    else:
        Console(highlight=False, markup=False, soft_wrap=True).print(render(status))
    return ExitCode.DONE if status.is_healthy else ExitCode.INTERNAL


def _watch(daemon: Daemon, *, as_json: bool) -> NoReturn:
    """Until Ctrl-C; a daemon that is away is waited for, unless it was away from the start."""
    status: ServeStatus = ask_status(daemon)
    if as_json:
        while True:
            print(msgspec.json.encode(status).decode(), flush=True)
            status = _next_status(daemon)
    console = Console(highlight=False, markup=False)
    with Live(render(status), console=console, auto_refresh=False, screen=console.is_terminal) as live:
        reached = time.time()
        while True:
            time.sleep(_EVERY_S)
            shown: RenderableType
            try:
                status = ask_status(daemon)
            except UnreachableError as error:
                since = datetime.fromtimestamp(reached)
                shown = Group(Text(f"not reachable since {since:%H:%M:%S}: {error}", style="bold red"), Text(), render(status))
            else:
                reached = time.time()
                shown = render(status)
            live.update(shown, refresh=True)


def _next_status(daemon: Daemon) -> ServeStatus:
    """After a while, and not before the daemon answers."""
    while True:
        time.sleep(_EVERY_S)
        with contextlib.suppress(UnreachableError):
            return ask_status(daemon)

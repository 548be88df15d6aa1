"""The command `veil`: one subcommand a row, its module imported only when it is run."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple, NoReturn

from rich.console import Console

from models.closed_pipe import quiet_when_nobody_reads
from models.core_dumps import leave_no_core
from streamer.environment import take_secrets
from streamer.errors import ExitCode, VeilError
from streamer.escaping import printable
from streamer.forkserver import ForkServer, Pipelines
from streamer.redaction import redact
from streamer.standard_error import never_blocking_stderr
from streamer.starting import interrupt_on_signals
from streamer.telemetry import configure_logging


class Subcommand(NamedTuple):
    """A row of the table: `module` offers `add_arguments(parser)` and `run(arguments) -> exit code`.

    forks: what processes it starts, if any; it gets a ForkServer for them as `arguments.fork_server`, which gets ready while its
    module is imported.
    """

    name: str
    module: str
    summary: str
    forks: Pipelines | None = None


SUBCOMMANDS: tuple[Subcommand, ...] = (
    Subcommand(
        "anonymize",
        "streamer.commands.anonymize",
        "replace every face in videos and photos by a generated one, or cover it",
        forks="files",
    ),
    Subcommand("verify", "streamer.commands.verify", "prove that an anonymized file no longer shows the faces of its original"),
    Subcommand(
        "demo", "streamer.commands.demo", "make a clip of people who do not exist, anonymize it, and show both", forks="files"
    ),
    Subcommand("serve", "streamer.commands.serve", "anonymize live cameras, and publish or record a stream of each", forks="live"),
    Subcommand("status", "streamer.commands.status", "say how the running daemon and its streams are"),
    Subcommand("reload", "streamer.commands.reload", "let the running daemon read its settings again"),
    Subcommand("engines", "streamer.commands.engines", "build, list or remove the TensorRT engines of this machine's GPU"),
    Subcommand("check", "streamer.commands.check", "validate a file of live streams without starting anything, or try its cameras"),
    Subcommand("schema", "streamer.commands.schema", "print what such a file may hold, as a JSON Schema or a commented file"),
    Subcommand("doctor", "streamer.commands.doctor", "say what this machine has and whether Veil works on it"),
)

EXIT_CODES: dict[ExitCode, str] = {
    ExitCode.DONE: "all done",
    ExitCode.INTERNAL: "a process of Veil failed; please report it",
    ExitCode.USAGE: "wrong arguments or settings, outputs that exist or collide; nothing was started",
    ExitCode.INPUT: "no input could be read: missing, unreadable, not media",
    ExitCode.PARTLY_FAILED: "some files of a batch are done, others failed",
    ExitCode.OUTPUT: "an output could not be written: folder not writable, disk full, encoder missing; "
    "veil serve: the port of the status page is in use",
    ExitCode.DAMAGED: "all done, but an input was truncated or damaged; what could be decoded was written",
    ExitCode.NOT_PROVEN: "veil verify: faces of the original still show, or the two files differ in frames or times",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C or SIGTERM",
}
"""What each exit code tells the user; the help and the README show this table."""

EXAMPLES = """\
examples:
  veil anonymize clip.mp4                  writes clip_anonymized.mp4 beside it
  veil anonymize footage/                  mirrors the folder to footage_anonymized/
  veil anonymize 'trip/**/*.jpg' -o safe/  every photo that matches, into safe/
  veil verify clip.mp4 clip_anonymized.mp4 proves that no face shows
  veil demo                                shows what Veil does, on a clip it makes itself
  veil check stream.yaml --probe           says what is wrong with a file of live streams, and tries its cameras
  veil schema --yaml                       shows every setting of such a file
  veil doctor                              says what this machine has
"""


def exit_codes_text() -> str:
    """The table of exit codes for the end of a help text."""
    return "\n".join(["exit codes:", *(f"  {code.value:<4} {meaning}" for code, meaning in EXIT_CODES.items())])


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=32)


class OneLineParser(argparse.ArgumentParser):
    """A parser that answers a wrong argument with one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.USAGE, f"{self.prog}: {printable(message)} (see {self.prog} --help)\n")


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of `veil`; only the module of the subcommand named `only` is imported, all of them where it is None."""
    parser = OneLineParser(
        prog="veil",
        description="Replaces every face in videos and photos by a generated one.",
        epilog=f"{EXAMPLES}\n{exit_codes_text()}",
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"veil {version('veilstream')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for row in SUBCOMMANDS:
        subparser = commands.add_parser(
            row.name,
            help=row.summary,
            description=f"{row.summary[0].upper()}{row.summary[1:]}.",
            formatter_class=_formatter,
            allow_abbrev=False,
        )
        if only is None or only == row.name:
            module = importlib.import_module(row.module)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser


def log_level(verbosity: int) -> str:
    """-q, nothing, -v, -vv: what the log shows."""
    return {-1: "ERROR", 0: "WARNING", 1: "INFO"}.get(verbosity, "DEBUG")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a subcommand and exits with its code; an error of the user's is one line on stderr."""
    with quiet_when_nobody_reads():
        sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    take_secrets()
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = next((word for word in words if not word.startswith("-")), "")
    forks = next((row.forks for row in SUBCOMMANDS if row.name == command), None) if not {"-h", "--help"} & set(words) else None
    # Before anything is opened or started. The daemon itself decodes nothing, and its descriptors and memory are to be watched.
    leave_no_core(seal=forks != "live")
    with (
        never_blocking_stderr() if forks == "live" else contextlib.nullcontext(),
        ForkServer(forks) if forks else contextlib.nullcontext() as fork_server,
    ):
        parsed = build_parser(command).parse_args(words)
        parsed.fork_server = fork_server
        configure_logging("veil", log_level(getattr(parsed, "verbosity", 0)))
        return _run_command(parsed)


def _run_command(parsed: argparse.Namespace) -> int:
    def say(what: object) -> None:
        line = printable(redact(f"veil {parsed.command}: {what}"))
        Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(line)

    try:
        with interrupt_on_signals():
            code = parsed.run(parsed)
    except VeilError as error:
        say(error)
        code = error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        code = ExitCode.INTERRUPTED
    return int(code)

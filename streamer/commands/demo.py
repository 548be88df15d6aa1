"""`veil demo`: show what Veil does, on a clip that it makes itself."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import msgspec
from rich.console import Console

from streamer.anonymize import anonymize, check_settings
from streamer.batch import plan_batch
from streamer.cli import exit_codes_text, log_level
from streamer.commands.options import add_options, naming_settings, settings_from
from streamer.commands.stopping import stop_on_signals
from streamer.demo import is_demo_clip, make_contact_sheet, make_demo_clip
from streamer.errors import ExitCode, OutputError
from streamer.progress import show_progress
from streamer.temporary import TemporaryOutput, remove_stale

CLIP, ANONYMIZED, SHEET = "demo.mp4", "demo_anonymized.mp4", "contact-sheet.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "veil demo [-o FOLDER] [options]"
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", type=Path, default=Path("veil-demo"), help="where the files go (default: veil-demo)"
    )
    add_options(parser)
    parser.set_defaults(verbosity=0)
    parser.epilog = (
        f"Writes {CLIP} (people who do not exist), {ANONYMIZED} and {SHEET}; replaces those of an earlier demo, no others.\n\n"
        f"{exit_codes_text()}"
    )


def run(arguments: argparse.Namespace) -> ExitCode:
    settings = msgspec.structs.replace(settings_from(arguments), overwrite=True)
    with naming_settings(arguments):
        check_settings(settings)
    folder: Path = arguments.output
    clip, anonymized, sheet = folder / CLIP, folder / ANONYMIZED, folder / SHEET
    say = Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from None
    say("making a clip of people who do not exist ...")
    write_clip(clip)
    plan = plan_batch([str(clip)], str(anonymized), settings)
    if plan.failures:
        raise plan.failures[0].error
    with stop_on_signals() as stop, show_progress(files=1, frames_estimated=plan.frames_estimated) as view:
        level = log_level(arguments.verbosity)
        outcome = anonymize(plan, settings, view=view, stop=stop, fork_server=arguments.fork_server, log_level=level)
    if outcome.failures:
        raise outcome.failures[0].error
    if outcome.exit_code is ExitCode.DONE:
        make_contact_sheet(clip, anonymized, sheet)
        for path in (clip, anonymized, sheet):
            print(path)
    return outcome.exit_code


def check_folder(folder: Path) -> None:
    """Raises OutputError where the demo would replace what no earlier demo made."""
    if is_demo_clip(folder / CLIP):
        return
    for name in (CLIP, ANONYMIZED, SHEET):
        if os.path.lexists(folder / name):
            raise OutputError(f"{folder / name}: is not of an earlier demo and would be replaced; name another folder with -o")


def write_clip(path: Path) -> None:
    """The demo's clip, under its name only when it is complete. Raises OutputError."""
    remove_stale([path])
    output = TemporaryOutput(path)
    try:
        make_demo_clip(output.path)
        output.commit(overwrite=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        output.discard()

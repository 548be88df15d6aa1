"""`veil anonymize`: hide every face in videos and photos."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console

from streamer.anonymize import Outcome, anonymize, check_settings
from streamer.batch import BatchPlan, kinds_of, plan_batch
from streamer.cli import exit_codes_text, log_level
from streamer.commands.options import add_options, settings_from
from streamer.commands.stopping import stop_on_signals
from streamer.errors import ExitCode
from streamer.escaping import printable
from streamer.progress import count_of, show_progress

_EXAMPLES = """\
examples:
  veil anonymize clip.mp4                            clip_anonymized.mp4 beside it
  veil anonymize clip.mp4 -o safe.mkv                another name and container
  veil anonymize footage/ -o safe/                   a folder with all below it, mirrored
  veil anonymize *.jpg talk.mov -o safe/             photos and a video
  veil anonymize clip.mp4 --filter pixelate --cells 6
  veil anonymize crowd.mp4 --detector-size full --threshold 0.1 --report

A second run over a folder does only what is missing; a file that lies where an output should and was not made by Veil counts as
failed. Outputs of Veil are never taken as inputs.
"""

_MOST_NAMED = 5
"""Files that are skipped and named unasked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "veil anonymize INPUT... [-o OUTPUT] [options]"
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="file, folder (with all below it) or pattern such as 'trip/**/*.mp4'"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUTPUT",
        help="a file name for a single file, otherwise a folder that mirrors the inputs (default: beside each, as NAME_anonymized)",
    )
    add_options(parser)
    group = parser.add_argument_group("what is said")
    group.add_argument("-q", "--quiet", dest="verbosity", action="store_const", const=-1, default=0, help="nothing but errors")
    group.add_argument("-v", "--verbose", dest="verbosity", action="count", help="more; -vv for everything")
    parser.epilog = f"{_EXAMPLES}\n{exit_codes_text()}"


def run(arguments: argparse.Namespace) -> ExitCode:
    settings = settings_from(arguments)
    check_settings(settings)
    plan = plan_batch(arguments.inputs, arguments.output, settings)
    if plan.is_single and plan.failures:
        raise plan.failures[0].error
    files, frames = len(plan.videos) + len(plan.images), plan.frames_estimated
    with stop_on_signals() as stop, show_progress(files=files, frames_estimated=frames, is_quiet=arguments.verbosity < 0) as view:
        level = log_level(arguments.verbosity)
        outcome = anonymize(plan, settings, view=view, stop=stop, fork_server=arguments.fork_server, log_level=level)
    if plan.is_single and outcome.failures:
        raise outcome.failures[0].error
    _summarize(plan, outcome, arguments.verbosity)
    return outcome.exit_code


def _summarize(plan: BatchPlan, outcome: Outcome, verbosity: int) -> None:
    """What was left out and what failed, one line each, and the totals of a batch; quiet says only what failed."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(printable(line))

    for line in [] if verbosity < 0 else _left_out(plan, names_all=verbosity > 0):
        say(line)
    if outcome.is_interrupted:
        say("interrupted; the file at work was not written")
    for failure in outcome.failures:
        say(f"failed: {failure.error}")
    if verbosity >= 0 and not plan.is_single:
        counts: list[tuple[str, Sequence[object]]] = [
            ("done", outcome.done),
            ("skipped", plan.skipped),
            ("failed", outcome.failures),
        ]
        say(", ".join(f"{count_of(len(items), 'file')} {what}" for what, items in counts if items or what == "done"))


def _left_out(plan: BatchPlan, *, names_all: bool) -> list[str]:
    """A line for each input that was not worked on and did not fail, or one for many."""
    skipped = [f"skipped {one.source}: {one.reason}" for one in plan.skipped]
    if len(skipped) > _MOST_NAMED and not names_all:
        skipped = [f"skipped {len(skipped)} files, whose outputs exist or which Veil has made (-v names them)"]
    passed_over = [f"passed over {path}" for path in plan.passed_over]
    if passed_over and not names_all:
        what = f"{count_of(len(passed_over), 'file')} of other kinds: {kinds_of(plan.passed_over)}"
        passed_over = [f"passed over {what} (-v names them; Veil reads photos as JPEG, PNG, WebP and TIFF)"]
    return skipped + passed_over

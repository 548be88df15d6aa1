"""`veil verify`: prove that an anonymized file no longer shows the faces of its original."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from models.recognition import RECOGNIZERS
from streamer.cli import exit_codes_text
from streamer.commands.stopping import stop_on_signals
from streamer.errors import ExitCode, Interrupted, OutputError, UsageError
from streamer.marks import bears_mark
from streamer.messages import Cover, FrameReport
from streamer.progress import show_progress
from streamer.temporary import TemporaryOutput
from streamer.verify.album import Album
from streamer.verify.examination import Examination
from streamer.verify.footage import FramePair, open_footage
from streamer.verify.page import render_page
from streamer.verify.proof import Proof, Settings, encode_proof
from streamer.verify.summary import show_summary

_TEXT = """\
A detector of its own looks for faces in every frame of the original. Each of them must be gone from the same place of the
anonymized frame: what counts is the fine detail of the original, not whether there is a face, since a generated one is a face
too. Frames, times and sound are compared as well. Nobody looks for faces that this detector does not find in the original, so where
it finds none, nothing is proven; the exit code is 0 then too. ORIGINAL must not bear Veil's mark; where ANONYMIZED does not, a
warning says so. Reports and pages are readable by you alone: a page shows what shows in ANONYMIZED.

examples:
  veil verify clip.mp4 clip_anonymized.mp4
  veil verify clip.mp4 clip_anonymized.mp4 --report proof.json --page proof.html
  veil verify photo.jpg photo_anonymized.jpg
  veil verify long.mp4 long_anonymized.mp4 --every 10      a quick look
"""

_DEFAULTS = Settings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "veil verify ORIGINAL ANONYMIZED [options]"
    parser.add_argument("original", metavar="ORIGINAL", type=Path, help="video or photo before it was anonymized")
    parser.add_argument("anonymized", metavar="ANONYMIZED", type=Path, help="the same after it")
    parser.add_argument("--report", metavar="FILE", type=Path, help="write everything that was found as JSON")
    parser.add_argument(
        "--page", metavar="FILE", type=Path, help="write an HTML page with plots and small pictures of the anonymized file"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a report or page that exists")
    parser.add_argument(
        "--every", metavar="N", type=_every, default=_DEFAULTS.every, help="examine one frame in N (default: 1, all of them)"
    )
    parser.add_argument(
        "--max-exposed",
        metavar="SHARE",
        type=_share,
        default=_DEFAULTS.max_exposed,
        help="share of the faces, counted in each frame, that may show (default: 0)",
    )
    parser.add_argument(
        "--threshold",
        metavar="SCORE",
        type=_score,
        default=_DEFAULTS.threshold,
        help=f"score from which something in the original is a face (default: {_DEFAULTS.threshold})",
    )
    parser.add_argument(
        "--recognizer",
        choices=("auto", "none", *RECOGNIZERS),
        default=_DEFAULTS.recognizer,
        help="what tries to recognise the people: auto takes what is installed (default)",
    )
    parser.add_argument("-q", "--quiet", dest="verbosity", action="store_const", const=-1, default=0, help="no progress")
    parser.epilog = f"{_TEXT}\n{exit_codes_text()}"


def run(arguments: argparse.Namespace) -> ExitCode:
    original, anonymized = arguments.original, arguments.anonymized
    settings = Settings(
        every=arguments.every,
        max_exposed=arguments.max_exposed,
        threshold=arguments.threshold,
        recognizer=arguments.recognizer,
    )
    targets = [path for path in (arguments.report, arguments.page) if path is not None]
    _check_targets(targets, [original, anonymized], may_replace=arguments.overwrite)
    if bears_mark(original):
        raise UsageError(f"{original}: was made by Veil and is no original; name the original first, then the anonymized file")
    footage = open_footage(original, anonymized)
    album = Album() if arguments.page is not None else None
    with contextlib.ExitStack() as stack:
        report, page = (_temporary(path, stack) for path in (arguments.report, arguments.page))
        examination = Examination(settings, album=album)
        stop = stack.enter_context(stop_on_signals())
        estimate = footage.frames_estimated
        with show_progress(files=1, frames_estimated=estimate, is_quiet=arguments.verbosity < 0) as view:
            view.start_file(anonymized.name, estimate)

            def on_frame(pair: FramePair, tracks: list[int]) -> None:
                if stop.is_requested:
                    raise Interrupted
                view.frame(_progress(pair, tracks))

            examination.run(footage, on_frame)
            view.end_file(None)
        proof = examination.proof(original, anonymized, footage.media())
        if report is not None:
            _write(report, encode_proof(proof), may_replace=arguments.overwrite)
        if page is not None and album is not None:
            _write(page, render_page(proof, album).encode(), may_replace=arguments.overwrite)
    show_summary(proof, Console(highlight=False, markup=False, soft_wrap=True))
    return _exit_code(proof)


def _exit_code(proof: Proof) -> ExitCode:
    if proof.verdict != "clean":
        return ExitCode.NOT_PROVEN
    return ExitCode.DAMAGED if proof.media.notes else ExitCode.DONE


def _check_targets(targets: list[Path], inputs: list[Path], *, may_replace: bool) -> None:
    resolved = [path.resolve() for path in targets]
    for target in targets:
        if target.resolve() in [path.resolve() for path in inputs]:
            raise UsageError(f"{target}: would replace an input; choose another name")
        if resolved.count(target.resolve()) > 1:
            raise UsageError(f"{target}: --report and --page need different names")
        if target.is_dir():
            raise UsageError(f"{target}: is a folder; name a file")
        if target.exists() and not may_replace:
            raise UsageError(f"{target} exists; --overwrite replaces it")


def _temporary(path: Path | None, stack: contextlib.ExitStack) -> TemporaryOutput | None:
    """Made before the work, so that a folder that cannot be written is found out at once; private, as faces may show in it."""
    if path is None:
        return None
    temporary = TemporaryOutput(path, is_private=True)
    stack.callback(temporary.discard)
    return temporary


def _write(temporary: TemporaryOutput, content: bytes, *, may_replace: bool) -> None:
    try:
        temporary.path.write_bytes(content)
    except OSError as error:
        raise OutputError(f"{temporary.final}: cannot be written: {error.strerror}") from None
    temporary.commit(overwrite=may_replace)


def _progress(pair: FramePair, tracks: list[int]) -> FrameReport:
    return FrameReport(
        stream=0,
        number=pair.number,
        pts=pair.number,
        time_s=pair.time_s,
        raw_slot=0,
        covers=[Cover(track, (0.0, 0.0, 0.0, 0.0), "detected", 0.0) for track in tracks],
        covered_whole=None,
    )


def _share(word: str) -> float:
    return _within(word, "must be a number from 0 to 1", lambda value: 0 <= value <= 1)


def _score(word: str) -> float:
    return _within(word, "must be a number above 0 and below 1", lambda value: 0 < value < 1)


def _within(word: str, wanted: str, is_good: Callable[[float], bool]) -> float:
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not is_good(value):
        raise argparse.ArgumentTypeError(f"{wanted}, is {word}")
    return value


def _every(word: str) -> int:
    if not word.isascii() or not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, is {word}")
    return int(word)

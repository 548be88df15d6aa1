"""`veil engines`: build, list or remove TensorRT engines, which otherwise are built during the first videos."""

from __future__ import annotations

import argparse
import re
from datetime import datetime

from rich.console import Console

from models.backends import BackendError, choose_backend
from models.backends.engine_build import build_apart
from models.backends.engine_cache import CacheError, EngineCache, Forms, default_folder
from models.backends.engine_runtime import EngineError
from models.detectors import WORKING_SIDES, Size
from models.weights import WeightsError, read_weights
from streamer.cli import exit_codes_text
from streamer.engines import WantedEngine, described_key, wanted_engines
from streamer.errors import ExitCode, InternalError, OutputError, UsageError

DEFAULT_SIZES = ((1280, 720),)
"""All sizes of the same shape need the same engines."""
READY = "ready"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    builder = actions.add_parser("build", help="build what videos of some sizes need; what is there already is kept")
    builder.add_argument(
        "--frame-size",
        dest="frame_sizes",
        metavar="WIDTHxHEIGHT",
        type=_frame_size,
        action="append",
        help="of your videos, may be given several times (default: 1280x720, which does for all of 16:9)",
    )
    builder.add_argument(
        "--detector-size", choices=tuple(WORKING_SIDES), default="default", help="as for veil anonymize (default: default)"
    )
    actions.add_parser("list", help="what has been built, for which network, shape and GPU, and what was refused")
    actions.add_parser("clear", help="remove all engines")
    parser.epilog = exit_codes_text()


def run(arguments: argparse.Namespace) -> ExitCode:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        match arguments.action:
            case "build":
                return _build(console, arguments)
            case "list":
                _list(console)
            case _:
                console.print(f"{EngineCache(default_folder()).clear()} removed")
    except CacheError as error:
        raise OutputError(str(error)) from None
    return ExitCode.DONE


def _build(console: Console, arguments: argparse.Namespace) -> ExitCode:
    """Exit code 0 where every engine is there, else 1."""
    try:
        choose_backend("tensorrt")
    except BackendError as error:
        raise UsageError(str(error)) from None
    try:
        wanted = wanted_engines(arguments.frame_sizes or DEFAULT_SIZES, arguments.detector_size)
        return _build_all(console, wanted)
    except WeightsError as error:
        raise InternalError(str(error)) from None


def _build_all(console: Console, wanted: list[WantedEngine]) -> ExitCode:
    networks = {one.weights: read_weights(one.weights) for one in wanted}
    results = []
    for one in wanted:
        results.append(_build_one(networks[one.weights], one.forms))
        console.print(f"{one}  {results[-1]}")
    return ExitCode.DONE if set(results) == {READY} else ExitCode.INTERNAL


def _build_one(network: bytes, forms: Forms) -> str:
    """How it went, in words."""
    try:
        refusal = build_apart(network, forms)
    except EngineError as error:
        return f"FAILED: {error}"
    return READY if refusal is None else f"REFUSED: {refusal}"


def _list(console: Console) -> None:
    for entry in EngineCache(default_folder()).entries():
        state = f"{entry.plan_bytes / 1e6:.1f} MB" if entry.refusal is None else f"REFUSED: {entry.refusal}"
        console.print(f"{datetime.fromtimestamp(entry.built_at):%Y-%m-%d %H:%M}  {described_key(entry.key)}, {state}")


def _frame_size(text: str) -> Size:
    found = re.fullmatch(r"(\d{2,5})x(\d{2,5})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT in pixels, as in 1280x720, is {text}")
    return int(found[1]), int(found[2])

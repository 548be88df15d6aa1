"""The command `veil-train`: one subcommand a row, its module imported only when it is run."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from models.closed_pipe import quiet_when_nobody_reads
from models.core_dumps import leave_no_core


class Subcommand(NamedTuple):
    """A row of the table: `module` offers `add_arguments(parser)` and `run(arguments) -> exit code`."""

    words: tuple[str, ...]
    module: str
    summary: str


SUBCOMMANDS: tuple[Subcommand, ...] = (
    Subcommand(("import-centerface",), "trainer.import_centerface", "make the detector's weights from the published file"),
    Subcommand(("import-deepprivacy",), "trainer.import_deepprivacy", "read the weights published with DeepPrivacy"),
    Subcommand(("import-recognizer",), "trainer.import_recognizer", "make the weights of a recogniser that training evades"),
    Subcommand(("prepare",), "trainer.prepare", "make a training set of your own photos and videos"),
    Subcommand(("synthesize",), "trainer.synthesize", "make a training set of people who do not exist"),
    Subcommand(("export",), "trainer.export", "write trained weights as ONNX"),
    Subcommand(("fit",), "trainer.fit", "train a generator as a configuration file says"),
    Subcommand(("fit-keypoints",), "trainer.fit_keypoints", "train the keypoint network as a configuration file says"),
    Subcommand(("fit-refiner",), "trainer.fit_refiner", "train what sharpens a generator's faces, as a configuration file says"),
    Subcommand(("evaluate", "detector"), "trainer.evaluate_detector", "measure recall and precision of a face detector"),
    Subcommand(("evaluate", "keypoints"), "trainer.evaluate_keypoints", "measure the keypoint network on faces held back"),
    Subcommand(("evaluate", "generator"), "trainer.evaluate_generator", "measure what a generator paints against classic filters"),
)


def build_parser(only: Sequence[str]) -> tuple[argparse.ArgumentParser, dict[str, Callable[[argparse.Namespace], int]]]:
    """The parser, and what runs each subcommand; only the module of the subcommand named in `only` is imported."""
    parser = argparse.ArgumentParser(prog="veil-train", description=__doc__)
    groups: dict[tuple[str, ...], argparse._SubParsersAction[argparse.ArgumentParser]] = {
        (): parser.add_subparsers(metavar="COMMAND", required=True)
    }
    runs: dict[str, Callable[[argparse.Namespace], int]] = {}
    for row in SUBCOMMANDS:
        group = row.words[:-1]
        if group not in groups:
            group_parser = groups[()].add_parser(group[0], help=f"{group[0]} something: see veil-train {group[0]} --help")
            groups[group] = group_parser.add_subparsers(metavar="WHAT", required=True)
        subparser = groups[group].add_parser(row.words[-1], help=row.summary, description=row.summary)
        name = " ".join(row.words)
        subparser.set_defaults(subcommand=name)
        if tuple(only[: len(row.words)]) == row.words:
            module = importlib.import_module(row.module)
            module.add_arguments(subparser)
            runs[name] = module.run
    return parser, runs


def main() -> None:
    """Entry point of `veil-train`."""
    leave_no_core()
    with quiet_when_nobody_reads():
        parser, runs = build_parser(sys.argv[1:])
        arguments = parser.parse_args()
        sys.exit(runs[arguments.subcommand](arguments))

"""`veil-train evaluate generator`: how good the faces are that a generator paints, against classic filters on the same faces."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from loguru import logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from models import geometry
from models.generator_weights import write_atomically
from models.keypoints import NetworkKeypoints
from models.recognition import RECOGNIZERS, Recognizer, RecognizerError, open_recognizer
from models.weights import WeightsError
from trainer.config import AugmentSettings, DataSettings
from trainer.dataset import DataError, LabelledFolder
from trainer.failing import failed
from trainer.features import FeatureError
from trainer.frechet import FeatureNetwork, InceptionFeatures, LiteFeatures
from trainer.generator_evaluation import FOUND, KNOWN, Chance, Evaluation, Judges, MethodFigures, has_eyes
from trainer.generator_metrics import KeypointFigures, Spread, open_face_detector
from trainer.methods import EvaluationFace, all_methods, choose_faces, generate
from trainer.painter import Painter, open_painter
from trainer.samples import save_grid

GRID_FACES = 64
GRID_PX = 128
SPREAD_FACES, SPREAD_DRAWS = 48, 4
NOT_MEASURED = "not measured"
DETECTOR_ERROR = "eyes and nose (detector)"
PEOPLE = ("same person", "another person", "identified", "distance")
PLAIN_WIDTH = 200
"""Characters of a line where the table is not printed on a terminal."""
VALIDATION_SHARE = DataSettings(kind="labels", root="").validation_share


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that was measured, and on what."""

    weights: str
    resolution: int
    images_seen: int
    terms: str
    data: str
    seed: int
    margin: float
    """Growth of the mask on every side, as a part of the face box."""
    faces: int
    unreadable: int
    found_in_original: int
    recognizer: str | None
    why_no_recognizer: str
    """Empty where there is one."""
    recognized_faces: int
    chance: Mapping[str, Chance]
    """Of two different people of the set, for each alignment of the recogniser; empty where nothing recognises."""
    methods: tuple[MethodFigures, ...]
    spread: Spread


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `veil-train evaluate generator`."""
    parser.add_argument("weights", type=Path, help="generator.safetensors of a run or an import, or an exported .onnx")
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv; only held-back faces are used")
    parser.add_argument("--count", type=_count, default=500, help="faces, as far as there are so many (default: 500)")
    parser.add_argument(
        "--validation-share", type=float, default=VALIDATION_SHARE, help=f"as the run had it (default: {VALIDATION_SHARE})"
    )
    parser.add_argument("--seed", type=int, default=0, help="which faces are drawn, and the noise")
    parser.add_argument(
        "--margin",
        type=_margin,
        default=geometry.SERVED_MARGIN,
        help=f"growth of the mask, as filter.margin (default: {geometry.SERVED_MARGIN})",
    )
    parser.add_argument(
        "--recognizer", choices=("auto", "none", *RECOGNIZERS), default="auto", help="auto: dlib, if it is installed"
    )
    parser.add_argument("--recognize-count", type=_count, default=200, help="faces shown to the recogniser (default: 200)")
    parser.add_argument(
        "--known-eyes", action="store_true", help="show the recogniser each face once more, aligned by the labelled eyes and nose"
    )
    parser.add_argument("--inception", type=Path, help="TorchScript file of InceptionV3: one more Fréchet distance")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--grid", type=Path, help=f"write a PNG of {GRID_FACES} random faces: original, given, z = 0, random z")


def _count(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError("must be at least 2")
    return value


def _margin(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 2.0:
        raise argparse.ArgumentTypeError("must be from 0 to 2")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 done, 2 the features or the recogniser cannot be used, 3 the weights or the data cannot be used, 5 a file
    cannot be written.
    """
    logger.remove()
    logger.add(sys.stderr, level="INFO", diagnose=False)
    try:
        _check_writable(arguments.json, arguments.grid)
        report = _evaluate(arguments)
        if arguments.json is not None:
            write_atomically(arguments.json, (json.dumps(asdict(report), indent=2, allow_nan=False) + "\n").encode())
    except (FeatureError, RecognizerError) as error:
        return failed("evaluate generator", error, 2)
    except (WeightsError, DataError) as error:
        return failed("evaluate generator", error, 3)
    except OSError as error:
        return failed("evaluate generator", f"{error.filename}: cannot be written: {error.strerror}", 5)
    console = Console()
    print_report(report, console if console.is_terminal else Console(width=PLAIN_WIDTH))
    return 0


def _check_writable(*paths: Path | None) -> None:
    """Raises OSError now rather than after all the work."""
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise IsADirectoryError(21, "is a folder", str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(13, "the folder is read-only", str(path))


def _evaluate(arguments: argparse.Namespace) -> Report:
    painter = open_painter(arguments.weights)
    settings = DataSettings(kind="labels", root=str(arguments.data), validation_share=arguments.validation_share)
    data = LabelledFolder(arguments.data, settings, AugmentSettings())
    networks: list[FeatureNetwork] = [LiteFeatures()]
    if arguments.inception is not None:
        networks.append(InceptionFeatures(arguments.inception))
    recognizer, reason = open_recognizer(arguments.recognizer)
    detector = open_face_detector()
    faces, unreadable = choose_faces(
        data,
        arguments.count,
        arguments.seed,
        resolution=painter.resolution,
        expansion=painter.provenance.expansion,
        margin=arguments.margin,
    )
    if arguments.grid is not None:
        save_faces(arguments.grid, faces[:GRID_FACES], painter, arguments.seed)
    recognized = min(arguments.recognize_count, len(faces)) if recognizer is not None else 0
    judges = Judges(
        detector=detector,
        features=networks,
        find_keypoints=NetworkKeypoints().locate,
        recognizer=recognizer,
        recognized_faces=recognized,
        knows_eyes=arguments.known_eyes,
    )
    if KNOWN in judges.alignments and not any(map(has_eyes, faces[:recognized])):
        raise DataError(f"{arguments.data}: no face has its eyes and nose labelled inside its box; leave --known-eyes out")
    evaluation, chance, methods, spread = _measure(faces, judges, painter, arguments.seed)
    return Report(
        weights=str(arguments.weights),
        resolution=painter.resolution,
        images_seen=painter.provenance.images_seen,
        terms=painter.provenance.terms,
        data=str(arguments.data),
        seed=arguments.seed,
        margin=arguments.margin,
        faces=len(faces),
        unreadable=len(unreadable),
        found_in_original=evaluation.found_in_original,
        recognizer=None if recognizer is None else _described(recognizer),
        why_no_recognizer=reason,
        recognized_faces=recognized,
        chance=chance,
        methods=methods,
        spread=spread,
    )


def _described(recognizer: Recognizer) -> str:
    return f"{recognizer.name}, one person below {recognizer.same_person:g}"


def _measure(
    faces: list[EvaluationFace], judges: Judges, painter: Painter, seed: int
) -> tuple[Evaluation, dict[str, Chance], tuple[MethodFigures, ...], Spread]:
    """All figures, on a terminal with a progress bar."""
    methods = all_methods(painter, seed)
    spread_faces = min(SPREAD_FACES, len(faces))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        work = Evaluation.work(len(faces), judges.recognized_faces, len(methods), spread_faces)
        bar = progress.add_task("faces", total=work)

        def advance(what: str, count: int) -> None:
            progress.update(bar, advance=count, description=what)

        evaluation = Evaluation(faces, judges, advance)
        figures = tuple(evaluation.measure(method) for method in methods)
        spread = evaluation.spread(painter, seed, faces=spread_faces, draws=SPREAD_DRAWS)
    return evaluation, evaluation.chance(), figures, spread


def save_faces(path: Path, faces: list[EvaluationFace], painter: Painter, seed: int) -> None:
    """Write the grid: for each face the original, what the generator was given, its face for z = 0 and for a random z."""
    painted = [generate(faces, painter, seed, draw) for draw in (None, 0)]
    columns = [
        [face.real_crop() for face in faces],
        [face.given for face in faces],
        *([hidden.crop for hidden in each] for each in painted),
    ]
    save_grid(path, [np.stack([geometry.resize(crop, GRID_PX) for crop in column]) for column in columns])


def print_report(report: Report, console: Console) -> None:
    """The figures as a table, and what they were measured on."""
    names = list(report.methods[0].frechet)
    groups = list(report.methods[0].keypoints)
    table = Table(title=f"{report.weights}: {report.resolution} pixels, {report.images_seen:,} images seen")
    table.add_column("method")
    table.add_column("replaced")
    alignments = list(report.chance) or [FOUND]
    people = (f"{heading} ({alignment})" for alignment in alignments for heading in PEOPLE)
    for heading in ("found again", *names, *(f"error {group}" for group in groups), DETECTOR_ERROR, *people, "seam"):
        table.add_column(heading, justify="right")
    for row in report.methods:
        table.add_row(
            row.method,
            row.view,
            _percent(row.detected),
            *(f"{row.frechet[name]:.2f}" for name in names),
            *(describe_error(row.keypoints[group]) for group in groups),
            describe_error(row.detector_keypoints),
            *(text for alignment in alignments for text in _recognized(row, alignment)),
            _number(row.seam),
        )
    console.print(table)
    for line in _remarks(report):
        console.print(line, markup=False, highlight=False)


def _recognized(row: MethodFigures, alignment: str) -> tuple[str, ...]:
    """In the order of PEOPLE."""
    figures = row.recognized.get(alignment)
    if figures is None:
        return (NOT_MEASURED,) * len(PEOPLE)
    return _percent(figures.own), _percent(figures.others), _percent(figures.identified), _number(figures.distance)


def _remarks(report: Report) -> list[str]:
    spread = report.spread
    lines = [
        f"{report.faces} faces that were never trained on, {report.found_in_original} of them found in the original; "
        f"{report.unreadable} pictures could not be read. Fréchet distances hold for this number of faces only.",
        f"The mask is the face box grown by {report.margin:g} of its size on every side.",
        "Errors are medians of the keypoints that are found, in longer sides of the face box: by the keypoint network, which "
        "answers on hidden faces too, and once by the detector, which answers only where it finds the face. Seam: the step at the "
        "edge, 1 = as in the original.",
        f"Different z ({spread.draws} for each of {spread.faces} faces): hidden pixels differ by {spread.pixel_levels:.1f} of 255, "
        f"features by {spread.features:.2f} of what two originals differ, "
        f"recognised as another person: {_percent(spread.other_person)}.",
    ]
    if report.recognizer is None:
        lines.append(f"Same person: {NOT_MEASURED}; {report.why_no_recognizer}.")
    else:
        lines.append(
            f"Same person: {report.recognizer}. Another person: the hidden face against the originals of all others; where nothing "
            "of the person is left, both are about alike. Identified: the own original is nearer than anybody else's. Eyes "
            "found: by the recogniser itself, in the original (facenet takes the box). Eyes known: those of the labels, where "
            "these are inside the box."
        )
    for alignment, chance in report.chance.items():
        lines.append(
            f"Chance, two different people of the set, {alignment}: {_percent(chance.match, 2)} of {chance.pairs:,} pairs of "
            f"{report.methods[0].recognized[alignment].faces} faces, mean distance {_number(chance.distance)}."
        )
    return lines


def _percent(share: float | None, digits: int = 1) -> str:
    return NOT_MEASURED if share is None else f"{100 * share:.{digits}f} %"


def describe_error(figures: KeypointFigures) -> str:
    """What was asked for and never found has been measured: it is no gap in the report."""
    return "none found" if figures.found == 0 else _percent(figures.median_error)


def _number(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.2f}"

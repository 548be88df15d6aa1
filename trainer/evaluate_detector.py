"""`veil-train evaluate detector`: recall and precision of a face detector on annotated pictures and on copies of other sizes.

boxes.json: {picture: [{"box": [x, y, width, height], "invalid": 0, "easy": true, "medium": true, "hard": true}, ...]}, in pixels.

The detections of another program are measured by the same code if they come as JSON:
{"name": "...", "scale": 1.0, "threshold": 0.2, "detections": {picture: [[x1, y1, x2, y2, score], ...]}}, boxes in pixels of the
original picture, whatever the copy's scale.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors import DEFAULT_THRESHOLD, DETECTORS, DetectorSize, Effort, FaceDetector, RgbImage, image_render, open_detector
from models.faces import Boxes, Scores
from models.weights import WeightsError
from trainer.detection_metrics import Flags, PictureResult, SubsetFigures, found_faces, measure

SUBSETS = ("easy", "medium", "hard")
LEAST_SCORE = 0.02
"""Detections below do not enter the average precision."""
REFERENCE_SIDE = 1280
WIDTH_EDGES = (8, 12, 16, 20, 24, 32, 48, 96, 192, 384, 10_000)
"""Edges of the bins of face width, in pixels of a frame whose longer side is REFERENCE_SIDE."""


class EvaluationError(Exception):
    """The pictures, annotations or detections cannot be used; one line."""


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The annotated faces of one picture."""

    boxes: Boxes
    is_valid: Flags
    subsets: Mapping[str, Flags]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The figures of one detector on copies of one scale."""

    name: str
    scale: float
    threshold: float
    subsets: Mapping[str, SubsetFigures]
    recall_by_width: Mapping[str, tuple[float, int]]
    """Width in pixels of a frame of 1280 -> recall at the threshold, faces."""


@dataclass(frozen=True, kw_only=True)
class Detections:
    """What a detector found, in pixels of the original pictures: picture -> (boxes, scores)."""

    name: str
    scale: float
    threshold: float
    found: Mapping[str, tuple[Boxes, Scores]]


def load_annotations(path: Path) -> dict[str, Annotations]:
    """Raises EvaluationError if the file cannot be read as annotations."""
    try:
        content: dict[str, list[dict[str, Any]]] = json.loads(path.read_text())
        return {name: _annotations_of(faces) for name, faces in content.items()}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise EvaluationError(f"{path}: cannot be read as annotations: {error!r}") from error


def _annotations_of(faces: Sequence[Mapping[str, Any]]) -> Annotations:
    boxes = np.array([face["box"] for face in faces], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Annotations(
        boxes=boxes,
        is_valid=np.array([not face["invalid"] for face in faces], np.bool_),
        subsets={name: np.array([face[name] for face in faces], np.bool_) for name in SUBSETS},
    )


def load_detections(path: Path) -> Detections:
    """Raises EvaluationError if the file cannot be read as detections."""
    try:
        content = json.loads(path.read_text())
        tables = {name: np.array(rows, np.float32).reshape(-1, 5) for name, rows in content["detections"].items()}
        found = {name: (table[:, :4], table[:, 4]) for name, table in tables.items()}
        return Detections(
            name=str(content["name"]), scale=float(content["scale"]), threshold=float(content["threshold"]), found=found
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"{path}: cannot be read as detections: {error!r}") from error


def read_picture(path: Path) -> RgbImage:
    """Raises EvaluationError if the file is no picture."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise EvaluationError(f"{path}: cannot be read as a picture")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def scaled_copy(picture: RgbImage, scale: float) -> RgbImage:
    """The picture enlarged (cubic) or reduced (area average) by `scale`."""
    if scale == 1:
        return picture
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=interpolation).astype(np.uint8, copy=False)


def detect_all(
    detector: FaceDetector, pictures: Mapping[str, RgbImage], scale: float, effort: Effort
) -> dict[str, tuple[Boxes, Scores]]:
    """Run the detector on copies of all pictures; boxes in pixels of the originals."""
    found: dict[str, tuple[Boxes, Scores]] = {}
    for name, picture in pictures.items():
        copy = scaled_copy(picture, scale)
        faces = detector.detect(image_render(copy), (copy.shape[1], copy.shape[0]), effort=effort)
        factors = np.tile([picture.shape[1] / copy.shape[1], picture.shape[0] / copy.shape[0]], 2)
        found[name] = ((faces.boxes * factors).astype(np.float32), faces.scores)
    return found


def evaluate(detections: Detections, annotations: Mapping[str, Annotations], sizes: Mapping[str, tuple[int, int]]) -> Report:
    """Compare detections with annotations; sizes: picture -> width and height of the original.

    Boxes are cut at the picture's border first, as the annotated ones are.
    """
    results = []
    for name, truth in annotations.items():
        boxes, scores = detections.found.get(name, (np.zeros((0, 4), np.float32), np.zeros(0, np.float32)))
        limit = np.tile(np.array(sizes[name], np.float32), 2)
        results.append(PictureResult(annotated=truth.boxes, boxes=np.clip(boxes, 0, limit), scores=scores))
    subsets = {
        subset: measure(results, [truth.subsets[subset] for truth in annotations.values()], threshold=detections.threshold)
        for subset in SUBSETS
    }
    return Report(
        name=detections.name,
        scale=detections.scale,
        threshold=detections.threshold,
        subsets=subsets,
        recall_by_width=_recall_by_width(results, annotations, sizes, detections.threshold),
    )


def _recall_by_width(
    results: Sequence[PictureResult],
    annotations: Mapping[str, Annotations],
    sizes: Mapping[str, tuple[int, int]],
    threshold: float,
) -> dict[str, tuple[float, int]]:
    widths: list[NDArray[np.floating]] = []
    is_found: list[Flags] = []
    for result, (name, truth) in zip(results, annotations.items(), strict=True):
        width = (truth.boxes[:, 2] - truth.boxes[:, 0]) * REFERENCE_SIDE / max(sizes[name])
        widths.append(width[truth.is_valid])
        is_found.append(found_faces(result, threshold=threshold)[truth.is_valid])
    all_widths, all_found = np.concatenate(widths), np.concatenate(is_found)
    table: dict[str, tuple[float, int]] = {}
    for low, high in pairwise(WIDTH_EDGES):
        rows = (all_widths >= low) & (all_widths < high)
        label = f"{low}-{high}" if high != WIDTH_EDGES[-1] else f"{low}+"
        table[label] = (float(all_found[rows].mean()) if rows.any() else 0.0, int(rows.sum()))
    return table


def format_reports(reports: Sequence[Report]) -> str:
    """The reports as two Markdown tables."""
    lines = [
        "| detector | copies | threshold | AP easy / medium / hard | recall easy / medium / hard | precision |",
        "|---|---|---|---|---|---|",
    ]
    for report in reports:
        figures = [report.subsets[subset] for subset in SUBSETS]
        precisions = " / ".join(f"{100 * value.average_precision:.1f}" for value in figures)
        recalls = " / ".join(f"{100 * value.recall:.1f}" for value in figures)
        label = f"{report.name} | x{report.scale:g} | {report.threshold:g}"
        lines.append(f"| {label} | {precisions} | {recalls} | {100 * figures[-1].precision:.1f} |")
    labels = list(reports[0].recall_by_width)
    faces = [f"{label} ({reports[0].recall_by_width[label][1]})" for label in labels]
    lines += ["", f"| recall by width (faces) | copies | {' | '.join(faces)} |", "|---" * (len(labels) + 2) + "|"]
    for report in reports:
        recalls = " | ".join(f"{100 * report.recall_by_width[label][0]:.0f}" for label in labels)
        lines.append(f"| {report.name} | x{report.scale:g} | {recalls} |")
    return "\n".join(lines)


def _size(text: str) -> DetectorSize:
    if text in ("default", "full"):
        return "full" if text == "full" else "default"
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `veil-train evaluate detector`."""
    parser.add_argument("--images", type=Path, required=True, help="folder of the annotated pictures")
    parser.add_argument("--boxes", type=Path, help="annotations (default: boxes.json beside the folder of pictures)")
    parser.add_argument("--detector", choices=sorted(DETECTORS), default="centerface")
    parser.add_argument("--size", type=_size, nargs="*", default=["default"], help="default, full or pixels of the longer side")
    parser.add_argument("--threshold", type=float, default=DEFAULT_THRESHOLD, help="score from which recall and precision count")
    parser.add_argument(
        "--effort",
        choices=get_args(Effort),
        default="thorough",
        help="what is done for a frame (default: thorough, all passes)",
    )
    parser.add_argument("--scale", type=float, nargs="+", default=[1.0], help="sizes of the copies, 1 is the original")
    parser.add_argument("--detections", type=Path, nargs="*", default=[], help="detections of other programs to measure as well")
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0, or 1 with one line on stderr."""
    try:
        reports = _run_all(arguments)
    except (EvaluationError, WeightsError) as error:
        print(error, file=sys.stderr)
        return 1
    print(format_reports(reports))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(report) for report in reports], indent=2) + "\n")
    return 0


def _run_all(arguments: argparse.Namespace) -> list[Report]:
    annotations = load_annotations(arguments.boxes or arguments.images.parent / "boxes.json")
    foreign = [load_detections(path) for path in arguments.detections]
    pictures = {name: read_picture(arguments.images / name) for name in annotations}
    sizes = {name: (picture.shape[1], picture.shape[0]) for name, picture in pictures.items()}
    detections: list[Detections] = []
    for size in arguments.size:
        detector = open_detector(arguments.detector, size, LEAST_SCORE)
        for scale in arguments.scale:
            found = detect_all(detector, pictures, scale, arguments.effort)
            name = f"{arguments.detector} {size}{'' if arguments.effort == 'thorough' else f' {arguments.effort}'}"
            detections.append(Detections(name=name, scale=scale, threshold=arguments.threshold, found=found))
    return [evaluate(each, annotations, sizes) for each in [*detections, *foreign]]

"""`veil-train evaluate keypoints`: how far the network's keypoints lie from the labels, and what its confidence is worth.

Distances are parts of the longer side of the face box. Only faces that were held back from training are measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.faces import KEYPOINT_NAMES
from models.keypoint_network import ConfidentKeypoints, KeypointNetwork
from models.keypoint_weights import load_keypoints
from models.keypoints import EXPANSION, THRESHOLDS, TOLERANCES, Crops, NetworkKeypoints
from models.weights import WeightsError
from trainer.config import AugmentSettings, DataSettings
from trainer.dataset import DataError, LabelledFolder
from trainer.failing import failed
from trainer.keypoint_baselines import LEFT_SHOULDER, guess_distances
from trainer.keypoint_calibration import CALIBRATED_PARTS, cross_fitted, gather, judge
from trainer.keypoint_config import KeypointAugmentSettings
from trainer.keypoint_samples import LEAST_LABEL_SCORE, KeypointBatch, KeypointFaces, collate

PARTS = {"eyes and nose": [0, 1, 2], "ears": [3, 4], "shoulders": [5, 6]}
"""Keypoints that are judged together."""

CONFIDENCE_EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
BATCH = 128

Answers = NDArray[np.float32]  # (faces, 7, 3): x, y relative to the crop, confidence 0 to 1
Answering = Callable[[Crops], Answers]


@dataclass(frozen=True, kw_only=True)
class KeypointFigures:
    """Of one keypoint: how often its label is known, distances, share within tolerance."""

    count: int
    median: float
    percentile_90: float
    within_tolerance: float


@dataclass(frozen=True, kw_only=True)
class CalibrationRow:
    """Keypoints with a confidence between `low` and `high`: the mean confidence, and the share that was right."""

    low: float
    high: float
    count: int
    predicted: float
    right: float


@dataclass(frozen=True, kw_only=True)
class CalibrationFigures:
    """What the confidences of a part are worth. expected_error: mean difference between what was said and what was right, over the
    rows. least_confident: the tenth with the lowest confidences; None without keypoints.
    """

    rows: tuple[CalibrationRow, ...]
    expected_error: float
    least_confident: CalibrationRow | None


@dataclass(frozen=True, kw_only=True)
class KeypointReport:
    """All figures. keypoints: of each keypoint, and of PARTS. calibration: of each of CALIBRATED_PARTS, flattering where these are
    the faces that the confidences were calibrated on. on_other_faces: the same for the crops and confidences that the key names,
    each face by a calibration without it. baselines: distances of shoulders that are guessed without the picture.
    """

    faces: int
    keypoints: dict[str, KeypointFigures]
    calibration: dict[str, CalibrationFigures]
    on_other_faces: dict[str, dict[str, CalibrationFigures]] = field(default_factory=dict)
    baselines: dict[str, KeypointFigures] = field(default_factory=dict)


def served_batch(faces: KeypointFaces, numbers: Sequence[int], expansion: float) -> KeypointBatch:
    """The crops that serving cuts around these faces."""
    return collate([faces.served(number, expansion) for number in numbers])


def network_answers(network: KeypointNetwork) -> Answering:
    """The network in torch as something that answers to crops."""
    confident: nn.Module = ConfidentKeypoints(network).eval()

    @torch.no_grad()
    def answer(crops: Crops) -> Answers:
        answers: Answers = confident(torch.from_numpy(crops)).numpy()
        return answers

    return answer


def shipped_answers() -> Answering:
    """The network that ships, as serving runs it. Raises WeightsError if its weights cannot be used."""
    network = NetworkKeypoints()

    def answer(crops: Crops) -> Answers:
        relative, confidences = network.locate(crops)
        return np.concatenate((relative, confidences[:, :, None]), 2)

    return answer


def locate(answer: Answering, batch: KeypointBatch) -> Answers:
    """All answers, a few crops at a time."""
    return np.concatenate([answer(crops.numpy()) for crops in torch.split(batch.crops, BATCH)])


def measure(answers: Answers, batch: KeypointBatch) -> KeypointReport:
    """Compare answers with labels; labels that are guesses are left out, shoulders among them count as not seen."""
    distances = np.linalg.norm(answers[:, :, :2] - batch.keypoints.numpy(), axis=2) / batch.units.numpy()[:, None]
    is_known = batch.scores.numpy() >= LEAST_LABEL_SCORE
    keypoints = {
        name: summarize(distances[:, columns][is_known[:, columns]], TOLERANCES[columns[0]])
        for name, columns in [(name, [index]) for index, name in enumerate(KEYPOINT_NAMES)] + list(PARTS.items())
    }
    calibration = compare_parts(answers[:, :, 2], *judge(answers[:, :, :2], batch))
    return KeypointReport(faces=len(answers), keypoints=keypoints, calibration=calibration)


def summarize(distances: NDArray[np.floating], tolerance: float) -> KeypointFigures:
    """Of the distances of known labels, (N,); zeros where there are none."""
    if not len(distances):
        return KeypointFigures(count=0, median=0.0, percentile_90=0.0, within_tolerance=0.0)
    return KeypointFigures(
        count=len(distances),
        median=float(np.median(distances)),
        percentile_90=float(np.percentile(distances, 90)),
        within_tolerance=float((distances <= tolerance).mean()),
    )


def measure_calibration(
    network: KeypointNetwork, faces: KeypointFaces, expansion: float
) -> dict[str, dict[str, CalibrationFigures]]:
    """What the confidences are worth on faces that they were not calibrated on; nothing where there are too few of them."""
    evidence = gather(network, faces, range(len(faces)), expansion=expansion, augment=KeypointAugmentSettings(), seed=0)
    calibrated = cross_fitted(evidence)
    if calibrated is None:
        return {}
    as_trained = (1 / (1 + np.exp(-evidence.answers[:, :, 2]))).astype(np.float32)
    is_right, is_known = judge(evidence.answers[:, :, :2], evidence.batch)
    return {
        f"{crops} crops, {name}": compare_parts(confidences[rows], is_right[rows], is_known[rows])
        for crops, rows in (("served", evidence.is_served), ("varied", ~evidence.is_served))
        for name, confidences in (("as trained", as_trained), ("calibrated on other faces", calibrated))
    }


def compare_parts(
    confidences: NDArray[np.float32], is_right: NDArray[np.bool_], is_known: NDArray[np.bool_]
) -> dict[str, CalibrationFigures]:
    """Of each of CALIBRATED_PARTS; all arrays (crops, 7)."""
    return {
        part: compare(confidences[:, columns][is_known[:, columns]], is_right[:, columns][is_known[:, columns]])
        for part, columns in CALIBRATED_PARTS.items()
    }


def compare(confidences: NDArray[np.float32], is_right: NDArray[np.bool_]) -> CalibrationFigures:
    """Both (keypoints,). A row for each interval of CONFIDENCE_EDGES that holds a keypoint."""

    def row(low: float, high: float, inside: NDArray[np.bool_]) -> CalibrationRow:
        predicted, right = float(confidences[inside].mean()), float(is_right[inside].mean())
        return CalibrationRow(low=low, high=high, count=int(inside.sum()), predicted=predicted, right=right)

    rows = []
    for low, high in pairwise(CONFIDENCE_EDGES):
        inside = (confidences >= low) & ((confidences < high) | (high == CONFIDENCE_EDGES[-1]))
        if inside.any():
            rows.append(row(low, high, inside))
    if not rows:
        return CalibrationFigures(rows=(), expected_error=0.0, least_confident=None)
    tenth = float(np.quantile(confidences, 0.1))
    return CalibrationFigures(
        rows=tuple(rows),
        expected_error=sum(each.count * abs(each.predicted - each.right) for each in rows) / len(confidences),
        least_confident=row(0.0, tenth, confidences <= tenth),
    )


def format_distances(report: KeypointReport) -> str:
    """How far the keypoints lie from the labels as a Markdown table, in per cent."""
    lines = ["| keypoint | labels | median | 90th percentile | within tolerance |", "|---|---|---|---|---|"]
    tolerances = [*TOLERANCES, *(TOLERANCES[columns[0]] for columns in PARTS.values())]
    rows = list(zip(report.keypoints.items(), tolerances, strict=True))
    rows += [(baseline, TOLERANCES[LEFT_SHOULDER]) for baseline in report.baselines.items()]
    for (name, figures), tolerance in rows:
        distances = f"{100 * figures.median:.1f} | {100 * figures.percentile_90:.1f}"
        within = f"{100 * figures.within_tolerance:.1f} ({100 * tolerance:.0f})"
        lines.append(f"| {name} | {figures.count} | {distances} | {within} |")
    return "\n".join(lines)


def format_report(report: KeypointReport) -> str:
    """All figures as Markdown."""
    tables = report.on_other_faces or {"as given, which is flattering on faces that they were calibrated on": report.calibration}
    parts = [format_distances(report)]
    for name, calibration in tables.items():
        parts.append(f"Confidences: {name}\n\n{format_calibration(calibration)}")
    return "\n\n".join(parts)


def format_calibration(calibration: Mapping[str, CalibrationFigures]) -> str:
    """What confidences are worth as a Markdown table, in per cent."""
    lines = ["| confidence | keypoints | predicted | right | expected error |", "|---|---|---|---|---|"]
    for part, figures in calibration.items():
        labelled = [(f"{part} {row.low:g}-{row.high:g}", row) for row in figures.rows]
        if figures.least_confident is not None:
            labelled.append((f"{part}, least tenth", figures.least_confident))
        lines += [f"| {label} | {row.count} | {100 * row.predicted:.1f} | {100 * row.right:.1f} | |" for label, row in labelled]
        count = sum(row.count for row in figures.rows)
        lines.append(f"| **{part}** | {count} | | | {100 * figures.expected_error:.1f} |")
    return "\n".join(lines)


COLORS = ((255, 0, 0), (0, 255, 0), (0, 160, 0), (0, 128, 255), (0, 255, 255), (255, 255, 0), (255, 0, 255))
"""R G B of each keypoint in `draw`: nose red, eyes green, ears blue, shoulders yellow and magenta; left the first."""

DRAWN_PX, DRAWN_BORDER_PX, DRAWN_A_ROW, DRAWN_FACES = 128, 32, 10, 40


def draw(crops: Crops, answers: Answers) -> NDArray[np.uint8]:
    """A grid of the crops with what was found: a disc where the confidence reaches the threshold, a ring where it does not."""
    cells = []
    for crop, answer in zip(crops, answers, strict=True):
        cell = cv2.resize(crop, (DRAWN_PX, DRAWN_PX), interpolation=cv2.INTER_CUBIC)
        cell = cv2.copyMakeBorder(cell, *(DRAWN_BORDER_PX,) * 4, cv2.BORDER_CONSTANT, value=(40, 40, 40))
        for (x, y, confidence), color, threshold in zip(answer, COLORS, THRESHOLDS, strict=True):
            place = (round(x * DRAWN_PX) + DRAWN_BORDER_PX, round(y * DRAWN_PX) + DRAWN_BORDER_PX)
            cv2.circle(cell, place, 3, color, -1 if confidence >= threshold else 1)
        cells.append(cell)
    side = DRAWN_PX + 2 * DRAWN_BORDER_PX
    cells += [np.zeros((side, side, 3), np.uint8)] * (-len(cells) % DRAWN_A_ROW)
    grid = np.stack(cells).reshape(-1, DRAWN_A_ROW, side, side, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid.reshape(-1, DRAWN_A_ROW * side, 3)).astype(np.uint8)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `veil-train evaluate keypoints`."""
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures with labels.csv")
    parser.add_argument("--weights", type=Path, help="keypoints.safetensors of a run (default: the network that ships)")
    parser.add_argument("--validation-share", type=float, default=0.08, help="share of the groups that training held back")
    parser.add_argument("--expansion", type=float, default=EXPANSION, help="growth of the crop on each side, in face box sides")
    parser.add_argument(
        "--baselines", action="store_true", help="also tell how near shoulders are guessed without the picture (reads all pictures)"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--samples", type=Path, help="write a picture of some faces with what was found here, .png")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0; 2 for a value out of range, 3 where data or weights cannot be used, 5 where the output cannot be written, each
    with one line on stderr.
    """
    if not 0 < arguments.validation_share <= 1 or arguments.expansion < 0:
        return failed("evaluate keypoints", "--validation-share must be above 0 and at most 1, --expansion at least 0", 2)
    settings = DataSettings(
        kind="labels", root=str(arguments.data), validation_share=arguments.validation_share, keypoint_threshold=0.0
    )
    try:
        faces = KeypointFaces(settings, only_validation=True)
        network = load_keypoints(arguments.weights)[0] if arguments.weights else None
        answering = shipped_answers() if network is None else network_answers(network)
        guesses = guess_distances(LabelledFolder(arguments.data, settings, AugmentSettings())) if arguments.baselines else {}
    except (DataError, WeightsError) as error:
        return failed("evaluate keypoints", error, 3)
    batch = served_batch(faces, range(len(faces)), arguments.expansion)
    answers = locate(answering, batch)
    report = replace(
        measure(answers, batch),
        baselines={name: summarize(distances, TOLERANCES[LEFT_SHOULDER]) for name, distances in guesses.items()},
    )
    if network is not None:
        report = replace(report, on_other_faces=measure_calibration(network, faces, arguments.expansion))
    print(format_report(report))
    try:
        if arguments.json:
            arguments.json.write_text(json.dumps(asdict(report), indent=2) + "\n")
        if arguments.samples:
            chosen = slice(0, None, max(1, len(faces) // DRAWN_FACES))
            picture = draw(batch.crops.numpy()[chosen][:DRAWN_FACES], answers[chosen][:DRAWN_FACES])
            _, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            arguments.samples.write_bytes(content.tobytes())
    except OSError as error:
        return failed("evaluate keypoints", error, 5)
    return 0

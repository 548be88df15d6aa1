"""What a confidence of the keypoint network is worth on faces that it was not trained on, and how it is made to be worth that.

held-back faces -> served and varied crops -> Evidence: logits, right or wrong -> Calibration
                                                       -> each fifth by the others' calibration -> what it is worth

Training alone makes confidences that are too high for hard faces: it fits the places of its own faces better than those of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.faces import KEYPOINT_NAMES
from models.keypoint_network import Calibration, KeypointNetwork
from models.keypoints import TOLERANCES
from trainer.keypoint_config import KeypointAugmentSettings
from trainer.keypoint_samples import IS_SHOULDER, LEAST_LABEL_SCORE, KeypointBatch, KeypointFaces, collate

CALIBRATED_PARTS: dict[str, list[int]] = {"nose": [0], "eyes": [1, 2], "ears": [3, 4], "shoulders": [5, 6]}
"""Keypoints that share a calibration: left and right are the same to a network that sees every face mirrored too."""

VARIANTS = 5
"""Varied crops of each face beside the served one: most held-back faces are easy, footage is not."""
FOLDS = 5
CHUNK = 128
BINS = 40
LEAST_KEYPOINTS = 400
"""Of each part; with fewer, the shares of right ones would be chance."""
_DIGITS = 4

Flags = NDArray[np.bool_]  # (crops, 7)
Logits = NDArray[np.float32]  # (crops, 7)
Line = tuple[tuple[float, ...], tuple[float, ...]]  # rising logits, confidences that do not fall


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """A network's answers on crops of faces that it was not trained on.

    batch: first a served crop of each face, then VARIANTS varied ones. answers: (crops, 7, 3), x, y, logit. folds: (crops,), which
    fifth of the groups the face is of. is_served: (crops,).
    """

    batch: KeypointBatch
    answers: NDArray[np.float32]
    folds: NDArray[np.int64]
    is_served: NDArray[np.bool_]


def judge(points: NDArray[np.float32], batch: KeypointBatch) -> tuple[Flags, Flags]:
    """Which keypoints are right, and of which that is known, both (B, 7). points: (B, 7, 2) relative to the crop.

    Right is what is seen and within TOLERANCES. Labels that are guesses say nothing, but of shoulders: that they are not seen.
    """
    distances = np.linalg.norm(points - batch.keypoints.numpy(), axis=2) / batch.units.numpy()[:, None]
    is_seen = batch.scores.numpy() >= LEAST_LABEL_SCORE
    return (distances <= np.array(TOLERANCES)) & is_seen, is_seen | IS_SHOULDER


@torch.no_grad()
def gather(
    network: KeypointNetwork,
    faces: KeypointFaces,
    numbers: Sequence[int],
    *,
    expansion: float,
    augment: KeypointAugmentSettings,
    seed: int,
) -> Evidence:
    """Show the network these faces; the same seed gives the same crops."""
    examples = [faces.served(number, expansion) for number in numbers]
    for variant in range(VARIANTS):
        random = (np.random.default_rng((seed, 3, variant, number)) for number in numbers)
        examples += [faces.varied(number, augment, drawn) for number, drawn in zip(numbers, random, strict=True)]
    batch = collate(examples)
    network.eval()
    return Evidence(
        batch=batch,
        answers=torch.cat([network(crops) for crops in torch.split(batch.crops, CHUNK)]).numpy(),
        folds=np.array([faces.fold(number, FOLDS) for number in numbers] * (1 + VARIANTS)),
        is_served=np.arange(len(examples)) < len(numbers),
    )


def calibration_of(evidence: Evidence) -> Calibration | None:
    """What this network's logits are worth; None where there are too few crops to tell."""
    return fit_calibration(evidence.answers[:, :, 2], *judge(evidence.answers[:, :, :2], evidence.batch))


def cross_fitted(evidence: Evidence) -> NDArray[np.float32] | None:
    """Confidences, (crops, 7), each by the calibration of the other folds, so that no face has part in its own; None as above."""
    logits = evidence.answers[:, :, 2]
    is_right, is_known = judge(evidence.answers[:, :, :2], evidence.batch)
    confidences = np.zeros_like(logits)
    for fold in range(FOLDS):
        inside = evidence.folds == fold
        calibration = fit_calibration(logits[~inside], is_right[~inside], is_known[~inside])
        if calibration is None:
            return None
        for column, line in enumerate(zip(calibration.logits, calibration.confidences, strict=True)):
            confidences[inside, column] = np.interp(logits[inside, column], *line)
    return confidences


def fit_calibration(logits: Logits, is_right: Flags, is_known: Flags) -> Calibration | None:
    """The share of right ones as a line over the logit that never falls, for each of CALIBRATED_PARTS; all arrays (B, 7).

    Isotonic regression (Zadrozny, Elkan 2002), joined by straight lines. None where a part has less than LEAST_KEYPOINTS.
    """
    if min(is_known[:, columns].sum() for columns in CALIBRATED_PARTS.values()) < LEAST_KEYPOINTS:
        return None
    lines: dict[int, Line] = {}
    for columns in CALIBRATED_PARTS.values():
        chosen = is_known[:, columns]
        line = _rising_line(logits[:, columns][chosen].astype(np.float64), is_right[:, columns][chosen])
        lines |= dict.fromkeys(columns, line)
    corners = max(len(line[0]) for line in lines.values())
    padded = [_padded(lines[column], corners) for column in range(len(KEYPOINT_NAMES))]
    return Calibration(logits=tuple(line[0] for line in padded), confidences=tuple(line[1] for line in padded))


def _rising_line(logits: NDArray[np.float64], is_right: Flags) -> Line:
    """Corners: mean logit and share of right ones of as equal bins as can be; neighbours that would fall are joined."""
    order = np.argsort(logits, kind="stable")
    joined: list[NDArray[np.intp]] = []
    for rows in np.array_split(order, min(BINS, len(order))):
        joined.append(rows)
        while len(joined) > 1 and is_right[joined[-2]].mean() >= is_right[joined[-1]].mean():
            last = joined.pop()
            joined[-1] = np.concatenate((joined[-1], last))
    corners = {round(float(logits[rows].mean()), _DIGITS): round(float(is_right[rows].mean()), _DIGITS) for rows in joined}
    return tuple(corners), tuple(corners.values())


def _padded(line: Line, corners: int) -> Line:
    """The same line with so many corners: it goes on level."""
    logits, confidences = line
    missing = corners - len(logits)
    return logits + tuple(logits[-1] + step for step in range(1, missing + 1)), confidences + confidences[-1:] * missing

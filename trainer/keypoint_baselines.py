"""How near shoulders can be guessed without a look at the picture: what the network's distances are to be held against.

labels.csv -> ShoulderLabels, in sides of the face box -> BASELINES fitted to the training faces -> distances on the held-back ones
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.faces import KEYPOINT_NAMES
from trainer.augment import SWAPPED
from trainer.dataset import LabelledFolder, PictureError
from trainer.keypoint_samples import IS_SHOULDER, LEAST_LABEL_SCORE

LEFT_SHOULDER = KEYPOINT_NAMES.index("left_shoulder")
LEAST_TRAINING_SHOULDERS = 100
"""With fewer, a fit to eleven values would be chance."""
ROUNDS = 50
LEAST_DISTANCE = 1e-3

Distances = NDArray[np.float64]  # (shoulders,), in longer sides of the face box


@dataclass(frozen=True, kw_only=True, eq=False)
class ShoulderLabels:
    """Shoulders with known labels. x, y count from the middle of the face box in its longer sides; right shoulders and their faces
    are mirrored, so that all are left ones.

    faces: (shoulders, 10), x and y of nose, eyes and ears. shoulders: (shoulders, 2).
    """

    faces: NDArray[np.float64]
    shoulders: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.shoulders)


def known_shoulders(folder: LabelledFolder, numbers: Sequence[int]) -> ShoulderLabels:
    """Of these faces; pictures that cannot be read and faces with a guessed eye, ear or nose are left out."""
    faces, shoulders = [], []
    for number in numbers:
        scores = folder.keypoint_scores(number)
        if scores[IS_SHOULDER].max() < LEAST_LABEL_SCORE or scores[~IS_SHOULDER].min() < LEAST_LABEL_SCORE:
            continue
        try:
            face = folder.face(number)
        except PictureError:
            continue
        middle, side = (face.box[:2] + face.box[2:]) / 2, (face.box[2:] - face.box[:2]).max()
        places = ((face.keypoints - middle) / side).astype(np.float64)
        mirrored = places[list(SWAPPED)] * (-1, 1)
        for each, score in ((places, scores[LEFT_SHOULDER]), (mirrored, scores[SWAPPED[LEFT_SHOULDER]])):
            if score >= LEAST_LABEL_SCORE:
                faces.append(each[~IS_SHOULDER].ravel())
                shoulders.append(each[LEFT_SHOULDER])
    width = 2 * int((~IS_SHOULDER).sum())
    return ShoulderLabels(faces=np.array(faces).reshape(-1, width), shoulders=np.array(shoulders).reshape(-1, 2))


def least_distance_fit(features: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights (F, 2) for which `features @ weights` has the least mean distance from the places.

    features: (N, F), places: (N, 2). Least squares, weighted again by what they leave (Weiszfeld 1937): wrong labels pull no
    harder than others.
    """
    weights: NDArray[np.float64] = np.linalg.lstsq(features, places, rcond=None)[0].astype(np.float64)
    for _ in range(ROUNDS):
        left = np.linalg.norm(features @ weights - places, axis=1)
        pull = 1 / np.sqrt(np.maximum(left, LEAST_DISTANCE))[:, None]
        weights = np.linalg.lstsq(pull * features, pull * places, rcond=None)[0].astype(np.float64)
    return weights


def _nothing(labels: ShoulderLabels) -> NDArray[np.float64]:
    return np.ones((len(labels), 1))


def _other_labels(labels: ShoulderLabels) -> NDArray[np.float64]:
    return np.concatenate((np.ones((len(labels), 1)), labels.faces), 1)


BASELINES: dict[str, Callable[[ShoulderLabels], NDArray[np.float64]]] = {
    "shoulders, one place for all": _nothing,
    "shoulders, from the labels of eyes, nose and ears": _other_labels,
}
"""Name -> what the shoulder is guessed from, (shoulders, values)."""


def guess_distances(folder: LabelledFolder) -> dict[str, Distances]:
    """How far each baseline's guesses lie from the known shoulders of the held-back faces; nothing where there are too few."""
    training = known_shoulders(folder, range(folder.training))
    held_back = known_shoulders(folder, range(folder.training, len(folder)))
    if len(training) < LEAST_TRAINING_SHOULDERS or not len(held_back):
        return {}
    distances = {}
    for name, features in BASELINES.items():
        weights = least_distance_fit(features(training), training.shoulders)
        distances[name] = np.linalg.norm(features(held_back) @ weights - held_back.shoulders, axis=1)
    return distances

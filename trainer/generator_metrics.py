"""What makes a hidden face a good one, measured on a few faces at a time: arrays in, numbers out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import geometry
from models.detectors import CenterFaceDetector, FaceDetector, RgbImage, image_render
from models.faces import KEYPOINT_NAMES, Faces
from models.geometry import Mask
from models.recognition import Embeddings
from trainer.detection_metrics import box_overlaps
from trainer.frechet import Features
from trainer.methods import EvaluationFace, HiddenFace

DETECTION_SCORE = 0.5
LEAST_OVERLAP = 0.5
"""Intersection over union with the box found in the original from which a face counts as found."""
DETECTION_SIDE = 256
"""Pictures are enlarged to this side, faces then being about 130 pixels wide, before the detector looks at them."""
KEYPOINT_CROP_PX = 64
KEYPOINT_THRESHOLD = 0.3

KEYPOINT_GROUPS: dict[str, tuple[int, ...]] = {
    "eyes and nose": tuple(KEYPOINT_NAMES.index(name) for name in ("nose", "left_eye", "right_eye")),
    "ears": tuple(KEYPOINT_NAMES.index(name) for name in ("left_ear", "right_ear")),
    "shoulders": tuple(KEYPOINT_NAMES.index(name) for name in ("left_shoulder", "right_shoulder")),
}

KeypointFinder = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""(B, 64, 64, 3) crops as the generator gets them -> points (B, 7, 2) relative to the crop, scores (B, 7)."""


def open_face_detector() -> FaceDetector:
    """The detector by which rates are measured. Raises WeightsError."""
    return CenterFaceDetector(size=DETECTION_SIDE, threshold=DETECTION_SCORE)


def find_faces(detector: FaceDetector, picture: RgbImage) -> Faces:
    """All faces of a picture with at least DETECTION_SCORE."""
    return detector.detect(image_render(picture), (picture.shape[1], picture.shape[0]))


def best_match(faces: Faces, box: NDArray[np.float32]) -> Faces | None:
    """The one found face that overlaps `box` most; None where none overlaps it by LEAST_OVERLAP."""
    if not len(faces):
        return None
    overlaps = box_overlaps(faces.boxes, box[None])[:, 0]
    return faces[np.array([overlaps.argmax()])] if overlaps.max() >= LEAST_OVERLAP else None


def keypoint_errors(faces: Sequence[EvaluationFace], hidden: Sequence[HiddenFace], find: KeypointFinder) -> NDArray[np.float32]:
    """Distance between requested and found keypoints in longer sides of the face box, (B, 7).

    Not a number where none was requested, infinite where one was requested and none is found.
    """
    crops = np.stack([geometry.resize(face.crop, KEYPOINT_CROP_PX) for face in hidden])
    points, scores = find(crops)
    return _distances(faces, points, scores >= KEYPOINT_THRESHOLD)


def detector_keypoint_errors(faces: Sequence[EvaluationFace], found: Sequence[Faces | None]) -> NDArray[np.float32]:
    """The same by what the detector says, which is another network trained on other labels, (B, 3): nose and eyes.

    found: of each face what the detector takes for it, None where it finds none.
    """
    points = np.zeros((len(faces), len(KEYPOINT_NAMES), 2), np.float32)
    is_found = np.zeros((len(faces), len(KEYPOINT_NAMES)), np.bool_)
    for row, (face, match) in enumerate(zip(faces, found, strict=True)):
        if match is not None:
            corner = np.array([face.crop.left, face.crop.top], np.float32)
            points[row] = (match.keypoints[0] - corner) / np.float32(face.crop.side)
            is_found[row] = match.keypoint_scores[0] > 0
    return _distances(faces, points, is_found)[:, KEYPOINT_GROUPS["eyes and nose"]]


def _distances(faces: Sequence[EvaluationFace], points: NDArray[np.float32], is_found: NDArray[np.bool_]) -> NDArray[np.float32]:
    """points: (B, 7, 2) relative to the crop, is_found: (B, 7). Returns what `keypoint_errors` does."""
    requested = np.stack([face.keypoints for face in faces]).reshape(len(faces), -1, 2)
    scale = np.array([face.crop.side / face.longer_side for face in faces], np.float32)
    errors = np.where(is_found, np.linalg.norm(points - requested, axis=2) * scale[:, None], np.float32(np.inf))
    is_requested = (requested != geometry.ABSENT).any(2)
    return np.where(is_requested, errors, np.float32(np.nan)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class KeypointFigures:
    """How well the found keypoints of one group agree with the requested ones."""

    median_error: float | None
    """Of those found, in longer sides of the face box; None where none was found."""
    found: float | None
    """Share of the requested ones that was found; None where none was requested."""
    requested: int


def keypoint_figures(errors: NDArray[np.float32]) -> dict[str, KeypointFigures]:
    """The figures of each group; errors: (faces, 7) of `keypoint_errors`."""
    return {group: figures_of(errors[:, columns]) for group, columns in KEYPOINT_GROUPS.items()}


def figures_of(errors: NDArray[np.float32]) -> KeypointFigures:
    """The figures of all these errors together; any shape, values as those of `keypoint_errors`."""
    requested = errors[~np.isnan(errors)]
    found = requested[np.isfinite(requested)]
    return KeypointFigures(
        median_error=float(np.median(found)) if len(found) else None,
        found=len(found) / len(requested) if len(requested) else None,
        requested=len(requested),
    )


def edge_step(picture: RgbImage, replaced: Mask) -> float:
    """Mean difference of neighbouring pixels of which one is replaced and the other is not, in levels; 0 where there are none."""
    values = picture.astype(np.float32)
    total, count = 0.0, 0
    for axis in (0, 1):
        is_edge = np.diff(replaced.astype(np.int8), axis=axis) != 0
        steps = np.abs(np.diff(values, axis=axis)).mean(2)
        total += float(steps[is_edge].sum())
        count += int(is_edge.sum())
    return total / max(count, 1)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far apart the faces are that one condition gives with different noise, as means over pairs and faces.

    pixel_levels: absolute difference of the hidden pixels, 0 to 255. features: distance of the features, as a part of that between
    the originals of two faces of the set. embeddings: distance for the recogniser; other_person: share of the pairs that it takes
    for two people. None where nothing recognises faces.
    """

    faces: int
    draws: int
    pixel_levels: float
    features: float
    embeddings: float | None
    other_person: float | None


def pixel_spread(face: EvaluationFace, pictures: Sequence[RgbImage]) -> float:
    """Mean absolute difference of the hidden pixels of each two pictures of one face, in levels."""
    hidden = face.hidden_pixels()
    values = [picture[hidden].astype(np.float32) for picture in pictures]
    return float(np.mean([np.abs(one - other).mean() for one, other in itertools.combinations(values, 2)]))


def distances_between(rows: Features | Embeddings) -> list[float]:
    """The distance of each two rows."""
    return [float(np.linalg.norm(one - other)) for one, other in itertools.combinations(rows, 2)]

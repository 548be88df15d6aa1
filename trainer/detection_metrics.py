"""How well detected boxes agree with annotated ones: average precision, recall and false positives, as WIDER FACE defines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.faces import Boxes, Scores

Flags = NDArray[np.bool_]  # (faces,)

NOTHING, IGNORED = -1, -2
"""What a detection hit, where it is not the row of an annotated face that counts."""


@dataclass(frozen=True, kw_only=True)
class PictureResult:
    """The annotated faces of one picture and what a detector found there; boxes in pixels of the picture."""

    annotated: Boxes
    boxes: Boxes
    scores: Scores


@dataclass(frozen=True, kw_only=True)
class SubsetFigures:
    """A detector on one subset of the annotated faces."""

    faces: int
    average_precision: float
    """Area under the precision-recall curve over all detections, whatever their score."""
    recall: float
    """Part of the faces found with at least the threshold's score."""
    precision: float
    """Part of the detections with at least the threshold's score that are faces; 1 where there are none."""


def box_overlaps(boxes: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Intersection over union of each of (m, 4) with each of (n, 4): (m, n)."""
    corner = np.maximum(boxes[:, None, :2], others[None, :, :2])
    opposite = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.maximum(opposite - corner, 0), axis=2)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)[:, None] + np.prod(others[:, 2:] - others[:, :2], axis=1)[None]
    overlaps: NDArray[np.float32] = (shared / np.maximum(areas - shared, 1e-9)).astype(np.float32)
    return overlaps


def match(result: PictureResult, counted: Flags, min_overlap: float) -> NDArray[np.intp]:
    """What each detection hit: the row of an annotated face, NOTHING, or IGNORED for a face that does not count.

    A detection belongs to the annotated face that it overlaps most, if by at least `min_overlap`. Of several detections of one
    face the best counts, the others hit nothing.
    """
    hits = np.full(len(result.boxes), NOTHING, np.intp)
    if not len(result.annotated):
        return hits
    overlaps = box_overlaps(result.boxes, result.annotated)
    taken: set[int] = set()
    for row in np.argsort(-result.scores, kind="stable"):
        face = int(overlaps[row].argmax())
        if overlaps[row, face] < min_overlap:
            continue
        if not counted[face]:
            hits[row] = IGNORED
        elif face not in taken:
            taken.add(face)
            hits[row] = face
    return hits


def measure(
    results: Sequence[PictureResult], counted: Sequence[Flags], *, threshold: float, min_overlap: float = 0.5
) -> SubsetFigures:
    """The figures of a detector on the faces that count; detections of other annotated faces are neither right nor wrong."""
    scores: list[NDArray[np.float32]] = []
    right: list[Flags] = []
    for result, flags in zip(results, counted, strict=True):
        hits = match(result, flags, min_overlap)
        scores.append(result.scores[hits != IGNORED])
        right.append(hits[hits != IGNORED] >= 0)
    all_scores, all_right = np.concatenate(scores), np.concatenate(right)
    faces = int(sum(flags.sum() for flags in counted))
    is_accepted = all_scores >= threshold
    accepted, found = int(is_accepted.sum()), int(all_right[is_accepted].sum())
    return SubsetFigures(
        faces=faces,
        average_precision=average_precision(all_scores, all_right, faces),
        recall=found / max(faces, 1),
        precision=found / accepted if accepted else 1.0,
    )


def average_precision(scores: Scores, right: Flags, faces: int) -> float:
    """Area under the precision-recall curve whose precision is made to fall monotonically, every detection being a point."""
    if not faces or not len(scores):
        return 0.0
    found = np.cumsum(right[np.argsort(-scores, kind="stable")])
    precision = found / np.arange(1, len(found) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(found / faces, prepend=0.0)
    return float((envelope * steps).sum())


def found_faces(result: PictureResult, *, threshold: float, min_overlap: float = 0.5) -> Flags:
    """Which annotated faces some detection with at least the threshold's score hits."""
    found = np.zeros(len(result.annotated), np.bool_)
    hits = match(result, np.ones(len(result.annotated), np.bool_), min_overlap)
    found[hits[(hits >= 0) & (result.scores >= threshold)]] = True
    return found

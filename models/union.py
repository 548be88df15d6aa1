"""One set of faces out of several looks at the same picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.detectors import CONTAINED, MAX_OVERLAP, box_areas, shared_areas
from models.faces import Boxes, Faces, concatenate

Areas = NDArray[np.float32]  # of boxes, square pixels

FRAGMENT = 0.8
"""Part of a box from which it counts as a fragment of a larger one."""


def unite(*looks: Faces) -> Faces:
    """The faces of all looks, best first, each once; all in pixels of the same picture.

    Where boxes overlap by more than MAX_OVERLAP, the best score stands for all of them, and a box that lies in a larger one counts
    as a fragment of it. A box grows over what it stands for where that sticks out: nine tenths at least of whatever any look has
    found are in the boxes.
    """
    faces = concatenate(*looks)
    faces = _gathered(faces, np.argsort(-faces.scores, kind="stable"), _is_same, bare_below=CONTAINED)
    faces = _gathered(faces, np.argsort(-box_areas(faces.boxes), kind="stable"), _is_fragment, bare_below=1)
    return faces[np.argsort(-faces.scores, kind="stable")]


def _is_same(shared: Areas, area: Areas, areas: Areas) -> NDArray[np.bool_]:
    return shared > MAX_OVERLAP * (area + areas - shared)


def _is_fragment(shared: Areas, area: Areas, areas: Areas) -> NDArray[np.bool_]:
    return shared >= FRAGMENT * areas


def _gathered(
    faces: Faces, order: NDArray[np.intp], belongs: Callable[[Areas, Areas, Areas], NDArray[np.bool_]], bare_below: float
) -> Faces:
    """In this order, each face takes in those behind it that belong to it.

    belongs: is told the area that two boxes share, that of the one in front, and that of the one behind.
    bare_below: part of a box that is taken in, over which the box in front grows if it holds less of it.
    """
    areas, boxes = box_areas(faces.boxes), faces.boxes.copy()
    kept = []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(first)
        shared = shared_areas(faces.boxes[first], faces.boxes[rest])
        is_taken = belongs(shared, areas[first], areas[rest])
        is_bare = is_taken & (shared < bare_below * areas[rest])
        boxes[first] = _around(faces.boxes[[first, *rest[is_bare]]])
        order = rest[~is_taken]
    return replace(faces, boxes=boxes)[np.array(kept, np.intp)]


def _around(boxes: Boxes) -> Boxes:
    """The box, (4,), around several."""
    return np.concatenate((boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)))

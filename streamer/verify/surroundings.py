"""What encoding changed far from every face, so that it is not taken for hiding."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.faces import Boxes
from streamer.verify.detail import CELL_PX, LEAST_TEXTURE, Luma, Plane, detail, sampled

LEAST_TOLERANCE, MOST_TOLERANCE = 4.0, 12.0
"""Bounds of the change, in levels of 255, that is put down to encoding."""
SURROUNDINGS = 0.75
"""Growth of the boxes, as a part of their size, outside which the picture tells how much encoding changes."""
_FEWEST_SURROUNDING_SAMPLES = 200

NEIGHBOURHOOD = 2.0
"""Growth of a face's box, as a part of its size, within which the surroundings tell what encoding kept."""
LEAST_KEPT = 0.55
"""The surroundings excuse no more than this: if they were changed on purpose, they say nothing of encoding."""
_FEWEST_BLOCKS = 8


def encoding_noise(original: Luma, anonymized: Luma, boxes: Boxes) -> float:
    """The change up to which a pixel counts as unchanged: what 95 % of the pixels far from every face stay below.

    boxes: of all faces. Bounded, because a picture that was changed as a whole is no excuse; the lower bound where faces fill it.
    """
    step = 2
    change = cv2.absdiff(np.ascontiguousarray(original[::step, ::step]), np.ascontiguousarray(anonymized[::step, ::step]))
    outside = np.ones(change.shape, np.bool_)
    for x1, y1, x2, y2 in boxes:
        across, down = SURROUNDINGS * (x2 - x1), SURROUNDINGS * (y2 - y1)
        left, top, right, bottom = (max(0, int(edge / step)) for edge in (x1 - across, y1 - down, x2 + across, y2 + down))
        outside[top : bottom + 1, left : right + 1] = False
    changes = change[outside]
    if changes.size < _FEWEST_SURROUNDING_SAMPLES:
        return LEAST_TOLERANCE
    return float(np.clip(np.percentile(changes, 95), LEAST_TOLERANCE, MOST_TOLERANCE))


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What encoding leaves of detail that was not hidden."""

    correlation: float
    gain: float


def kept_around(original: Luma, anonymized: Luma, boxes: Boxes, row: int, face_px: float) -> Kept:
    """Of the blocks with texture around a face and away from all faces: the medians, within bounds; all where there are too few."""
    x1, y1, x2, y2 = (float(edge) for edge in boxes[row])
    reach_x, reach_y = NEIGHBOURHOOD * (x2 - x1), NEIGHBOURHOOD * (y2 - y1)
    left, top = max(0, int(x1 - reach_x)), max(0, int(y1 - reach_y))
    right, bottom = min(original.shape[1], int(x2 + reach_x)), min(original.shape[0], int(y2 + reach_y))
    scale = face_px / (x2 - x1)
    columns, rows = (int((stop - start) * scale) // CELL_PX for start, stop in ((left, right), (top, bottom)))
    if columns < 1 or rows < 1:
        return Kept(correlation=1.0, gain=1.0)
    size = columns * CELL_PX, rows * CELL_PX
    before, after = (detail(sampled(luma, (left, top, right, bottom), size), face_px) for luma in (original, anonymized))
    power, remaining, shared = (_block_means(plane, columns, rows) for plane in (before * before, after * after, before * after))
    is_judged = (power > LEAST_TEXTURE**2) & (remaining > 0)
    for near in boxes:
        across, down = SURROUNDINGS * (near[2] - near[0]), SURROUNDINGS * (near[3] - near[1])
        step_x, step_y = (right - left) / columns, (bottom - top) / rows
        first, last = (int((edge - left) / step_x) for edge in (near[0] - across, near[2] + across))
        upper, lower = (int((edge - top) / step_y) for edge in (near[1] - down, near[3] + down))
        is_judged[max(0, upper) : max(0, lower + 1), max(0, first) : max(0, last + 1)] = False
    if is_judged.sum() < _FEWEST_BLOCKS:
        return Kept(correlation=1.0, gain=1.0)
    gains = shared[is_judged] / power[is_judged]
    correlations = shared[is_judged] / np.sqrt(power[is_judged] * remaining[is_judged])
    medians = (float(np.clip(np.median(values), LEAST_KEPT, 1.0)) for values in (correlations, gains))
    return Kept(correlation=next(medians), gain=next(medians))


def _block_means(values: Plane, columns: int, rows: int) -> NDArray[np.float64]:
    """(rows, columns)"""
    blocks = values.reshape(rows, CELL_PX, columns, CELL_PX)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float64))

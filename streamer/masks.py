"""From a face box to the pixels that have to change: where, and how strongly each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors import Region, Size
from models.faces import KEYPOINT_NAMES, Boxes

Alpha = NDArray[np.uint8]  # (height, width): 255 = masked, 0 = untouched, between = soft edge

USUAL_ASPECT = 1.35
"""Height of a face box by its width."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceMask:
    """One face that has to be hidden.

    box: the face as it was found, x1 y1 x2 y2 in pixels; may reach out of the frame.
    face_size: width and height in pixels of the whole face, also where the border of the frame hides a part of it.
    core: the smallest box of whole pixels that holds every masked one; may reach out of the frame.
    region: the pixels that may change, inside the frame, aligned to whole chroma samples.
    extent: what `region` would be without the border of the frame.
    alpha: weights of the fill over `region`.
    track: whose face it is, where that is known.
    keypoints, keypoint_scores: (7, 2) pixels and (7,), as in `models.faces.Faces`; all absent where nobody looked for them.
    best_score: the detector's for this face, in any frame so far. time_s: of the picture in its stream; None for photos.
    is_seen: whether it was found in this very picture.
    """

    box: tuple[float, float, float, float]
    face_size: tuple[float, float]
    region: Region
    extent: Region
    core: Region
    alpha: Alpha
    track: int = 0
    best_score: float = 1.0
    time_s: float | None = None
    is_seen: bool = True
    keypoints: NDArray[np.float32] = field(default_factory=lambda: np.zeros((len(KEYPOINT_NAMES), 2), np.float32))
    keypoint_scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(len(KEYPOINT_NAMES), np.float32))


def face_mask(
    box: Boxes,
    frame_size: Size,
    *,
    shape: Literal["ellipse", "box"],
    margin: float,
    soft_edge: float,
    steps: tuple[int, int] = (1, 1),
) -> FaceMask | None:
    """The mask over one face: box (4,); None where the grown box lies outside the frame.

    The box is grown by `margin` of its width and height on each side and rounded outwards to whole pixels. `box` masks exactly
    those pixels, `ellipse` the ellipse through the corners of that box: both hold every pixel that the grown box touches. Around
    it the weight falls to 0 over about `soft_edge` face widths. steps: pixels per chroma sample across and down.
    Raises ValueError if the box is empty or not finite.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    if not (math.isfinite(x1 + y1 + x2 + y2) and x2 > x1 and y2 > y1):
        raise ValueError(f"a face box must be finite and not empty, is {x1, y1, x2, y2}")
    grow_x, grow_y = margin * (x2 - x1), margin * (y2 - y1)
    grown = (math.floor(x1 - grow_x), math.floor(y1 - grow_y), math.ceil(x2 + grow_x), math.ceil(y2 + grow_y))
    if grown[2] <= 0 or grown[3] <= 0 or grown[0] >= frame_size[0] or grown[1] >= frame_size[1]:
        return None
    edge_px = soft_edge * (x2 - x1)
    extent = _ellipse_extent(grown, edge_px) if shape == "ellipse" else _box_extent(grown, edge_px)
    region = _aligned_outwards(extent, frame_size, steps)
    alpha = _ellipse_alpha(grown, region, edge_px) if shape == "ellipse" else _box_alpha(grown, region, edge_px)
    face_size = _whole_size((x1, y1, x2, y2), frame_size)
    core = _ellipse_extent(grown, 0.0) if shape == "ellipse" else grown
    return FaceMask(box=(x1, y1, x2, y2), face_size=face_size, region=region, extent=extent, core=core, alpha=alpha)


def region_size(face: FaceMask) -> Size:
    """Width and height of the pixels that may change."""
    x1, y1, x2, y2 = face.region
    return x2 - x1, y2 - y1


def chroma_alpha(alpha: Alpha, steps: tuple[int, int]) -> Alpha:
    """The weights of the chroma samples: each has the greatest weight of its pixels, so that no masked one keeps its colour."""
    x_step, y_step = steps
    if y_step == 2:
        alpha = cast("Alpha", cv2.max(alpha[0::2], alpha[1::2]))
    if x_step == 2:
        alpha = np.maximum(alpha[:, 0::2], alpha[:, 1::2])
    return alpha


def _whole_size(box: tuple[float, float, float, float], frame_size: Size) -> tuple[float, float]:
    """Width and height of the face of which the box is what the frame shows.

    A face on its way out of the frame has a box that gets ever narrower. What is measured in face widths, such as the kernel of
    a blur, must not get weaker with it: where the border cuts a face, the shorter side is what the longer one makes likely.
    """
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    if x1 <= 0 or x2 >= frame_size[0]:
        width = max(width, height / USUAL_ASPECT)
    if y1 <= 0 or y2 >= frame_size[1]:
        height = max(height, width * USUAL_ASPECT)
    return width, height


def _box_extent(grown: Region, edge_px: float) -> Region:
    edge = math.ceil(edge_px)
    return grown[0] - edge, grown[1] - edge, grown[2] + edge, grown[3] + edge


def _ellipse_extent(grown: Region, edge_px: float) -> Region:
    centre_x, centre_y, a, b, scale = _ellipse(grown, edge_px)
    a, b = a * scale, b * scale
    return math.floor(centre_x - a), math.floor(centre_y - b), math.ceil(centre_x + a), math.ceil(centre_y + b)


def _ellipse(grown: Region, edge_px: float) -> tuple[float, float, float, float, float]:
    """Centre, half axes of the ellipse through the corners of a box, and how much larger the one is where the soft edge ends."""
    x1, y1, x2, y2 = grown
    a, b = (x2 - x1) / math.sqrt(2), (y2 - y1) / math.sqrt(2)
    return (x1 + x2) / 2, (y1 + y2) / 2, a, b, 1 + edge_px / ((a + b) / 2)


def _aligned_outwards(extent: Region, frame_size: Size, steps: tuple[int, int]) -> Region:
    x_step, y_step = steps
    return (
        max(0, extent[0]) // x_step * x_step,
        max(0, extent[1]) // y_step * y_step,
        -(-min(frame_size[0], extent[2]) // x_step) * x_step,
        -(-min(frame_size[1], extent[3]) // y_step) * y_step,
    )


def _box_alpha(grown: Region, region: Region, edge_px: float) -> Alpha:
    columns = _ramp(region[0], region[2], grown[0], grown[2], edge_px)
    rows = _ramp(region[1], region[3], grown[1], grown[3], edge_px)
    alpha = np.empty((len(rows), len(columns)), np.uint8)
    # Most rows are whole: they need no product.
    alpha[:] = np.rint(255 * columns).astype(np.uint8)
    soft = rows < 1
    alpha[soft] = np.rint(np.outer(255 * rows[soft], columns)).astype(np.uint8)
    return alpha


def _ramp(start: int, stop: int, low: int, high: int, edge_px: float) -> NDArray[np.float32]:
    """1 for the pixels from low to high, falling to 0 over `edge_px` on both sides."""
    centres = np.arange(start, stop) + 0.5
    outside = np.maximum(np.maximum(low - centres, centres - high), 0)
    weights = np.clip(1 - outside / edge_px, 0, 1) if edge_px > 1e-3 else outside == 0
    return np.asarray(weights, np.float32)


def _ellipse_alpha(grown: Region, region: Region, edge_px: float) -> Alpha:
    """From the squared distance in half axes: 255 up to 1, falling to 0 at the square of the outer ellipse's scale."""
    centre_x, centre_y, a, b, scale = _ellipse(grown, edge_px)
    columns = ((np.arange(region[0], region[2]) + 0.5 - centre_x) / a) ** 2
    rows = ((np.arange(region[1], region[3]) + 0.5 - centre_y) / b) ** 2
    if scale**2 - 1 < 1e-4:
        return np.where(columns[np.newaxis] + rows[:, np.newaxis] <= 1, np.uint8(255), np.uint8(0))
    slope = 255 / (scale**2 - 1)
    weights = (255 + slope * (1 - columns)).astype(np.float32)[np.newaxis] - (slope * rows).astype(np.float32)[:, np.newaxis]
    weights += 0.5
    return np.clip(weights, 0, 255, out=weights).astype(np.uint8)

"""How grainy and how sharp a picture is, and grain and sharpness for what is painted into it.

parts of the picture around a face -> measure -> Texture -> matched (the painted crop) and Grain.over (what is added to it)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors import RgbImage, Size

Luma = NDArray[np.float32]  # (height, width), levels 0 to 255

FINE_PX, COARSE_PX = 0.8, 1.6
"""Sigmas that bound the two bands of grain: from single pixels to the first, and from there to the second. The grain of a camera
lies in the first; scaling and encoding leave more of the second."""
BLOCK_PX = 8
CALM_PART = 0.1
"""Grain is what the calmest tenth of the blocks have: the others may have texture of their own."""
LEAST_GRAIN = 0.6
"""Levels of 255, under which there is none to be seen: rounding alone makes 0.3."""
EDGE_PX = 1.0, 2.0
"""How much an edge loses from the first to the second of these sigmas tells how sharp it was."""
SLOPE_VARIANCE = 0.5
"""Square pixels of blur that taking the slope itself adds."""
LEAST_EDGE, EDGE_TO_GRAIN = 3.0, 2.5
"""Levels a pixel at the first sigma from which a slope is an edge: the first, and so many times the grain."""
RIDGE = 0.8
"""And no slope counts beside one that is steeper by more than this: the foot of an edge says nothing."""
FEWEST_EDGES, FEWEST_PARTS = 40, 3
"""Pixels of a part, and parts with so many, under which nothing is said of sharpness."""
SHARPEST_PART = 0.25
SOFTEST_PX = 8.0
LEAST_SOFTENING = 0.4
"""Pixels of the crop: a smaller sigma changes nothing that can be seen."""
PIXEL_SOFTNESS_PX = 0.7
"""Pixels of the picture: what a pixel's own size does to the sharpest edge."""
SHARPENING, SHARPENING_PX = 0.4, 1.2
"""Part of what lies above a sigma, pixels of the crop, that is added at most: more would show as bright and dark seams."""
LEAST_LACK, FULL_LACK = 2.0, 6.0
"""How many times softer than the picture a painted crop must be to be sharpened at all, and as much as possible."""
GRAIN_TILE_PX = 256
"""Grain is taken from anywhere in a square of it."""


@dataclass(frozen=True, kw_only=True)
class Texture:
    """What the eye notices where a painted face lacks it.

    fine, coarse: standard deviations of both bands of grain, levels of 255. softness_px: sigma of the blur of sharp edges, pixels
    of the picture; None where there are too few edges to tell.
    """

    fine: float
    coarse: float
    softness_px: float | None

    @property
    def is_grainy(self) -> bool:
        return max(self.fine, self.coarse) >= LEAST_GRAIN


def measure(parts: Sequence[RgbImage]) -> Texture | None:
    """The texture of parts of one picture, each (height, width, 3) at the picture's resolution; None where all are tiny.

    Robust against what is in them: the calmest blocks tell the grain, the sharper parts the sharpness.
    """
    lumas = [cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32) for part in parts if min(part.shape[:2]) >= BLOCK_PX]
    if not lumas:
        return None
    bands = [_bands(luma) for luma in lumas]
    fine, coarse = (_calmest([band[row] for band in bands]) for row in (0, 1))
    return Texture(fine=fine, coarse=coarse, softness_px=_softness(lumas, fine))


def _bands(luma: Luma) -> tuple[Luma, Luma]:
    fine, coarse = (cv2.GaussianBlur(luma, (0, 0), sigma) for sigma in (FINE_PX, COARSE_PX))
    return np.asarray(luma - fine, np.float32), np.asarray(fine - coarse, np.float32)


def _calmest(bands: Sequence[Luma]) -> float:
    """Root mean square of a band in the blocks in which it is small."""
    powers = []
    for band in bands:
        rows, columns = (side // BLOCK_PX for side in band.shape)
        blocks = cv2.resize(band[: rows * BLOCK_PX, : columns * BLOCK_PX] ** 2, (columns, rows), interpolation=cv2.INTER_AREA)
        powers.append(blocks.ravel())
    return math.sqrt(float(np.quantile(np.concatenate(powers), CALM_PART)))


def _softness(lumas: Sequence[Luma], grain: float) -> float | None:
    """Of the parts with edges, the lower quartile: what is behind a face may be out of focus while the face is not."""
    softness = [one for luma in lumas if (one := _edge_softness(luma, grain)) is not None]
    return float(np.quantile(softness, SHARPEST_PART)) if len(softness) >= FEWEST_PARTS else None


def _edge_softness(luma: Luma, grain: float) -> float | None:
    """The median over the edges of a part, pixels: a slope blurred by s falls as 1 / sqrt(s^2 + sigma^2) when blurred by sigma."""
    first, second = EDGE_PX
    near, far = (_slope(np.asarray(cv2.GaussianBlur(luma, (0, 0), sigma), np.float32)) for sigma in EDGE_PX)
    steepest = cv2.dilate(near, np.ones((5, 5), np.uint8))
    is_edge = (near > max(LEAST_EDGE, EDGE_TO_GRAIN * grain)) & (near > RIDGE * steepest)
    if is_edge.sum() < FEWEST_EDGES:
        return None
    ratio = float(np.median(near[is_edge] / np.maximum(far[is_edge], 1e-3))) ** 2
    if ratio <= 1:
        return SOFTEST_PX
    variance = (second**2 - ratio * first**2) / (ratio - 1) - SLOPE_VARIANCE
    return min(math.sqrt(max(variance, 0.0)), SOFTEST_PX)


def _slope(luma: Luma) -> Luma:
    """Levels a pixel."""
    across, down = (cv2.Sobel(luma, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return np.asarray(cv2.magnitude(across, down), np.float32)


def matched(painted: RgbImage, texture: Texture, scale: float, own_softness_px: float) -> RgbImage:
    """A painted crop as soft as the picture around it, or sharpened where it is much softer; (R, R, 3).

    scale: pixels of the picture to one of the crop. own_softness_px: sigma of the sharp edges of a painted crop, in its pixels.
    """
    if texture.softness_px is None:
        return painted
    wanted_px = texture.softness_px / scale
    missing = wanted_px**2 - own_softness_px**2
    if missing >= LEAST_SOFTENING**2:
        return np.asarray(cv2.GaussianBlur(painted, (0, 0), math.sqrt(missing)), np.uint8)
    lack = own_softness_px / math.hypot(wanted_px, PIXEL_SOFTNESS_PX / scale)
    amount = SHARPENING * min(max((lack - LEAST_LACK) / (FULL_LACK - LEAST_LACK), 0.0), 1.0)
    if amount == 0:
        return painted
    soft = cv2.GaussianBlur(painted, (0, 0), SHARPENING_PX)
    return np.asarray(cv2.addWeighted(painted, 1 + amount, soft, -amount, 0), np.uint8)


class Grain:
    """Grain that has nothing to do with any picture: both bands, each of standard deviation 1, from a seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.Generator(np.random.PCG64(seed))
        whites = (rng.standard_normal((GRAIN_TILE_PX, GRAIN_TILE_PX), np.float32) for _ in range(2))
        fine, coarse = (_bands(white)[row] for row, white in enumerate(whites))
        self._tiles = [band / band.std() for band in (fine, coarse)]

    def over(self, size: Size, texture: Texture, seed: int) -> Luma:
        """Grain for a region of width and height, levels of 255; another seed, other grain.

        A larger region than the tile is tiled with it, which nobody sees in grain.
        """
        x, y = seed % GRAIN_TILE_PX, seed // GRAIN_TILE_PX % GRAIN_TILE_PX
        columns, rows = (np.arange(start, start + side) % GRAIN_TILE_PX for start, side in zip((x, y), size, strict=True))
        fine, coarse = (tile[rows[:, None], columns] for tile in self._tiles)
        return np.asarray(texture.fine * fine + texture.coarse * coarse, np.float32)

"""The classic ways to hide a face, as in table 1 of DeepPrivacy (Hukkelås et al. 2019): pixels in, pixels of the same shape out.

What is hidden is given as the region around the face, (height, width, 3) of any unsigned type, and the size of the whole face.
Serving offers them as filters, and what trains generators measures itself against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

Pixels = TypeVar("Pixels", bound=NDArray[np.unsignedinteger])

SMALLEST_CELL_PX = 3
"""A cell or a mean stands for at least this many pixels across and down; with fewer it would be the picture itself."""


def filled(height: int, width: int, color: Sequence[int], dtype: DTypeLike) -> NDArray[np.unsignedinteger]:
    """One colour: R G B."""
    # Repeating a row takes a fortieth of the time of repeating a colour.
    return np.repeat(np.full((1, width, 3), color, dtype), height, axis=0)


def pixelate(region: Pixels, face_size: tuple[float, float], cells: int) -> Pixels:
    """The region shrunk to the samples that `cells_of` gives, and enlarged again, both bilinearly."""
    height, width = region.shape[:2]
    few = cv2.resize(region, cells_of((width, height), face_size, cells))
    return cast("Pixels", cv2.resize(few, (width, height)))


def cells_of(size: tuple[int, int], face_size: tuple[float, float], cells: int) -> tuple[int, int]:
    """Samples across and down a region of this size, for `cells` across and down the face.

    For a region that is the face's own box these are cells x cells, exactly the published baseline; a larger region has as many
    more as it is larger. Fewer where a cell would be less than SMALLEST_CELL_PX wide or high, since then the face would come back
    as it was. The region must be at least SMALLEST_CELL_PX wide and high.
    """
    across, down = (_cell_count(cells * side / face_side, side) for side, face_side in zip(size, face_size, strict=True))
    return across, down


def blur(region: Pixels) -> Pixels:
    """A Gaussian of 9 x 9 pixels, sigma 3, over the region alone; hides little of a large face."""
    return cast("Pixels", cv2.GaussianBlur(region, (9, 9), 3))


def heavy_blur(region: Pixels, face_width: float) -> Pixels:
    """The mean over a square of 30 % of the face's width, over the region alone.

    Under 10 pixels face width that square would have less than SMALLEST_CELL_PX: the result is the mean of the whole region.
    """
    kernel = max(1, int(0.3 * face_width))
    if kernel < SMALLEST_CELL_PX:
        height, width = region.shape[:2]
        return cast("Pixels", filled(height, width, [round(mean) for mean in cv2.mean(region)[:3]], region.dtype))
    return cast("Pixels", cv2.blur(region, (kernel, kernel)))


def _cell_count(wanted: float, pixels: int) -> int:
    return max(1, min(round(wanted), pixels // SMALLEST_CELL_PX))

"""Fine detail of a picture: what lies between skin tone and noise."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]  # (height, width)
Plane = NDArray[np.float32]  # (rows, columns) of the grid

CELL_PX = 8
"""Least width of a part of a picture whose detail is compared."""
FINE, LEAST_FINE_PX, COARSE = 0.0125, 0.5, 2.5
"""The detail: a Gaussian of sigma FINE face widths less one that is COARSE times as wide, most sensitive to 8 waves a face."""
LEAST_TEXTURE = 2.0
"""Root mean square of a cell's detail, in levels of 255, under which there is nothing that could be recognised."""


def detail(plane: Plane, face_px: float) -> Plane:
    """The detail by which a face of this width would be known. face_px: in samples of the plane."""
    fine_px = max(LEAST_FINE_PX, FINE * face_px)
    difference = cv2.GaussianBlur(plane, (0, 0), fine_px) - cv2.GaussianBlur(plane, (0, 0), COARSE * fine_px)
    return cast("Plane", difference)


def sampled(luma: Luma, region: tuple[int, int, int, int], size: tuple[int, int]) -> Plane:
    """A part of a picture, x1 y1 x2 y2, at a size of columns and rows, the mean of areas where it shrinks."""
    x1, y1, x2, y2 = region
    return cast("Plane", cv2.resize(luma[y1:y2, x1:x2], size, interpolation=cv2.INTER_AREA).astype(np.float32))

"""Stored pictures are set upright the way players do it."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from models.orientation import EXIF_ORIENTATIONS, Orientation, orientation_of_display_matrix

ONE = 1 << 16


def _matrix(a: int, b: int, c: int, d: int) -> bytes:
    return struct.pack("<9i", a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_exif_orientations_agree_with_pillow(value: int, dtype: type[np.unsignedinteger]) -> None:
    stored = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4)
    image = Image.fromarray(stored)
    image.getexif()[274] = value
    expected = np.asarray(ImageOps.exif_transpose(image))
    orientation = EXIF_ORIENTATIONS[value]
    upright = np.zeros(orientation.size(4, 6)[::-1], dtype)
    orientation.apply(stored.astype(dtype), upright)
    assert np.array_equal(upright, expected)


SIGNS = [(x, y) for x in (-1, 1) for y in (-1, 1)]


@pytest.mark.parametrize("numbers", [*((a, 0, 0, d) for a, d in SIGNS), *((0, b, c, 0) for b, c in SIGNS)])
def test_a_display_matrix_moves_each_point_where_it_says(numbers: tuple[int, int, int, int]) -> None:
    a, b, c, d = numbers
    height, width = 3, 5
    stored = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    orientation = orientation_of_display_matrix(_matrix(*numbers))
    upright = np.zeros(orientation.size(width, height)[::-1], np.uint8)
    orientation.apply(stored, upright)
    points = [(a * x + c * y, b * x + d * y, stored[y, x]) for y in range(height) for x in range(width)]
    left, top = min(x for x, _, _ in points), min(y for _, y, _ in points)
    for x, y, value in points:
        assert upright[y - top, x - left] == value


def test_something_that_is_no_matrix_means_upright() -> None:
    assert orientation_of_display_matrix(b"") == Orientation()
    assert orientation_of_display_matrix(_matrix(0, 0, 0, 0)) == Orientation()

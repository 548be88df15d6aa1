"""The step at a mask's edge is spread inwards, and nothing else happens."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.blending import calm_colours, join

SIZE = 64

GRASS = (110, 140, 90)
"""Of a picture that has colours."""


def mask_of(top: int = 16, bottom: int = 52, left: int = 14, right: int = 48) -> NDArray[np.bool_]:
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def flat(level: int) -> NDArray[np.uint8]:
    return np.full((SIZE, SIZE, 3), level, np.uint8)


def test_colours_meet_at_the_edge_and_are_kept_in_the_middle() -> None:
    mask = mask_of()
    given = np.where(mask[:, :, None], np.uint8(128), flat(90))
    painted = np.where(mask[:, :, None], np.uint8(170), given)
    joined = join(painted, given, mask).astype(int)
    assert np.array_equal(joined[~mask], given[~mask])
    assert np.abs(joined[16, 30] - 90).max() <= 4, "at the edge: the colour around"
    assert np.abs(joined[34, 31] - 170).max() <= 4, "in the middle: what was painted"
    column = joined[16:34, 31, 0]
    assert (np.diff(column) >= 0).all()
    assert np.diff(column).max() < 20, "no step is left"


def test_each_side_meets_its_own_colour() -> None:
    mask = mask_of()
    given = flat(60)
    given[:, 32:] = 200
    given[mask] = 128
    painted = np.where(mask[:, :, None], np.uint8(130), given)
    joined = join(painted, given, mask).astype(int)
    assert abs(joined[34, 14, 0] - 60) < 12
    assert abs(joined[34, 47, 0] - 200) < 12


def test_what_fits_already_stays_as_it_is() -> None:
    mask = mask_of()
    given = np.where(mask[:, :, None], np.uint8(128), flat(100))
    assert np.abs(join(flat(100), given, mask).astype(int) - 100).max() <= 1


@pytest.mark.parametrize("mask", [np.ones((SIZE, SIZE), np.bool_), np.zeros((SIZE, SIZE), np.bool_)])
def test_a_mask_without_an_edge_changes_nothing(mask: NDArray[np.bool_]) -> None:
    painted = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    np.testing.assert_array_equal(join(painted, flat(128), mask), painted)


def test_where_the_mask_reaches_the_border_only_the_sides_inside_are_joined() -> None:
    mask = mask_of(bottom=SIZE)
    given = np.where(mask[:, :, None], np.uint8(128), flat(90))
    painted = np.where(mask[:, :, None], np.uint8(170), given)
    joined = join(painted, given, mask).astype(int)
    assert abs(joined[63, 31, 0] - 170) <= 4


def test_nothing_hidden_is_looked_at() -> None:
    mask = mask_of()
    rng = np.random.default_rng(1)
    painted = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    one, other = (rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8) for _ in range(2))
    other[~mask] = one[~mask]
    np.testing.assert_array_equal(join(painted, one, mask), join(painted, other, mask))


def test_patches_of_colour_are_spread_and_brightness_stays() -> None:
    mask = mask_of()
    painted = flat(120)
    painted[0] = GRASS
    painted[28:32, 28:32] = (60, 160, 90)
    calm = calm_colours(painted, mask).astype(int)
    assert np.ptp(calm[30, 30]) < 0.4 * np.ptp(painted[30, 30].astype(int))
    brightness = [each @ np.array([0.299, 0.587, 0.114]) for each in (calm, painted.astype(int))]
    assert np.abs(brightness[0] - brightness[1]).max() < 2.5


def test_colours_outside_the_mask_stay_bit_for_bit() -> None:
    mask = mask_of()
    painted = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    np.testing.assert_array_equal(calm_colours(painted, mask)[~mask], painted[~mask])


def test_in_a_grey_picture_the_face_is_grey_and_as_bright() -> None:
    mask = mask_of()
    painted = flat(120)
    painted[mask] = (205, 150, 125)
    grey = calm_colours(painted, mask)
    assert (grey == grey[:, :, :1]).all()
    assert abs(int(grey[38, 30, 0]) - (205, 150, 125) @ np.array([0.299, 0.587, 0.114])) < 1
    painted[0] = GRASS
    assert np.ptp(calm_colours(painted, mask)[38, 30].astype(int)) > 50


def test_a_green_forehead_is_none_but_brown_hair_and_red_lips_stay() -> None:
    mask = mask_of()
    painted = flat(120)
    painted[0], painted[mask] = GRASS, (205, 150, 125)
    painted[18:26, 20:40] = (60, 150, 70)
    painted[28:32, 20:40] = (70, 50, 40)
    painted[44:48, 26:38] = (190, 115, 105)
    calm = calm_colours(painted, mask).astype(int)
    red, green, blue = calm[24, 30]
    assert green - max(red, blue) < 25 < 90 - 10, "it was 80 greener"
    for row, column in ((30, 30), (46, 32), (38, 30)):
        assert np.abs(calm[row, column] - painted[row, column]).max() < 25

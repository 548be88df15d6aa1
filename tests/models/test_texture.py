"""Grain and sharpness are measured whatever is in the picture, and what is painted gets the same."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.texture import GRAIN_TILE_PX, Grain, Texture, matched, measure

RNG = np.random.default_rng(0)


def rgb(luma: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.repeat(np.rint(luma).clip(0, 255).astype(np.uint8)[:, :, np.newaxis], 3, 2)


def scene(blur_px: float, grain: float = 0.0, seed: int = 0) -> NDArray[np.float32]:
    """Tiles of several greys, (48, 48), as out of focus as asked for."""
    rng = np.random.default_rng(seed)
    tiles = cv2.resize(rng.uniform(30, 220, (3, 3)).astype(np.float32), (480, 480), interpolation=cv2.INTER_NEAREST)
    soft = cv2.GaussianBlur(tiles, (0, 0), 10 * blur_px) if blur_px else tiles
    small = cv2.resize(soft, (48, 48), interpolation=cv2.INTER_AREA)
    return (small + rng.normal(0, grain, small.shape)).astype(np.float32)


def scenes(blur_px: float, grain: float = 0.0) -> list[NDArray[np.uint8]]:
    return [rgb(scene(blur_px, grain, seed)) for seed in range(6)]


def flat_scene(level: float) -> NDArray[np.float32]:
    return np.full((48, 48), level, np.float32)


@pytest.mark.parametrize("grain", [2.0, 5.0])
def test_grain_is_measured_beside_edges(grain: float) -> None:
    flat = measure([rgb(flat_scene(120) + RNG.normal(0, grain, (48, 48)))] * 3)
    busy = measure(scenes(0.5, grain))
    assert flat is not None
    assert busy is not None
    assert flat.is_grainy
    assert busy.fine == pytest.approx(flat.fine, rel=0.25)
    assert 0.55 * grain < flat.fine < 0.8 * grain, "the fine band holds most of the variance of white noise"


def test_a_clean_picture_has_no_grain() -> None:
    clean = measure(scenes(0.7))
    assert clean is not None
    assert not clean.is_grainy


@pytest.mark.parametrize("grain", [0.0, 3.0])
def test_softness_is_that_of_the_edges(grain: float) -> None:
    found = [measure(scenes(blur_px, grain)) for blur_px in (0.7, 1.5, 2.5)]
    softness = [each.softness_px for each in found if each is not None and each.softness_px is not None]
    assert softness == pytest.approx([0.7, 1.5, 2.5], abs=0.45)


def test_what_is_out_of_focus_behind_a_sharp_face_does_not_count() -> None:
    mixed = measure([*scenes(3.0)[:4], *scenes(0.6)[:2]])
    assert mixed is not None
    assert mixed.softness_px is not None
    assert mixed.softness_px < 1.5


def test_without_edges_or_without_parts_nothing_is_said() -> None:
    flat = measure([rgb(flat_scene(90))] * 4)
    assert flat is not None
    assert flat.softness_px is None
    assert measure([]) is None
    assert measure([rgb(flat_scene(90))[:4, :4]]) is None


def painted() -> NDArray[np.uint8]:
    return cv2.resize(rgb(scene(0.5)), (64, 64)).astype(np.uint8)


def slopes(picture: NDArray[np.uint8]) -> float:
    return float(np.abs(np.diff(picture.astype(float), axis=1)).max())


def test_what_is_painted_becomes_as_soft_as_the_scene() -> None:
    soft = matched(painted(), Texture(fine=0, coarse=0, softness_px=3.0), 1.0, 0.9)
    assert slopes(soft) < 0.6 * slopes(painted())
    assert soft.dtype == np.uint8


def test_what_is_stretched_in_a_sharp_scene_is_sharpened_within_limits() -> None:
    sharp = matched(painted(), Texture(fine=0, coarse=0, softness_px=0.5), 6.0, 0.9)
    assert 1.1 * slopes(painted()) < slopes(sharp) < 1.8 * slopes(painted())


@pytest.mark.parametrize(("softness_px", "scale"), [(None, 6.0), (0.9, 1.0), (0.5, 0.8)])
def test_what_fits_or_cannot_be_told_stays_as_it_is(softness_px: float | None, scale: float) -> None:
    np.testing.assert_array_equal(matched(painted(), Texture(fine=0, coarse=0, softness_px=softness_px), scale, 0.9), painted())


def test_grain_has_the_strength_that_was_measured() -> None:
    wanted = Texture(fine=4.0, coarse=1.5, softness_px=None)
    added = Grain(1).over((96, 96), wanted, 5)
    again = measure([rgb(flat_scene(120) + added[:48, :48]), rgb(flat_scene(120) + added[48:, 48:])])
    assert again is not None
    assert again.fine == pytest.approx(4.0, rel=0.3)
    assert again.coarse == pytest.approx(1.5, rel=0.6)


def test_grain_is_repeatable_and_differs_by_seed_and_secret() -> None:
    texture = Texture(fine=4.0, coarse=0.0, softness_px=None)
    one = Grain(1).over((80, 60), texture, 5)
    assert one.shape == (60, 80)
    np.testing.assert_array_equal(one, Grain(1).over((80, 60), texture, 5))
    assert abs(float(np.corrcoef(one.ravel(), Grain(1).over((80, 60), texture, 2**40 + 777).ravel())[0, 1])) < 0.1
    assert abs(float(np.corrcoef(one.ravel(), Grain(2).over((80, 60), texture, 5).ravel())[0, 1])) < 0.1


def test_grain_covers_a_region_larger_than_its_tile() -> None:
    size = (GRAIN_TILE_PX + 40, 2 * GRAIN_TILE_PX)
    added = Grain(1).over(size, Texture(fine=2.0, coarse=0.0, softness_px=None), 0xFFFF)
    assert added.shape == size[::-1]
    assert added.std() == pytest.approx(2.0, rel=0.1)

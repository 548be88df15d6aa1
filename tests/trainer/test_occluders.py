"""Occluders: across the border of the face, part of picture and condition alike, nothing else changed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from trainer.augment import LabelledFace, vary
from trainer.config import AugmentSettings
from trainer.occluders import OUTLINES, occlude

BOX = np.array([40, 30, 88, 98], np.float32)


def gray() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((128, 128, 3), 7, np.uint8)


@pytest.mark.parametrize("seed", range(30))
def test_an_occluder_lies_on_the_face_and_beside_it_but_leaves_most_of_the_picture(seed: int) -> None:
    picture = gray()
    changed = (occlude(picture, BOX, np.random.default_rng(seed)) != picture).any(2)
    inside = np.zeros_like(changed)
    inside[30:98, 40:88] = True
    assert np.count_nonzero(changed & inside) >= 10
    assert np.count_nonzero(changed & ~inside) >= 10
    assert changed.mean() < 0.4
    assert (picture == 7).all()  # the given one is not changed


def test_the_same_chance_gives_the_same_occluder() -> None:
    first, second, other = (occlude(gray(), BOX, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("outline", OUTLINES, ids=lambda outline: outline.__name__)
def test_every_kind_is_a_list_of_polygons_around_its_centre(outline: object) -> None:
    assert callable(outline)
    for seed in range(10):
        polygons = outline(np.array([50.0, 60.0]), 20.0, np.random.default_rng(seed))
        points = np.concatenate(polygons)
        assert points.shape[1] == 2
        assert np.isfinite(points).all()
        assert np.linalg.norm(points - [50, 60], axis=1).min() < 25


def test_box_and_keypoints_stay_and_only_the_picture_changes() -> None:
    keypoints = np.array([[64, 70], [76, 56], [52, 56], [86, 60], [42, 60], [80, 86], [48, 86]], np.float32)
    face = LabelledFace(picture=gray(), box=BOX, keypoints=keypoints)
    still = AugmentSettings(color=0, gray=0, degrade=0, flip=0, margin_max=0, ellipse=0, neighbour=0, keypoint_drop=0, rotate_deg=0)
    plain = vary(face, 64, still, np.random.default_rng(3))
    covered = vary(face, 64, msgspec.structs.replace(still, occluder=1.0), np.random.default_rng(3))
    assert np.array_equal(plain.keypoints, covered.keypoints)
    assert np.array_equal(plain.mask, covered.mask)
    changed = (plain.picture != covered.picture).any(2)
    assert changed[plain.mask].any()  # the networks must paint it on
    assert changed[~plain.mask].any()  # and see where it goes on


def test_the_probability_is_kept() -> None:
    face = LabelledFace(picture=gray(), box=BOX, keypoints=np.full((7, 2), 60, np.float32))
    settings = AugmentSettings(color=0, gray=0, degrade=0, occluder=0.3)
    varied = [bool((vary(face, 32, settings, np.random.default_rng(seed)).picture != 7).any()) for seed in range(200)]
    assert 0.2 < np.mean(varied) < 0.4

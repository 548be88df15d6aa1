"""Masks hold the whole grown box, at any border, and end softly only outside it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.masks import FaceMask, chroma_alpha, face_mask

Shape = Literal["ellipse", "box"]
SHAPES: tuple[Shape, ...] = ("ellipse", "box")
STEPS = [(1, 1), (2, 1), (2, 2)]
FRAME = (64, 48)

coordinates = st.one_of(st.floats(-150, 200, width=32), st.integers(-100, 150).map(float))
lengths = st.one_of(st.floats(0.25, 200, width=32), st.integers(1, 150).map(float))
boxes = st.tuples(coordinates, coordinates, lengths, lengths).map(
    lambda b: np.array([b[0], b[1], b[0] + b[2], b[1] + b[3]], np.float32)
)


def full(mask: FaceMask) -> np.ndarray:
    """The weights over the whole frame."""
    alpha = np.zeros((FRAME[1], FRAME[0]), np.uint8)
    x1, y1, x2, y2 = mask.region
    alpha[y1:y2, x1:x2] = mask.alpha
    return alpha


@given(box=boxes, shape=st.sampled_from(SHAPES), margin=st.floats(0, 2), soft_edge=st.floats(0, 1), steps=st.sampled_from(STEPS))
def test_every_pixel_that_the_grown_box_touches_is_masked(
    box: np.ndarray, shape: Shape, margin: float, soft_edge: float, steps: tuple[int, int]
) -> None:
    mask = face_mask(box, FRAME, shape=shape, margin=margin, soft_edge=soft_edge, steps=steps)
    x1, y1, x2, y2 = (float(value) for value in box)
    left, right = x1 - margin * (x2 - x1), x2 + margin * (x2 - x1)
    top, bottom = y1 - margin * (y2 - y1), y2 + margin * (y2 - y1)
    columns, rows = np.arange(FRAME[0]), np.arange(FRAME[1])
    touched = np.outer((rows < bottom) & (rows + 1 > top), (columns < right) & (columns + 1 > left))
    if mask is None:
        assert not touched.any()
        return
    assert (full(mask)[touched] == 255).all()
    assert mask.region[0] % steps[0] == mask.region[2] % steps[0] == 0
    assert mask.region[1] % steps[1] == mask.region[3] % steps[1] == 0


@given(box=boxes, margin=st.floats(0, 1))
def test_a_hard_box_masks_no_other_pixel(box: np.ndarray, margin: float) -> None:
    mask = face_mask(box, FRAME, shape="box", margin=margin, soft_edge=0)
    if mask is None:
        return
    x1, y1, x2, y2 = (float(value) for value in box)
    expected = np.zeros((FRAME[1], FRAME[0]), np.uint8)
    left, right = math.floor(x1 - margin * (x2 - x1)), math.ceil(x2 + margin * (x2 - x1))
    top, bottom = math.floor(y1 - margin * (y2 - y1)), math.ceil(y2 + margin * (y2 - y1))
    expected[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = 255
    np.testing.assert_array_equal(full(mask), expected)


@given(box=boxes, shape=st.sampled_from(SHAPES), soft_edge=st.floats(0, 1))
def test_a_soft_edge_takes_nothing_from_the_mask(box: np.ndarray, shape: Shape, soft_edge: float) -> None:
    hard = face_mask(box, FRAME, shape=shape, margin=0.1, soft_edge=0)
    soft = face_mask(box, FRAME, shape=shape, margin=0.1, soft_edge=soft_edge)
    if hard is None or soft is None:
        assert hard is None
        assert soft is None
        return
    assert (full(soft) >= full(hard)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_soft_edge_falls_outwards_and_ends_after_its_width(shape: Shape) -> None:
    mask = face_mask(np.array([300, 200, 500, 400], np.float32), (800, 600), shape=shape, margin=0, soft_edge=0.2)
    assert mask is not None
    middle = mask.alpha[mask.alpha.shape[0] // 2].astype(int)
    masked = np.flatnonzero(middle == 255)
    assert (np.diff(middle[: masked[0] + 1]) >= 0).all()
    assert (np.diff(middle[masked[-1] :]) <= 0).all()
    assert 38 <= masked[0] <= 42
    assert middle[0] < 20
    assert 100 < middle[masked[0] // 2] < 155


def test_an_ellipse_leaves_the_corners_of_its_region_and_goes_through_those_of_the_box() -> None:
    mask = face_mask(np.array([100, 100, 200, 300], np.float32), (400, 400), shape="ellipse", margin=0, soft_edge=0)
    assert mask is not None
    assert mask.alpha[0, 0] == 0
    assert mask.region == (79, 58, 221, 342)
    x, y = 100 - mask.region[0], 100 - mask.region[1]
    assert mask.alpha[y, x] == 255
    assert mask.alpha[y - 2, x - 2] == 0


@given(box=boxes, shape=st.sampled_from(SHAPES), steps=st.sampled_from(STEPS))
def test_a_chroma_sample_has_the_greatest_weight_of_its_pixels(box: np.ndarray, shape: Shape, steps: tuple[int, int]) -> None:
    mask = face_mask(box, FRAME, shape=shape, margin=0, soft_edge=0.3, steps=steps)
    if mask is None:
        return
    chroma = chroma_alpha(mask.alpha, steps)
    for y, x in np.ndindex(chroma.shape):
        pixels = mask.alpha[y * steps[1] : (y + 1) * steps[1], x * steps[0] : (x + 1) * steps[0]]
        assert chroma[y, x] == pixels.max()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_box_of_any_size_makes_a_mask_no_larger_than_the_frame(shape: Shape) -> None:
    for box in ([-1e9, -1e9, 1e9, 1e9], [10, 10, 3e38, 3e38], [5, 5, 5.001, 5.001]):
        mask = face_mask(np.array(box, np.float32), FRAME, shape=shape, margin=0.05, soft_edge=0.1)
        assert mask is not None
        assert mask.alpha.size <= FRAME[0] * FRAME[1]
        assert mask.alpha.max() == 255


def test_a_box_outside_the_frame_has_no_mask() -> None:
    for box in ([-20, 0, -10, 10], [64, 0, 70, 10], [0, -30, 10, -5], [0, 48, 10, 60]):
        assert face_mask(np.array(box, np.float32), FRAME, shape="box", margin=0, soft_edge=0.5) is None


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 5, 5, 9), (0, 0, math.nan, 5), (0, 0, math.inf, 5)])
def test_a_box_that_is_none_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="finite and not empty"):
        face_mask(np.array(box, np.float32), FRAME, shape="box", margin=0, soft_edge=0)

"""Crop, mask and paste-back: the published crop rule exactly, and no hidden pixel in the generator's input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import geometry
from models.geometry import Crop

PARITY = Path(__file__).parents[3] / "shared" / "data" / "parity" / "dp_v1_geometry.npz"

noise = np.random.default_rng(0)


@pytest.mark.skipif(not PARITY.exists(), reason="needs the recorded crops of the published code")
def test_crops_and_painted_boxes_equal_the_published_code() -> None:
    with np.load(PARITY) as recorded:
        cases, crops, inner = (recorded[name] for name in ("imshape_hw_and_bbox_xyxy", "expanded_xyxy", "shifted_bbox_128"))
    assert len(cases) == 4000
    for case, expected_crop, expected_inner in zip(cases, crops, inner, strict=True):
        height, width, *box = (int(value) for value in case)
        crop = geometry.expand_to_square(box, (width, height))
        assert (crop.left, crop.top, crop.right, crop.bottom) == tuple(expected_crop)
        assert geometry.paper_inner_box(box, crop) == tuple(expected_inner)


@pytest.mark.parametrize(
    ("box", "size", "expected"),
    [
        ((100, 100, 150, 150), (400, 300), (83, 83, 84)),
        ((0, 0, 50, 40), (400, 300), (0, 0, 84)),
        ((380, 260, 400, 300), (400, 300), (332, 232, 68)),
        ((10, 20, 110, 60), (120, 120), (0, 0, 120)),
        ((-5, 5, 15, 25), (400, 300), (-12, -2, 34)),
    ],
    ids=[
        "inside",
        "top left corner is moved",
        "bottom right corner is moved",
        "shrunk in a small picture",
        "over the border is centred",
    ],
)
def test_a_crop_is_moved_at_borders_and_shrunk_in_small_pictures(
    box: tuple[int, int, int, int], size: tuple[int, int], expected: tuple[int, int, int]
) -> None:
    crop = geometry.expand_to_square(box, size)
    assert (crop.left, crop.top, crop.side) == expected


def test_an_empty_box_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        geometry.expand_to_square((10, 10, 10, 20), (100, 100))


def test_a_cut_is_black_over_the_border() -> None:
    picture = np.full((20, 30, 3), 7, np.uint8)
    crop = geometry.cut(picture, Crop(left=-4, top=10, side=16))
    assert crop.shape == (16, 16, 3)
    assert (crop[:10, 4:] == 7).all()
    assert not crop[10:].any()
    assert not crop[:, :4].any()


boxes_strategy = st.tuples(st.floats(-20, 90), st.floats(-20, 90), st.floats(0.5, 80), st.floats(0.5, 80))


@settings(max_examples=60, deadline=None)
@given(
    faces=st.lists(boxes_strategy, min_size=1, max_size=3),
    shape=st.sampled_from(["box", "ellipse"]),
    size=st.sampled_from([16, 32, 64, 128]),
    margin=st.sampled_from([0.0, 0.1]),
)
def test_no_pixel_of_any_face_reaches_the_generator(
    faces: list[tuple[float, float, float, float]], shape: geometry.MaskShape, size: int, margin: float
) -> None:
    """Two pictures that differ only inside the faces give the same input, bit for bit."""
    picture = noise.integers(0, 256, (100, 100, 3), np.uint8)
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in faces], np.float32)
    other = picture.copy()
    for box in boxes:
        x1, y1, x2, y2 = np.clip(geometry.round_outwards(box), 0, 100)
        other[y1:y2, x1:x2] = noise.integers(0, 256, (y2 - y1, x2 - x1, 3), np.uint8)
    crop = geometry.expand_to_square(boxes[0], (100, 100))
    mask = geometry.mark_faces(boxes, crop, shape=shape, margin=margin)
    inputs = [geometry.hide(geometry.cut(each, crop), mask, size) for each in (picture, other)]
    assert np.array_equal(inputs[0][0], inputs[1][0])
    assert np.array_equal(inputs[0][1], inputs[1][1])
    assert inputs[0][1].any()


def test_the_ellipse_holds_its_box() -> None:
    crop = Crop(left=0, top=0, side=60)
    boxes = np.array([[20.0, 22.0, 40.0, 45.0]], np.float32)
    mask = geometry.mark_faces(boxes, crop, shape="ellipse")
    assert mask[22:45, 20:40].all()
    assert not mask[0, 0]


def test_absent_keypoints_lie_outside_the_crop() -> None:
    keypoints = np.array([[[30.0, 40.0], [50.0, 20.0]]], np.float32)
    scores = np.array([[0.9, 0.1]], np.float32)
    relative = geometry.keypoints_in_crop(keypoints, scores, Crop(left=20, top=20, side=40), threshold=0.3)
    assert relative.tolist() == [[0.25, 0.5, geometry.ABSENT, geometry.ABSENT]]


@settings(max_examples=40, deadline=None)
@given(left=st.integers(-30, 80), top=st.integers(-30, 80), side=st.integers(2, 60), soft_edge_px=st.integers(0, 6))
def test_paste_replaces_what_is_marked_and_blends_only_outside(left: int, top: int, side: int, soft_edge_px: int) -> None:
    picture = np.full((90, 90, 3), 40, np.uint8)
    mask = np.zeros((side, side), np.bool_)
    mask[side // 4 : side // 2 + 1, side // 4 : side // 2 + 1] = True
    crop = Crop(left=left, top=top, side=side)
    geometry.paste(picture, crop, np.full((16, 16, 3), 200, np.uint8), mask, soft_edge_px=soft_edge_px)
    whole = np.zeros((90 + 2 * 60, 90 + 2 * 60), np.bool_)
    whole[top + 60 : top + 60 + side, left + 60 : left + 60 + side] = mask
    marked = whole[60:150, 60:150]
    assert (picture[marked] == 200).all()
    changed = (picture[:, :, 0] != 40) & ~marked
    if soft_edge_px == 0:
        assert not changed.any()
    rows, columns = np.nonzero(changed)
    assert ((rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)).all()


def test_pixels_survive_the_way_to_the_network_and_back() -> None:
    every = np.arange(256, dtype=np.uint8)
    back = geometry.to_pixels(geometry.from_pixels(every)).astype(int)
    assert np.abs(back - every).max() <= 1
    assert geometry.to_pixels(np.array([-3.0, 3.0], np.float32)).tolist() == [0, 255]


@given(
    x=st.integers(-40, 90), y=st.integers(-40, 90), width=st.integers(1, 60), height=st.integers(1, 60), side=st.integers(20, 90)
)
def test_a_shrunk_mask_holds_every_pixel_that_a_marked_one_goes_into(x: int, y: int, width: int, height: int, side: int) -> None:
    crop = Crop(left=10, top=5, side=side)
    shrunk = geometry.mark_shrunk([(x, y, x + width, y + height)], crop, 16)
    whole = np.zeros((side, side), np.float32)
    whole[max(y - 5, 0) : max(y + height - 5, 0), max(x - 10, 0) : max(x + width - 10, 0)] = 1
    assert shrunk[geometry.resize(whole, 16) > 1e-5].all()
    assert shrunk.any() == bool(whole.any())

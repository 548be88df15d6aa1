"""How a face gets from one pose to another: in the picture, and around its own axes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.faces import KEYPOINT_NAMES
from models.geometry import Crop, expand_to_square
from models.pose import NOSE_HEIGHT, STILL, Pose, grid_over, known_at, similarity, taken_from, turn_between

SIZE = 64
PICTURE = (640, 480)
# Nose, eyes, ears, shoulders, in sides of the box from its middle; and how far each stands out, roughly.
PLACES = np.array([[0, 0.1], [0.17, -0.1], [-0.17, -0.1], [0.4, -0.05], [-0.4, -0.05], [0.8, 0.9], [-0.8, 0.9]])
STANDS_OUT = np.array([1.3, 0.85, 0.85, 0.35, 0.35, 0, 0])


def pose_of(places: NDArray[np.float64], *, x: float = 200.0, y: float = 150.0, side: float = 120.0) -> Pose:
    keypoints = (np.array([x + side / 2, y + side / 2]) + places * side).astype(np.float32)
    return Pose(box=(x, y, x + side, y + side), keypoints=keypoints, keypoint_scores=np.ones(7, np.float32))


def tilted(degrees: float) -> NDArray[np.float64]:
    angle = np.radians(degrees)
    return np.asarray(PLACES @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]))


def turned(right: float, down: float) -> NDArray[np.float64]:
    return np.asarray(PLACES + STANDS_OUT[:, None] * [right, down])


def crop_of(pose: Pose) -> Crop:
    return expand_to_square(pose.box, PICTURE, 0.225)


def errors_in_sides(first: Pose, second: Pose) -> NDArray[np.float64]:
    """Of each keypoint of the face: how far from where it is in the second pose the first one's pixel is taken to be."""
    crop, other = crop_of(first), crop_of(second)
    columns, rows = turn_between(first, second).places(grid_over(crop, first, SIZE), other, second, SIZE)
    errors = []
    for point in range(5):
        x, y = (first.keypoints[point] - [crop.left, crop.top]) * SIZE / crop.side - 0.5
        wanted = (second.keypoints[point] - [other.left, other.top]) * SIZE / other.side - 0.5
        row, column = round(float(y)), round(float(x))
        found = np.array([columns[row, column], rows[row, column]]) - [column - x, row - y]
        errors.append(np.hypot(*(found - wanted)) * other.side / SIZE / second.side)
    return np.array(errors)


@pytest.mark.parametrize(
    "second",
    [pose_of(PLACES, x=260, y=110), pose_of(PLACES, side=200), pose_of(tilted(20)), pose_of(tilted(-8), x=90, side=70)],
)
def test_what_moves_grows_and_tilts_is_the_same_view(second: Pose) -> None:
    first = pose_of(PLACES)
    assert turn_between(first, second).distance < 1e-3
    assert errors_in_sides(first, second).max() < 0.01


@pytest.mark.parametrize(("right", "down"), [(0.05, 0.0), (0.1, 0.0), (0.0, -0.1), (0.08, 0.06), (-0.2, 0.0)])
def test_features_go_along_with_a_head_that_turns(right: float, down: float) -> None:
    first, second = pose_of(PLACES), pose_of(turned(right, down))
    turn = turn_between(first, second)
    assert 0.3 * np.hypot(right, down) < turn.distance < 1.2 * np.hypot(right, down)
    assert errors_in_sides(first, second).max() < 1.7 * STILL


def test_a_feature_that_moves_alone_pulls_the_face_around_it() -> None:
    places = PLACES.copy()
    places[0] += [0.0, 0.06]
    assert errors_in_sides(pose_of(PLACES), pose_of(places)).max() < 1.7 * STILL


def test_without_keypoints_the_boxes_tell() -> None:
    first, second = pose_of(PLACES), pose_of(PLACES, x=230, y=170, side=180)
    hidden = Pose(box=second.box, keypoints=second.keypoints, keypoint_scores=np.zeros(7, np.float32))
    assert turn_between(hidden, hidden).distance == 0
    assert turn_between(first, hidden).distance > 0.25, "it may be the back of the head"
    columns, rows = turn_between(first, hidden).places(grid_over(crop_of(first), first, SIZE), crop_of(hidden), hidden, SIZE)
    np.testing.assert_allclose(columns, np.arange(SIZE)[None].repeat(SIZE, 0), atol=0.5)
    np.testing.assert_allclose(rows, columns.T, atol=0.5)


def test_keypoints_that_cannot_be_are_no_view_of_the_same_face() -> None:
    heap = pose_of(np.zeros((7, 2)))
    assert turn_between(pose_of(PLACES), heap).distance == np.inf


@given(
    places=st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=7, max_size=7),
    scores=st.lists(st.sampled_from([0.0, 0.4, 1.0]), min_size=7, max_size=7),
)
def test_whatever_the_keypoints_say_places_are_numbers(places: list[tuple[float, float]], scores: list[float]) -> None:
    odd = pose_of(np.array(places))
    odd = Pose(box=odd.box, keypoints=odd.keypoints, keypoint_scores=np.array(scores, np.float32))
    for first, second in ((pose_of(PLACES), odd), (odd, pose_of(PLACES)), (odd, odd)):
        turn = turn_between(first, second)
        assert turn.distance >= 0
        places_there = turn.places(grid_over(crop_of(first), first, SIZE), crop_of(second), second, SIZE)
        assert all(np.isfinite(each).all() for each in places_there)


def test_the_middle_of_a_face_stands_out_and_its_nose_most() -> None:
    pose = pose_of(PLACES)
    crop = crop_of(pose)
    relief = grid_over(crop, pose, SIZE).relief
    row, column = ((pose.keypoints[KEYPOINT_NAMES.index("nose")] - [crop.left, crop.top]) * SIZE / crop.side).astype(int)[::-1]
    assert relief.max() == pytest.approx(relief[row, column], abs=0.06)
    assert 1 < relief.max() < 1 + NOSE_HEIGHT
    assert relief[:, 0].max() < 0.1


def test_what_a_texture_does_not_hold_is_not_known() -> None:
    columns, rows = np.meshgrid(np.arange(-8, 8, dtype=np.float32), np.arange(16, dtype=np.float32))
    known = known_at((columns, rows), 16, 2.0)
    assert (known[:, :8] == 0).all()
    assert known[8, 10] == 1
    texture = np.full((16, 16, 3), 9, np.float32)
    assert (taken_from(texture, (columns, rows)) == 9).all()


@given(turn=st.floats(-3, 3), scale=st.floats(0.2, 5), x=st.floats(-50, 50), y=st.floats(-50, 50), count=st.integers(2, 6))
def test_a_similarity_is_found_again(turn: float, scale: float, x: float, y: float, count: int) -> None:
    points = np.random.default_rng(count).uniform(-20, 20, (count, 2))
    expected = np.column_stack((scale * cv2.getRotationMatrix2D((0, 0), np.degrees(turn), 1.0)[:, :2], [x, y]))
    found = similarity(points, points @ expected[:, :2].T + expected[:, 2])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_one_pair_of_points_is_a_shift() -> None:
    np.testing.assert_allclose(similarity(np.array([[1.0, 2.0]]), np.array([[4.0, 1.0]])), [[1, 0, 3], [0, 1, -1]])

"""What was painted of a face goes into the present, follows its motion, leaves no ghosts, and is forgotten with the face."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from models.geometry import Crop, expand_to_square
from models.pose import Pose
from models.stabilizer import LONGEST_GAP_S, Stabilizer
from models.views import MOST_VIEWS

SIZE = 64
PICTURE = (640, 480)
MASK = np.zeros((SIZE, SIZE), np.bool_)
MASK[12:54, 14:50] = True
STEP_S = 0.04


def pose(
    x: float = 200.0, y: float = 150.0, side: float = 120.0, *, turn_deg: float = 0.0, mouth: float = 0.0, score: float = 1.0
) -> Pose:
    places = np.array([[0, 0.1], [0.17, -0.1], [-0.17, -0.1], [0.4, -0.05], [-0.4, -0.05], [0.8, 0.9], [-0.8, 0.9]])
    places[0, 1] += mouth
    angle = np.radians(turn_deg)
    turned = places @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    keypoints = (np.array([x + side / 2, y + side / 2]) + turned * side).astype(np.float32)
    return Pose(box=(x, y, x + side, y + side), keypoints=keypoints, keypoint_scores=np.full(7, score, np.float32))


def crop_of(where: Pose) -> Crop:
    return expand_to_square(where.box, PICTURE, 0.225)


def noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def blob(where: Pose, crop: Crop, sigma_px: float = 5.0) -> NDArray[np.uint8]:
    """A soft spot at the nose, as it lies in the crop."""
    x, y = (where.keypoints[0] - [crop.left, crop.top]) * SIZE / crop.side
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    spot = 60 + 150 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma_px**2))
    return np.repeat(spot[:, :, None], 3, 2).astype(np.uint8)


def test_a_steady_face_flickers_less_and_only_inside_the_mask() -> None:
    stabilizer, where = Stabilizer(), pose()
    frames = [stabilizer.blend(1, number * STEP_S, noise(number), MASK, crop_of(where), where) for number in range(20)]
    raw = np.mean([np.abs(noise(n).astype(float) - noise(n - 1))[MASK].mean() for n in range(10, 20)])
    steady = np.mean([np.abs(frames[n].astype(float) - frames[n - 1])[MASK].mean() for n in range(10, 20)])
    assert steady < 0.35 * raw
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame[~MASK], noise(number)[~MASK])


def test_the_first_frame_of_a_track_is_as_painted() -> None:
    stabilizer, where = Stabilizer(), pose()
    stabilizer.blend(1, 0.0, noise(0), MASK, crop_of(where), where)
    np.testing.assert_array_equal(stabilizer.blend(2, STEP_S, noise(1), MASK, crop_of(where), where), noise(1))


@pytest.mark.parametrize("motion", [{"x": 4.0}, {"y": -3.0}, {"side": 5.0}, {"turn_deg": 4.0}, {"x": 2.5, "turn_deg": -3.0}])
def test_the_past_moves_with_the_face(motion: dict[str, float]) -> None:
    stabilizer = Stabilizer()
    for number in range(12):
        start = {"x": 200.0, "y": 150.0, "side": 120.0, "turn_deg": 0.0}
        where = pose(**{key: value + number * motion.get(key, 0.0) for key, value in start.items()})
        crop = crop_of(where)
        blended = stabilizer.blend(1, number * STEP_S, blob(where, crop), MASK, crop, where)
    assert np.abs(blended.astype(int) - blob(where, crop))[MASK].mean() < 3


def test_quite_another_side_of_a_face_leaves_no_ghost() -> None:
    stabilizer = Stabilizer()
    stabilizer.blend(1, 0.0, noise(0), MASK, crop_of(pose()), pose())
    moved = pose(mouth=0.5)
    np.testing.assert_array_equal(stabilizer.blend(1, STEP_S, noise(1), MASK, crop_of(moved), moved), noise(1))


def height_of_spot(picture: NDArray[np.uint8]) -> float:
    """Where the spot of `blob` is, rows of the crop."""
    values = picture[:, :, 0].astype(float)
    weights = np.clip(values - (60 + 0.6 * (values.max() - 60)), 0, None)
    return float((weights * (np.arange(SIZE) + 0.5)[:, None]).sum() / weights.sum())


@pytest.mark.parametrize("turn_a_frame", [0.001, 0.002, 0.004, 0.008])
def test_features_are_never_far_behind_a_face_that_turns(turn_a_frame: float) -> None:
    """And there is one of each: the nose is not where it was as well."""
    stabilizer = Stabilizer()
    for number in range(25):
        where = pose(mouth=turn_a_frame * number)
        crop = crop_of(where)
        blended = stabilizer.blend(1, number * 2 * STEP_S, blob(where, crop, 2.0), MASK, crop, where)
        behind_px = (height_of_spot(blob(where, crop, 2.0)) - height_of_spot(blended)) * crop.side / SIZE
        assert abs(behind_px) < 0.03 * where.side
        assert (blended[:, :, 0] > 130).sum() < 1.6 * (blob(where, crop, 2.0)[:, :, 0] > 130).sum()


def test_what_is_behind_the_face_may_change() -> None:
    stabilizer, where, rim = Stabilizer(), pose(), (33, 14)
    stabilizer.blend(1, 0.0, np.full((SIZE, SIZE, 3), 100, np.uint8), MASK, crop_of(where), where)
    for number in range(1, 26):
        now = np.full((SIZE, SIZE, 3), 160, np.uint8)
        blended = stabilizer.blend(1, number * STEP_S, now, MASK, crop_of(where), where)
    assert blended[rim][0] > 148


def test_after_a_gap_nothing_of_the_past_remains() -> None:
    """Nor under another track, as after a cut: each of the frames that follow is as if there had been none before."""
    where = pose()
    known, fresh = Stabilizer(), Stabilizer()
    for number in range(20):
        known.blend(1, number * STEP_S, noise(number), MASK, crop_of(where), where)
    after_s = 20 * STEP_S + LONGEST_GAP_S
    for number in range(10):
        shown = [
            one.blend(track, after_s + number * STEP_S, noise(50 + number), MASK, crop_of(where), where)
            for one, track in ((known, 1), (fresh, 1), (known, 2))
        ]
        np.testing.assert_array_equal(shown[0], shown[1])
        np.testing.assert_array_equal(shown[0], shown[2])


def test_time_that_runs_backwards_ends_what_was_painted() -> None:
    stabilizer, where = Stabilizer(), pose()
    stabilizer.blend(1, 9.0, noise(0), MASK, crop_of(where), where)
    np.testing.assert_array_equal(stabilizer.blend(1, 0.0, noise(1), MASK, crop_of(where), where), noise(1))


def test_memory_stays_bounded_over_a_long_track() -> None:
    stabilizer, rng = Stabilizer(), np.random.default_rng(0)
    largest = 0
    for number in range(150):
        where = pose(mouth=float(rng.normal(0, 0.2)), turn_deg=float(rng.normal(0, 20)))
        stabilizer.blend(1, number * STEP_S, noise(number), MASK, crop_of(where), where)
        largest = max(largest, len(pickle.dumps(stabilizer._pasts)))
    assert largest < (MOST_VIEWS + 1.5) * SIZE * SIZE * 3 * 4


def test_what_is_long_ago_has_no_part_and_is_forgotten() -> None:
    stabilizer, where = Stabilizer(), pose()
    stabilizer.blend(1, 0.0, noise(0), MASK, crop_of(where), where)
    late_s = LONGEST_GAP_S + 0.1
    np.testing.assert_array_equal(stabilizer.blend(1, late_s, noise(1), MASK, crop_of(where), where), noise(1))
    for track in range(100):
        stabilizer.blend(track, 10.0 + track, noise(2), MASK, crop_of(where), where)
    assert len(stabilizer._pasts) == 1


def test_without_keypoints_the_box_tells_the_motion() -> None:
    stabilizer = Stabilizer()
    for number in range(8):
        where = pose(200 + 5.0 * number, score=0.0)
        crop = crop_of(where)
        blended = stabilizer.blend(1, number * STEP_S, blob(where, crop), MASK, crop, where)
    assert np.abs(blended.astype(int) - blob(where, crop))[MASK].mean() < 3


def test_a_steady_face_is_used_again_for_a_moment_and_moves_along() -> None:
    stabilizer, first = Stabilizer(), pose()
    painted = stabilizer.blend(1, 0.0, blob(first, crop_of(first)), MASK, crop_of(first), first)
    moved = pose(204.0, 147.0, turn_deg=2.0)
    crop = crop_of(moved)
    around = noise(3)
    again = stabilizer.reuse(1, STEP_S, around, MASK, crop, moved)
    assert again is not None
    np.testing.assert_array_equal(again[~MASK], around[~MASK])
    assert np.abs(again.astype(int) - blob(moved, crop))[MASK].mean() < 3
    same = stabilizer.reuse(1, STEP_S, painted, MASK, crop_of(first), first)
    assert same is not None
    assert np.abs(same.astype(int) - painted)[MASK].max() <= 1
    assert stabilizer.reuse(1, 2.5 * STEP_S, around, MASK, crop, moved) is None, "that was too long ago"
    assert stabilizer.reuse(2, STEP_S, around, MASK, crop, moved) is None, "that is somebody else"
    other_view = pose(mouth=0.06)
    assert stabilizer.reuse(1, STEP_S, around, MASK, crop_of(other_view), other_view) is None, "that is another view"


def test_what_was_out_of_the_crop_is_painted_anew() -> None:
    stabilizer, first = Stabilizer(), pose()
    narrow = Crop(left=200, top=150, side=120)
    stabilizer.blend(1, 0.0, noise(0), MASK, narrow, first)
    assert stabilizer.reuse(1, STEP_S, noise(1), np.ones((SIZE, SIZE), np.bool_), crop_of(first), first) is None


def test_what_was_out_of_the_crop_matters_only_over_the_face_itself() -> None:
    stabilizer, where = Stabilizer(), pose()
    crop = crop_of(where)
    stabilizer.blend(1, 0.0, blob(where, crop), MASK, crop, where)
    beside = MASK.copy()
    beside[:, -1] = True
    away = Crop(left=crop.left + 30, top=crop.top, side=crop.side)
    assert stabilizer.reuse(1, STEP_S, noise(1), beside, away, where) is None, "nothing is known at the right edge"
    assert stabilizer.reuse(1, STEP_S, noise(1), beside, away, where, MASK) is not None

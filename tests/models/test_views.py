"""One person from every side: views are learned, kept, found again, lit, and few."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.pose import Pose
from models.views import MOST_VIEWS, Views
from tests.models.test_pose import PLACES, SIZE, crop_of, pose_of, turned

STEP_S = 0.08
MASK = np.zeros((SIZE, SIZE), np.bool_)
MASK[10:54, 10:54] = True
MIDDLE = slice(24, 40), slice(24, 40)
FRONT = pose_of(PLACES)
Texture = NDArray[np.float32]


def face(seed: int, level: float = 120.0, contrast: float = 25.0) -> Texture:
    """Something with soft patches, other for each seed."""
    coarse = np.random.default_rng(seed).normal(0, contrast, (8, 8, 3))
    return (level + np.kron(coarse, np.ones((8, 8, 1)))).astype(np.float32)


class Track:
    """Views of one track, with time."""

    def __init__(self, mask: NDArray[np.bool_] = MASK) -> None:
        self.views = Views()
        self.time_s = 0.0
        self.mask = mask

    def paint(self, painted: Texture, pose: Pose = FRONT, *, frames: int = 1) -> Texture:
        for _ in range(frames):
            shown = self.views.take(self.time_s, painted.copy(), painted, self.mask, crop_of(pose), pose)
            self.time_s += STEP_S
        return shown


def distance(one: Texture, other: Texture) -> float:
    return float(np.abs(one - other)[MIDDLE].mean())


def test_a_face_stays_who_it_is_whatever_else_is_painted() -> None:
    track = Track()
    known = track.paint(face(1), frames=10)
    for seed in range(60):
        shown = track.paint(face(1) + face(100 + seed, 0, 8))
    assert distance(shown, known) < 1.5
    later = face(1) + face(5, 0, 12)
    shown = track.paint(later, frames=25)
    assert distance(shown, known) < 0.3 * distance(later, known), "two seconds of another face change it little"


def test_a_head_that_turns_back_is_the_same_person() -> None:
    track, side = Track(), pose_of(turned(0.3, 0.0))
    known = track.paint(face(1), frames=12)
    way = [pose_of(turned(right, 0.0)) for right in np.linspace(0, 0.3, 12)]
    for number, pose in enumerate(way):
        track.paint(face(20 + number), pose)
    track.paint(face(2), side, frames=12)
    assert len(track.views) > 1
    for number, pose in enumerate(reversed(way)):
        track.paint(face(40 + number), pose)
    shown = track.paint(face(3))
    assert distance(shown, known) < 0.25 * distance(face(3), known)


def test_from_view_to_view_nothing_jumps() -> None:
    track = Track()
    track.paint(face(1), frames=12)
    shown = [track.paint(face(2), pose_of(turned(right, 0.0))) for right in np.linspace(0, 0.4, 60)]
    assert len(track.views) > 1
    steps = [distance(one, other) for one, other in itertools.pairwise(shown)]
    assert max(steps) < 0.1 * distance(face(1), face(2))


def test_in_a_fast_turn_what_is_painted_takes_over() -> None:
    """What was seen for a moment only is no ground to go by, and is no longer kept than what was seen for long."""
    track = Track()
    track.paint(face(1), pose_of(turned(-0.2, 0.0)), frames=12)
    for number in range(8):
        track.paint(face(10 + number), pose_of(turned(0.16 * number, 0.0)))
    shown = track.paint(face(2), pose_of(turned(1.2, 0.0)), frames=8)
    assert distance(shown, face(2)) < 0.5 * distance(face(2), face(17))
    known = track.paint(face(3), pose_of(turned(-0.2, 0.0)), frames=5)
    assert distance(known, face(1)) < 0.35 * distance(face(3), face(1))


def test_what_is_seen_from_quite_another_side_is_as_painted() -> None:
    track = Track()
    track.paint(face(1), frames=12)
    np.testing.assert_array_equal(track.paint(face(2), pose_of(turned(0.9, 0.0))), face(2))


def test_another_face_altogether_is_learned_in_time() -> None:
    """As when a track goes over to someone else."""
    track = Track()
    track.paint(face(1, 90, 60), frames=12)
    other = face(2, 150, 60)
    assert distance(track.paint(other, frames=150), other) < 0.35 * distance(face(1, 90, 60), other)


@pytest.mark.parametrize("factor", [0.4, 0.6, 1.5])
def test_light_that_is_switched_is_followed_in_half_a_second(factor: float) -> None:
    track = Track()
    track.paint(face(1, 130, 15), frames=12)
    lit = face(1, 130, 15) * np.float32(factor)
    assert distance(track.paint(lit, frames=7), lit) < 0.35 * distance(face(1, 130, 15), lit)


def test_light_from_one_side_is_followed() -> None:
    track = Track()
    track.paint(face(1, 130, 15), frames=12)
    lit = face(1, 130, 15) * np.linspace(0.8, 1.2, SIZE, dtype=np.float32)[None, :, None]
    before = distance(track.paint(lit), lit)
    assert distance(track.paint(lit, frames=60), lit) < 0.3 * before


def test_corners_and_the_rim_show_what_is_around() -> None:
    track = Track()
    track.paint(face(1), frames=12)
    shown = track.paint(face(2))
    for corner in ((10, 10), (10, 53), (53, 10), (53, 53), (32, 10), (5, 5)):
        np.testing.assert_array_equal(shown[corner], face(2)[corner])


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), spread=st.sampled_from([0.02, 0.2, 0.6]))
def test_views_are_few_however_long_a_track_and_however_it_turns(seed: int, spread: float) -> None:
    track, rng = Track(), np.random.default_rng(seed)
    for number in range(40):
        pose = pose_of(turned(*rng.normal(0, spread, 2)) + rng.normal(0, 0.01, PLACES.shape))
        shown = track.paint(face(number % 3), pose)
        assert np.isfinite(shown).all()
        assert 1 <= len(track.views) <= MOST_VIEWS


def test_the_same_frames_give_the_same_face() -> None:
    shown = []
    for _ in range(2):
        track = Track()
        shown.append([track.paint(face(number), pose_of(turned(0.01 * number, 0.0))) for number in range(30)])
    np.testing.assert_array_equal(shown[0], shown[1])


def in_sight(part: float) -> Pose:
    return replace(FRONT, sight=part)


def test_a_face_that_was_half_out_of_the_picture_is_learned_anew_when_it_is_in() -> None:
    track = Track()
    half = track.paint(face(1), in_sight(0.5), frames=15)
    assert distance(half, face(1)) < 2
    track.paint(face(2), in_sight(1.0))
    whole = track.paint(face(2), in_sight(1.0))
    assert distance(whole, face(2)) < 0.6 * distance(whole, face(1)), "at once, but for the light"
    whole = track.paint(face(2), in_sight(1.0), frames=15)
    assert distance(whole, face(2)) < 0.4 * distance(whole, face(1))
    gone = track.paint(face(3), in_sight(0.5), frames=15)
    assert distance(gone, whole) < 0.4 * distance(gone, face(3)), "it is known by now who goes out of the picture"


def test_a_face_that_stays_at_the_border_is_one_person() -> None:
    track = Track()
    track.paint(face(1), in_sight(0.8), frames=15)
    for seed in range(60):
        shown = track.paint(face(1) + face(100 + seed, 0, 8), in_sight(0.8 + 0.05 * (seed % 2)))
    assert distance(shown, face(1)) < 2


def test_a_face_that_comes_nearer_is_learned_anew() -> None:
    far, near = pose_of(PLACES, side=24.0), pose_of(PLACES)
    track = Track()
    track.paint(face(1), far, frames=15)
    shown = track.paint(face(2), near, frames=15)
    assert distance(shown, face(2)) < 0.4 * distance(shown, face(1))


def test_a_face_that_was_large_enough_stays_who_it_is_when_it_comes_nearer() -> None:
    """Also where it is painted with more pixels than the generator needs to see of it."""

    def doubled(painted: Texture) -> Texture:
        return painted.repeat(2, 0).repeat(2, 1)

    far, near = (pose_of(PLACES, side=side) for side in (55.0, 80.0))
    assert 64 <= crop_of(far).side < crop_of(near).side < 2 * SIZE
    track = Track(MASK.repeat(2, 0).repeat(2, 1))
    track.paint(doubled(face(1)), far, frames=15)
    shown = track.paint(doubled(face(2)), near, frames=15)
    one, other = (float(np.abs(shown - doubled(face(seed)))[48:80, 48:80].mean()) for seed in (1, 2))
    assert one < 0.4 * other

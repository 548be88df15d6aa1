"""Of faces that are found several times, or in parts, one stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.detectors import merge, suppress_overlaps, take_in_fragments
from models.faces import Boxes, Faces, concatenate, no_faces
from tests.models.test_detectors import overlaps


def boxes_of(corners: Boxes) -> Boxes:
    return np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:] + 1], axis=1)


corner_arrays = st.integers(0, 30).flatmap(lambda count: arrays(np.float32, (count, 4), elements=st.floats(0, 100, width=32)))


@given(corner_arrays, st.integers(0, 2**32 - 1), st.floats(0.1, 0.9))
def test_suppression_keeps_the_best_of_each_overlap(corners: Boxes, seed: int, max_overlap: float) -> None:
    boxes = boxes_of(corners)
    scores = np.random.default_rng(seed).random(len(boxes), np.float32)
    kept = suppress_overlaps(boxes, scores, max_overlap)
    assert (np.diff(scores[kept]) <= 0).all()
    for index, row in enumerate(kept):
        assert (overlaps(boxes[row], boxes[kept[index + 1 :]]) <= max_overlap + 1e-4).all()
    for row in set(range(len(boxes))) - set(kept.tolist()):
        better = kept[scores[kept] >= scores[row]]
        assert (overlaps(boxes[row], boxes[better]) > max_overlap - 1e-4).any()


def with_landmarks(box: list[float], score: float, landmarks: list[list[float]]) -> Faces:
    """A face with a nose and two eyes."""
    keypoints, keypoint_scores = np.zeros((1, 7, 2), np.float32), np.zeros((1, 7), np.float32)
    keypoints[0, :3], keypoint_scores[0, :3] = landmarks, score
    scores = np.array([score], np.float32)
    return Faces(boxes=np.array([box], np.float32), scores=scores, keypoints=keypoints, keypoint_scores=keypoint_scores)


LANDMARKS = [[250.0, 320.0], [320.0, 240.0], [200.0, 240.0]]
NEAR = [[x + 30, y + 20] for x, y in LANDMARKS]
ELSEWHERE = [[x + 30, y + 90] for x, y in LANDMARKS]


@pytest.mark.parametrize(
    ("box", "score", "landmarks", "close_up_score", "is_taken"),
    [
        ([200, 180, 410, 390], 0.92, NEAR, 0.78, True),
        ([200, 180, 410, 390], 0.92, ELSEWHERE, 0.78, False),
        ([200, 180, 410, 390], 0.92, NEAR, 0.45, False),
        ([110, 100, 380, 480], 0.92, NEAR, 0.78, False),
    ],
    ids=["a fragment", "another face", "an unsure close-up", "the face found twice"],
)
def test_a_sure_close_up_takes_in_its_fragments_and_nothing_else(
    box: list[float], score: float, landmarks: list[list[float]], close_up_score: float, is_taken: bool
) -> None:
    close_up = with_landmarks([130, 100, 390, 500], close_up_score, LANDMARKS)
    is_rest, grown = take_in_fragments(with_landmarks(box, score, landmarks), close_up)
    assert is_rest.tolist() == [not is_taken]
    assert grown.boxes[0].tolist() == ([130, 100, 410, 500] if is_taken else [130, 100, 390, 500])
    assert grown.scores[0] == pytest.approx(max(score, close_up_score) if is_taken else close_up_score)
    assert np.array_equal(grown.keypoints, close_up.keypoints)


def test_nothing_is_taken_in_where_there_is_nothing() -> None:
    face = with_landmarks([200, 180, 410, 390], 0.9, NEAR)
    assert len(merge(face, no_faces())) == 1
    assert len(merge(no_faces(), face)) == 1
    assert len(merge(no_faces(), face, threshold=0.95)) == 0


def test_a_close_up_that_took_in_a_fragment_is_no_stronger_against_other_faces() -> None:
    close_up, fragment = with_landmarks([130, 100, 390, 500], 0.78, LANDMARKS), with_landmarks([200, 180, 410, 390], 0.92, NEAR)
    child = with_landmarks([200, 350, 330, 480], 0.85, [[260, 440], [290, 400], [240, 400]])
    before = with_landmarks([150, 260, 390, 490], 0.85, ELSEWHERE)
    for other in (child, before):
        merged = merge(concatenate(fragment, other), close_up)
        assert merged.scores.tolist() == pytest.approx([0.92, 0.85])
        assert merged.boxes.tolist() == [[130, 100, 410, 500], other.boxes[0].tolist()]
    # A worse one within it is a fragment of another kind.
    merged = merge(concatenate(fragment, replace(child, scores=np.array([0.7], np.float32))), close_up)
    assert merged.boxes.tolist() == [[130, 100, 410, 500]]


def test_fragments_of_a_better_close_up_are_dropped_and_better_faces_stay() -> None:
    close_up = Faces(boxes=np.array([[0, 0, 1000, 700]], np.float32), scores=np.array([0.6], np.float32))
    inside = np.array([[100, 100, 300, 300], [500, 100, 700, 300]], np.float32)
    merged = merge(Faces(boxes=inside, scores=np.array([0.5, 0.9], np.float32)), close_up)
    assert merged.boxes.tolist() == [inside[1].tolist(), close_up.boxes[0].tolist()]

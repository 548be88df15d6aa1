"""Several looks at a picture give each face once, and nothing that was found is left bare."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.faces import Faces, no_faces
from models.union import unite


def faces(*rows: tuple[float, float, float, float, float]) -> Faces:
    """rows: x1 y1 x2 y2 score."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Faces(boxes=table[:, :4], scores=table[:, 4])


def boxes_of(found: Faces) -> list[list[float]]:
    boxes: list[list[float]] = found.boxes.tolist()
    return boxes


def test_the_best_look_at_a_face_stands_for_all_that_nearly_agree() -> None:
    united = unite(faces((100, 100, 140, 150, 0.6)), faces((101, 99, 140, 151, 0.9)), no_faces())
    assert boxes_of(united) == [[101, 99, 140, 151]]
    assert united.scores.tolist() == [np.float32(0.9)]


def test_a_box_grows_over_what_it_stands_for() -> None:
    united = unite(faces((100, 100, 140, 150, 0.6)), faces((100, 100, 140, 130, 0.9)))
    assert boxes_of(united) == [[100, 100, 140, 150]]
    assert united.scores.tolist() == [np.float32(0.9)]


def test_fragments_in_a_whole_face_are_left_out_however_good_they_are() -> None:
    whole = faces((0, 0, 400, 500, 0.5))
    fragments = faces((20, 50, 180, 200, 0.9), (210, 60, 380, 210, 0.8))
    assert boxes_of(unite(fragments, whole)) == [[0, 0, 400, 500]]


def test_a_whole_face_grows_over_a_fragment_that_sticks_out() -> None:
    assert boxes_of(unite(faces((-20, 50, 180, 200, 0.9)), faces((0, 0, 400, 500, 0.5)))) == [[-20, 0, 400, 500]]


def test_neighbours_stay_two() -> None:
    both = faces((0, 0, 40, 50, 0.9), (35, 0, 75, 50, 0.8))
    assert boxes_of(unite(both)) == boxes_of(both)


rows = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40), st.floats(0.25, 1.0, width=32))


@given(st.lists(st.lists(rows, max_size=8), min_size=1, max_size=3))
def test_nine_tenths_of_whatever_was_found_are_covered(looks: list[list[tuple[int, int, int, int, float]]]) -> None:
    found = [faces(*((x, y, x + width, y + height, score) for x, y, width, height, score in look)) for look in looks]
    united = unite(*found)
    assert sorted(united.scores.tolist(), reverse=True) == united.scores.tolist()
    for box in np.concatenate([look.boxes for look in found]):
        shared = np.minimum(box[2:], united.boxes[:, 2:]) - np.maximum(box[:2], united.boxes[:, :2])
        part = np.prod(np.maximum(shared, 0), axis=1) / np.prod(box[2:] - box[:2])
        assert part.max() >= 0.899

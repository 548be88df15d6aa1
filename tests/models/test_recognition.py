"""How often different people are taken for one, of points whose distances are known."""

from __future__ import annotations

import numpy as np
import pytest

from models.recognition import chance_of_a_match, identified, matches_of_strangers


def test_chance_pairs_are_of_different_people() -> None:
    rows = np.array([[0.0], [0.1], [5.0]], np.float32)
    match, distance, pairs = chance_of_a_match(rows, ["a", "a", "b"], 0.6)
    assert (match, distance, pairs) == (0.0, pytest.approx(4.95), 2)
    assert chance_of_a_match(rows[:2], ["a", "a"], 0.6) == (None, None, 0)


def test_strangers_are_the_originals_of_other_groups() -> None:
    originals = np.array([[0.0], [0.1], [5.0]], np.float32)
    # The last face looks like the first two people, who are one; the own originals do not count.
    hidden = np.array([[0.0], [0.1], [0.2]], np.float32)
    assert matches_of_strangers(hidden, originals, ["a", "a", "b"], 0.6) == 0.5
    assert matches_of_strangers(originals, originals, ["a", "a", "b"], 0.6) == 0.0
    assert matches_of_strangers(hidden, originals, ["a", "a", "a"], 0.6) is None


def test_a_face_is_identified_where_no_other_person_is_as_near() -> None:
    originals = np.array([[0.0], [0.1], [5.0], [5.0]], np.float32)
    # Two pictures of one person do not rival each other; where two people are equally near, nobody is identified.
    hidden = np.array([[0.1], [4.0], [4.0], [5.0]], np.float32)
    assert identified(hidden, originals, ["a", "a", "b", "b"]) == 0.75
    assert identified(hidden, originals, ["a", "a", "b", "c"]) == 0.25
    assert identified(hidden, originals, ["a", "a", "a", "a"]) is None

"""The tracker covers faces before, between and after their detections, and gives every frame back once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.faces import Faces, no_faces
from streamer.config import TrackerSettings
from streamer.tracker import TrackedFrame, Tracker
from tests.streamer.tracking import FRAME_SIZE, LOOK_AHEAD_S, RATE, Box, faces_at, square, track


def contains(outer: NDArray[np.float32], inner: Box, error_px: float = 1e-3) -> bool:
    x1, y1, x2, y2 = outer
    return bool(x1 <= inner[0] + error_px and y1 <= inner[1] + error_px and x2 >= inner[2] - error_px and y2 >= inner[3] - error_px)


def is_covered(frame: TrackedFrame, box: Box) -> bool:
    return any(contains(covered, box) for covered in frame.boxes)


boxes = st.builds(square, st.floats(0, FRAME_SIZE[0], width=32), st.floats(0, FRAME_SIZE[1], width=32), st.floats(4, 400, width=32))
streams = st.lists(
    st.tuples(
        st.one_of(st.none(), st.lists(boxes, max_size=4)),
        st.sampled_from([0.0, 0.001, 0.02, 0.04, 0.2, 0.7, -0.1]),
        st.sampled_from([False] * 9 + [True]),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(streams, st.sampled_from([0.0, 0.1, 0.5]), st.sampled_from([None, 0, 3]))
def test_every_frame_leaves_once_in_order_with_every_detection_covered(
    stream: list[tuple[list[Box] | None, float, bool]], look_ahead_s: float, max_frames: int | None
) -> None:
    frames = [None if found is None else faces_at(*found) for found, _, _ in stream]
    times_s = np.cumsum([step for _, step, _ in stream]).tolist()
    cuts = [number for number, (_, _, is_cut) in enumerate(stream) if is_cut]
    tracked = track(frames, times_s=times_s, cuts=cuts, look_ahead_s=look_ahead_s, max_frames=max_frames)
    assert [frame.number for frame in tracked] == list(range(len(stream)))
    for (found, _, _), frame in zip(stream, tracked, strict=True):
        assert np.isfinite(frame.boxes).all()
        assert (frame.boxes[:, 2:] > frame.boxes[:, :2]).all()
        assert (frame.covered_whole == "undetectable") == (found is None)
        for box in found or []:
            assert is_covered(frame, box)


def test_a_face_is_covered_from_look_ahead_before_to_look_ahead_after_at_any_frame_times() -> None:
    generator = np.random.default_rng(1)
    times_s = np.cumsum(generator.uniform(0.005, 0.09, 120)).tolist()
    box = square(400, 300, 80)
    seen = range(50, 70)
    tracked = track([faces_at(box) if number in seen else no_faces() for number in range(120)], times_s=times_s)
    for time_s, frame in zip(times_s, tracked, strict=True):
        is_due = times_s[50] - LOOK_AHEAD_S <= time_s <= times_s[69] + LOOK_AHEAD_S
        assert is_covered(frame, box) == is_due
        if is_due:
            expected = "reached_back" if time_s < times_s[50] else "held" if time_s > times_s[69] else "detected"
            assert frame.reasons == (expected,)


def test_a_frame_that_lasts_longer_than_the_look_ahead_still_covers_its_neighbours() -> None:
    box = square(400, 300, 80)
    tracked = track([no_faces(), no_faces(), faces_at(box), no_faces(), no_faces()], times_s=[0.0, 1.0, 2.0, 3.0, 4.0])
    assert [len(frame.boxes) for frame in tracked] == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("moving", [0.0, 120.0, 400.0])
def test_gaps_are_bridged_where_the_face_was(moving: float) -> None:
    def box_at(number: int) -> Box:
        return square(200 + moving * number / RATE, 300, 60)

    missing = {*range(10, 22), 30, *range(36, 44)}
    tracked = track([faces_at() if n in missing else faces_at(box_at(n), keypoint_score=0.8) for n in range(55)])
    for number, frame in enumerate(tracked):
        assert set(frame.tracks.tolist()) == {1}
        assert is_covered(frame, box_at(number))
        if number in missing:
            assert frame.reasons[0] == "bridged"
            assert frame.scores[0] == 0
            assert frame.keypoint_scores[0].min() > 0.5
            np.testing.assert_allclose(frame.keypoints[0, 0], [200 + moving * number / RATE, 300], atol=3)


@pytest.mark.parametrize("moving", [0.0, 120.0])
def test_keypoints_do_not_come_and_go(moving: float) -> None:
    """One that is found in two frames of three is there in all of them, one that is found in one of four in none."""

    def faces(number: int) -> Faces:
        found = faces_at(square(200 + moving * number / RATE, 300, 60), keypoint_score=0.8)
        scores, keypoints = found.keypoint_scores.copy(), found.keypoints.copy()
        if number % 3 == 0:
            scores[0, 1], keypoints[0, 1] = 0, -99
        if number % 4:
            scores[0, 2], keypoints[0, 2] = 0, -99
        return dataclasses.replace(found, keypoints=keypoints, keypoint_scores=scores)

    for number, frame in enumerate(track([faces(number) for number in range(40)])[6:-6], start=6):
        np.testing.assert_allclose(frame.keypoint_scores[0, [0, 1, 2]], [0.8, 0.8, 0.0], atol=1e-5)
        for point in (0, 1):
            np.testing.assert_allclose(frame.keypoints[0, point], [200 + moving * number / RATE, 300], atol=0.5)


@pytest.mark.parametrize("seen", [range(0, 20), range(20, 40)])
def test_a_face_out_of_sight_keeps_its_keypoints_where_it_is_heading(seen: range) -> None:
    tracked = track([faces_at(square(200 + 2.0 * n, 300, 60), keypoint_score=0.8) if n in seen else faces_at() for n in range(40)])
    for number in (13, 26):
        if number not in seen:
            (frame,) = (frame for frame in tracked if frame.number == number)
            assert frame.reasons[0] in ("held", "reached_back")
            assert frame.keypoint_scores[0].min() > 0.5
            assert abs(frame.keypoints[0, 0, 0] - (200 + 2.0 * number)) < 8


def test_a_track_is_known_by_its_best_score() -> None:
    """Also in the frames before that detection, as far as the look-ahead reaches."""
    frames = [
        dataclasses.replace(faces_at(square(200, 300, 60)), scores=np.array([0.9 if number == 20 else 0.3], np.float32))
        for number in range(40)
    ]
    tracked = track(frames)
    assert tracked[2].best_scores.tolist() == pytest.approx([0.3])
    assert tracked[10].best_scores.tolist() == pytest.approx([0.9])
    assert tracked[35].best_scores.tolist() == pytest.approx([0.9])


def test_a_walker_found_only_every_third_of_a_second_is_covered_all_the_way() -> None:
    """Small faces are found by thorough frames alone; a walker passes nine face widths a second."""
    size, speed = 20.0, 180.0
    start, stop = 3, 60
    frames = [
        faces_at(square(100 + speed * n / RATE, 300, size)) if start <= n < stop and n % 8 == 3 else no_faces() for n in range(80)
    ]
    tracked = track(frames)
    for number in range(start, stop - 4):
        assert is_covered(tracked[number], square(100 + speed * number / RATE, 300, size * 0.9)), number


def test_a_gap_of_almost_twice_the_look_ahead_leaves_no_hole() -> None:
    box = square(400, 300, 80)
    tracked = track([faces_at(box) if n in (10, 33) else no_faces() for n in range(50)])
    assert all(is_covered(frame, box) for frame in tracked[10:34])
    assert {reason for frame in tracked[11:33] for reason in frame.reasons} == {"held", "bridged", "reached_back"}


def test_a_face_that_turns_around_in_a_gap_is_covered() -> None:
    """The way over a gap bends as the speeds before and after it say."""

    def box_at(number: int) -> Box:
        return square(400 + 45 * np.cos((number - 21) / 9), 300, 60)

    tracked = track([faces_at() if 17 <= n < 26 else faces_at(box_at(n)) for n in range(45)])
    assert {frame.reasons[0] for frame in tracked[17:26]} == {"bridged"}
    assert all(contains(frame.boxes[0], box_at(number)) for number, frame in enumerate(tracked))


@pytest.mark.parametrize("gap", [0, 1, 7, 12])
@pytest.mark.parametrize("apart", [0.8, 1.5, 2.5])
def test_two_faces_that_might_be_one_are_both_covered_for_the_look_ahead(gap: int, apart: float) -> None:
    lost, found = square(400, 300, 40), square(400 + 40 * apart, 300, 40)
    tracked = track([no_faces()] * 20 + [faces_at(lost)] * 5 + [no_faces()] * gap + [faces_at(found)] * 5 + [no_faces()] * 20)
    for frame in tracked[25:37]:
        assert is_covered(frame, lost)
    for frame in tracked[25 + gap - 12 : 25 + gap]:
        assert is_covered(frame, found)


def test_unknown_detections_are_covered_whole_and_bridged() -> None:
    box = square(400, 300, 80)
    tracked = track([faces_at(box), None, None, faces_at(box)])
    assert [frame.covered_whole for frame in tracked] == [None, "undetectable", "undetectable", None]
    assert [frame.reasons for frame in tracked] == [("detected",), ("bridged",), ("bridged",), ("detected",)]


def test_the_reason_to_cover_a_whole_frame_is_passed_on() -> None:
    tracker = Tracker(TrackerSettings(look_ahead_s=0.0), FRAME_SIZE)
    (frame,) = tracker.push(0, 0.0, faces_at(square(400, 300, 80)), is_cut=False, covered_whole="corrupt")
    assert frame.covered_whole == "corrupt"
    assert frame.reasons == ("detected",)


@pytest.mark.parametrize("speed", [80.0, 300.0, 700.0])
def test_tracks_keep_their_ids_where_faces_cross(speed: float) -> None:
    generator = np.random.default_rng(3)
    count = int(2 * 300 / speed * RATE)

    def pair(number: int) -> list[Box]:
        way = speed * (number / RATE) - 300
        jitter = generator.normal(0, 1.0, 4)
        return [square(600 + way + jitter[0], 300 + jitter[1], 60), square(600 - way + jitter[2], 310 + jitter[3], 60)]

    positions = [pair(number) for number in range(count)]
    tracked = track([faces_at(*pair) for pair in positions])
    for frame, (first, second) in zip(tracked, positions, strict=True):
        assert sorted(frame.tracks.tolist()) == [1, 2]
        assert is_covered(frame, first)
        assert is_covered(frame, second)
    for frame, (first, second) in (*zip(tracked[:3], positions[:3]), *zip(tracked[-3:], positions[-3:])):  # noqa: B905
        by_track = dict(zip(frame.tracks.tolist(), frame.boxes, strict=True))
        assert contains(by_track[1], first)
        assert contains(by_track[2], second)


def test_a_face_hidden_behind_another_keeps_its_track() -> None:
    speed = 300.0
    frames, positions = [], []
    for number in range(60):
        way = speed * number / RATE - 300
        both = [square(600 + way, 300, 60), square(600 - way, 305, 60)]
        positions.append(both)
        frames.append(faces_at(*(both[:1] if abs(way) < 35 else both)))
    tracked = track(frames)
    for frame, both in zip(tracked, positions, strict=True):
        assert all(is_covered(frame, box) for box in both)
    last = dict(zip(tracked[-1].tracks.tolist(), tracked[-1].boxes, strict=True))
    assert contains(last[1], positions[-1][0])
    assert contains(last[2], positions[-1][1])


def test_nothing_crosses_a_cut() -> None:
    old, new = square(300, 300, 80), square(310, 300, 80)
    frames = [faces_at(old)] * 20 + [no_faces()] * 20 + [faces_at(new)] * 20 + [no_faces()] * 20
    tracked = track(frames, cuts=(20, 40, 60))
    assert [frame.reasons for frame in tracked] == ([("detected",)] * 20 + [()] * 20) * 2
    assert {int(track) for frame in tracked[:20] for track in frame.tracks} == {1}
    assert {int(track) for frame in tracked[40:60] for track in frame.tracks} == {2}
    for frame in tracked[:20]:
        np.testing.assert_allclose(frame.boxes[0], old, atol=1e-3)
    for frame in tracked[40:60]:
        np.testing.assert_allclose(frame.boxes[0], new, atol=1e-3)


def test_a_cut_lets_the_frames_before_it_leave() -> None:
    tracker = Tracker(TrackerSettings(), FRAME_SIZE)
    for number in range(5):
        assert tracker.push(number, number / RATE, no_faces(), is_cut=False) == []
    assert [frame.number for frame in tracker.push(5, 5 / RATE, no_faces(), is_cut=True)] == [0, 1, 2, 3, 4]


def test_frames_leave_as_soon_as_their_look_ahead_is_known() -> None:
    tracker = Tracker(TrackerSettings(look_ahead_s=0.2), FRAME_SIZE)
    left = [[frame.number for frame in tracker.push(n, n / RATE, no_faces(), is_cut=False)] for n in range(8)]
    assert left == [[], [], [], [], [], [0], [1], [2]]


def test_no_more_frames_wait_than_allowed() -> None:
    tracker = Tracker(TrackerSettings(look_ahead_s=5.0), FRAME_SIZE, max_frames=3)
    left = [[frame.number for frame in tracker.push(n, n / RATE, no_faces(), is_cut=False)] for n in range(6)]
    assert left == [[], [], [], [0], [1], [2]]


def test_times_that_jump_back_hold_no_frame_for_ever() -> None:
    tracker = Tracker(TrackerSettings(), FRAME_SIZE)
    times_s = [1000 + n / RATE for n in range(20)] + [n / RATE for n in range(100)]
    left = [frame.number for n, time_s in enumerate(times_s) for frame in tracker.push(n, time_s, no_faces(), is_cut=False)]
    assert left == list(range(107))


def test_a_number_that_does_not_grow_is_refused() -> None:
    tracker = Tracker(TrackerSettings(), FRAME_SIZE)
    tracker.push(4, 0.0, None, is_cut=False)
    with pytest.raises(ValueError, match="frame 4 came after frame 4"):
        tracker.push(4, 0.1, None, is_cut=False)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_faces_changes_nothing(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count = int(generator.integers(2, 8))
    start, speed = generator.uniform(100, 600, (count, 2)), generator.uniform(-8, 8, (count, 2))
    frames, shuffled = [], []
    for number in range(40):
        found = [
            square(*(start[face] + speed[face] * number + generator.normal(0, 1, 2)), 40 + 9 * face)
            for face in range(count)
            if generator.random() < 0.8
        ]
        frames.append(faces_at(*found))
        shuffled.append(faces_at(*(found[i] for i in generator.permutation(len(found)))))
    for one, other in zip(track(frames), track(shuffled), strict=True):
        order, other_order = np.lexsort(one.boxes.T), np.lexsort(other.boxes.T)
        np.testing.assert_allclose(one.boxes[order], other.boxes[other_order], atol=1e-3)


def test_memory_is_bounded_however_long_the_stream() -> None:
    tracker = Tracker(TrackerSettings(), FRAME_SIZE)
    generator = np.random.default_rng(7)
    most_waiting = most_remembered = most_capacity = 0
    for number in range(10_000):
        steady, fleeting = square(300, 300, 80), square(*generator.uniform(0, 700, 2), 30)
        faces = faces_at(steady, *([fleeting] if generator.random() < 0.05 else []))
        tracker.push(number, number / RATE, faces, is_cut=False)
        most_waiting = max(most_waiting, len(tracker._waiting))
        most_remembered = max(most_remembered, sum(len(track.history) for track in tracker._tracks))
        most_capacity = max(most_capacity, *(track.history.capacity for track in tracker._tracks))
    assert most_waiting <= 13
    assert most_remembered < 60
    assert most_capacity <= 128

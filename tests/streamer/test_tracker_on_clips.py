"""Detector and tracker together keep moving faces covered, though the detector runs all its passes on few frames only."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.detectors import CenterFaceDetector, Effort, RgbImage, image_render
from models.faces import Faces, no_faces
from streamer.config import FilterSettings, TrackerSettings
from streamer.tracker import TrackedFrame, Tracker
from tests.streamer.portraits import portrait

FRAME_SIZE = (480, 270)
RATE = 25
FRAMES = 75
PORTRAIT_PX = 100
DETECTOR_SIZE = 416
THOROUGH_EVERY = 8
Corner = Callable[[int], tuple[float, float]]  # where the portrait's upper left corner is in a frame, pixels

WALKERS: tuple[Corner, ...] = (
    lambda number: (-60 + 7.0 * number, 15),  # enters on the left and leaves on the right: four face widths a second
    lambda number: (330 - 4.0 * number, 120 + 25 * np.sin(number / 5)),  # bobs the other way; their ways cross
)


@cache
def detector() -> CenterFaceDetector:
    return CenterFaceDetector(size=DETECTOR_SIZE)


def frame_and_faces(number: int) -> tuple[RgbImage, list[NDArray[np.float64]]]:
    """A frame of the clip, and the boxes of the faces of which at least half lies in it."""
    columns, rows = np.meshgrid(np.arange(FRAME_SIZE[0]), np.arange(FRAME_SIZE[1]))
    scene = np.stack([90 + columns // 8, 120 - rows // 8, 100 + rows // 6], axis=2).astype(np.uint8)
    faces = []
    for index, corner in enumerate(WALKERS):
        image, box = portrait(index, PORTRAIT_PX, DETECTOR_SIZE)
        place = np.array(corner(number))
        shift = np.hstack([np.eye(2), place[:, None]])
        cv2.warpAffine(image, shift, FRAME_SIZE, dst=scene, borderMode=cv2.BORDER_TRANSPARENT)
        moved = box + np.tile(place, 2)
        visible = np.clip(moved, 0, np.tile(FRAME_SIZE, 2))
        if area(visible) >= 0.5 * area(moved):
            faces.append(visible)
    return scene, faces


def area(box: NDArray[np.float64]) -> float:
    return float(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))


def covered_part(box: NDArray[np.float64], frame: TrackedFrame) -> float:
    """Part of a box under the tracked boxes and the margin that every filter adds."""
    xs, ys = np.linspace(box[0], box[2], 42)[1:-1], np.linspace(box[1], box[3], 42)[1:-1]
    covered = np.zeros((len(ys), len(xs)), np.bool_)
    for x1, y1, x2, y2 in frame.boxes:
        margin_x, margin_y = FilterSettings().margin * (x2 - x1), FilterSettings().margin * (y2 - y1)
        covered |= ((ys >= y1 - margin_y) & (ys <= y2 + margin_y))[:, None] & ((xs >= x1 - margin_x) & (xs <= x2 + margin_x))
    return float(covered.mean())


@cache
def clip() -> tuple[tuple[list[NDArray[np.float64]], Faces], ...]:
    """True faces and detections of every frame."""
    found = []
    for number in range(FRAMES):
        scene, faces = frame_and_faces(number)
        effort: Effort = "quick" if number % THOROUGH_EVERY else "thorough"
        found.append((faces, detector().detect(image_render(scene), FRAME_SIZE, effort=effort)))
    return tuple(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("detects", "least_part"),
    [
        ("every frame", 0.95),
        ("half of the frames", 0.9),
        ("thorough frames alone", 0.65),  # a face that runs in is seen once by then, which does not tell how fast it came
    ],
)
def test_faces_that_enter_cross_and_leave_stay_covered(detects: str, least_part: float) -> None:
    tracker = Tracker(TrackerSettings(), FRAME_SIZE)
    generator = np.random.default_rng(11)
    tracked: list[TrackedFrame] = []
    for number, (_, faces) in enumerate(clip()):
        is_lost = {"every frame": False, "thorough frames alone": number % THOROUGH_EVERY > 0}.get(
            detects, generator.random() < 0.5
        )
        tracked += tracker.push(number, number / RATE, no_faces() if is_lost else faces, is_cut=False)
    tracked += tracker.flush()
    parts = [covered_part(box, frame) for (boxes, _), frame in zip(clip(), tracked, strict=True) for box in boxes]
    assert len(parts) > FRAMES
    assert min(parts) >= least_part
    assert np.mean(np.array(parts) >= 0.95) >= 0.99

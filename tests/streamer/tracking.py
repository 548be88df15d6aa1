"""Faces made to order, and what a tracker makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.faces import Faces, no_faces
from streamer.config import TrackerSettings
from streamer.tracker import TrackedFrame, Tracker

FRAME_SIZE = (1280, 720)
RATE = 25
LOOK_AHEAD_S = 0.5

Box = tuple[float, float, float, float]


def square(x: float, y: float, size: float) -> Box:
    """A box about a centre."""
    return (x - size / 2, y - size / 2, x + size / 2, y + size / 2)


def faces_at(*boxes: Box, keypoint_score: float = 0.0) -> Faces:
    if not boxes:
        return no_faces()
    array = np.array(boxes, np.float32)
    middle = (array[:, :2] + array[:, 2:]) / 2
    return Faces(
        boxes=array,
        scores=np.full(len(boxes), 0.9, np.float32),
        keypoints=np.repeat(middle[:, None], 7, axis=1),
        keypoint_scores=np.full((len(boxes), 7), keypoint_score, np.float32),
    )


def track(
    frames: Sequence[Faces | None],
    *,
    times_s: Sequence[float] | None = None,
    cuts: Sequence[int] = (),
    look_ahead_s: float = LOOK_AHEAD_S,
    max_frames: int | None = None,
) -> list[TrackedFrame]:
    """All frames through a tracker, in the order in which they come out."""
    tracker = Tracker(TrackerSettings(look_ahead_s=look_ahead_s), FRAME_SIZE, max_frames=max_frames)
    tracked: list[TrackedFrame] = []
    for number, faces in enumerate(frames):
        time_s = number / RATE if times_s is None else times_s[number]
        tracked += tracker.push(number, time_s, faces, is_cut=number in cuts)
    return tracked + tracker.flush()

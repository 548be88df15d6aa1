"""A track is calmer than its detections and does not lag behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.faces import Faces
from streamer.tracker import TrackedFrame
from tests.streamer.tracking import faces_at, square, track


def noisy_line(noise_px: float, count: int = 400) -> tuple[NDArray[np.float64], list[Faces]]:
    """True centres of a face that moves evenly, and its noisy detections."""
    generator = np.random.default_rng(5)
    centres = np.stack([200 + 2.0 * np.arange(count), 100 + 1.0 * np.arange(count)], axis=1)
    return centres, [faces_at(square(x, y, 90)) for x, y in centres + generator.normal(0, noise_px, (count, 2))]


def centres_of(frames: Sequence[TrackedFrame]) -> NDArray[np.float64]:
    return np.array([(frame.boxes[0, :2] + frame.boxes[0, 2:]) / 2 for frame in frames], np.float64)


def test_smoothing_calms_jitter() -> None:
    _, frames = noisy_line(2.0)
    raw = np.array([(faces.boxes[0, :2] + faces.boxes[0, 2:]) / 2 for faces in frames])
    smoothed = centres_of(track(frames))
    raw_acceleration = np.abs(np.diff(raw, 2, axis=0)).mean()
    assert np.abs(np.diff(smoothed, 2, axis=0)).mean() < 0.3 * raw_acceleration


def test_smoothing_has_no_lag() -> None:
    centres, frames = noisy_line(2.0)
    error = centres_of(track(frames)) - centres
    assert np.abs(error[:5].mean(axis=0)).max() < 2.0
    assert np.abs(error.mean(axis=0)).max() < 0.2  # one frame of lag would be 2 px and 1 px

"""The sound of the demo: a few soft notes that wander from ear to ear, and footsteps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NOTES_HZ = (261.63, 329.63, 392.0, 440.0, 392.0, 329.63, 293.66, 349.23, 440.0, 392.0)
_NOTE_S = 0.5
_STEP_S = 0.6


def melody(duration_s: float, sample_rate: int) -> NDArray[np.float32]:
    """(2, samples): left and right, within -1 to 1."""
    count = round(duration_s * sample_rate)
    sound = np.zeros((2, count), np.float64)
    for number in range(int(duration_s / _NOTE_S)):
        start = round(number * _NOTE_S * sample_rate)
        time_s = np.arange(count - start) / sample_rate
        hertz = _NOTES_HZ[number % len(_NOTES_HZ)]
        note = np.exp(-3.5 * time_s) * (np.sin(2 * np.pi * hertz * time_s) + 0.3 * np.sin(4 * np.pi * hertz * time_s))
        right = 0.5 + 0.4 * np.sin(number * 0.7)
        sound[:, start:] += 0.22 * np.array([[1 - right], [right]]) * note
    rng = np.random.default_rng(7)
    for number in range(int(duration_s / _STEP_S)):
        start = round(number * _STEP_S * sample_rate)
        length = min(count - start, sample_rate // 12)
        fade = np.exp(-60 * np.arange(length) / sample_rate)
        sound[number % 2, start : start + length] += 0.08 * fade * rng.standard_normal(length)
    return np.ascontiguousarray(np.clip(sound, -0.95, 0.95), np.float32)

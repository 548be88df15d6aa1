"""A sound that tells its own time: a tenth of a second of tone at each full second of a camera's footage, and silence between."""

from __future__ import annotations

import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

Wave = NDArray[np.float32]  # (samples,): -1 to 1

BEEP_S = 0.1
TONE_HZ = 1000
_LOUDNESS = 0.5
_WINDOW_S = 0.002
_LEAST_LOUDNESS = 0.15


def beeps(first_sample: int, samples: int, rate_hz: int) -> Wave:
    """A piece of the sound; first_sample: since the footage began."""
    times_s = np.arange(first_sample, first_sample + samples) / rate_hz
    tone = np.sin(times_s % 1 * 2 * np.pi * TONE_HZ) * _LOUDNESS
    return np.where(times_s % 1 < BEEP_S, tone, 0).astype(np.float32)


class BeepFinder:
    """Hears when tones begin in decoded sound, to about two milliseconds."""

    def __init__(self) -> None:
        self._is_loud = True
        """At first, so that half a beep at the beginning is not taken for one."""
        self._quiet_s = 0.0

    def hear(self, frame: AudioFrame) -> list[float]:
        """The times at which beeps begin in a frame, in seconds of its pts."""
        if frame.time is None:
            return []
        samples = frame.to_ndarray()
        wave = samples.astype(np.float32) / (32768 if samples.dtype == np.int16 else 1)
        if not frame.format.is_planar:
            wave = wave.reshape(frame.samples, -1).T
        window = max(round(_WINDOW_S * frame.sample_rate), 1)
        found = []
        for start in range(0, frame.samples, window):
            is_loud = float(np.abs(wave[0, start : start + window]).max()) > _LEAST_LOUDNESS
            if is_loud:
                if not self._is_loud and self._quiet_s > BEEP_S:
                    found.append(frame.time + start / frame.sample_rate)
                self._quiet_s = 0.0
            else:
                self._quiet_s += _WINDOW_S
            self._is_loud = is_loud
        return found

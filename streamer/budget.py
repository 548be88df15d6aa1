"""What a job may use of the machine: processes, threads, and memory for pictures in flight."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from streamer.config import DetectorSettings
from streamer.effort import THOROUGH_EVERY_S
from streamer.errors import UsageError
from streamer.messages import StreamOpened
from streamer.pictures import PictureLayout
from streamer.rings import slot_bytes

_SAFE_SLOTS = 6
"""Enough for an encoder that takes frames in bursts."""
_FEWEST_SAFE_SLOTS = 2
_USUAL_RATE = 30.0
"""Frames a second where the container does not say."""
GREATEST_RATE = 240
"""Whatever tells of more frames a second tells the ticks of a clock."""
_RATE_HEADROOM = 1.25
"""Where the rate varies, frames can come closer together than on average."""
_MEBIBYTE = 1 << 20


_MOST_DECODER_THREADS = 4
"""Decoding is a small part of the work; each thread more holds a picture more."""
_MOST_ENCODER_THREADS = 16
"""Beyond that, x264 loses more quality than it gains time."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def detector_processes(settings: DetectorSettings) -> int:
    """As many as were asked for, else one for each core."""
    return settings.processes or cores()


def decoder_threads() -> int:
    return min(cores(), _MOST_DECODER_THREADS)


def encoder_threads() -> int:
    return min(cores(), _MOST_ENCODER_THREADS)


@dataclass(frozen=True, kw_only=True)
class RingPlan:
    """Slots of the rings of one stream."""

    raw_slots: int
    safe_slots: int
    window_frames: int
    """Most frames that may wait for the look-ahead behind them; always less than `raw_slots`, or nothing would move."""
    interval_frames: int | None
    """Most frames from a thorough one to the next, for which there is room beside the window; None where there is none."""
    look_ahead_s: float | None
    """What is left of the look-ahead where the memory does not hold all of it, else None."""


def plan_rings(opened: StreamOpened, *, look_ahead_s: float, detectors: int, ring_mebibytes: int) -> RingPlan:
    """Slots for the look-ahead, for the frames that wait for the next thorough one, and for a frame at every detector.

    Where the memory is short, no frame waits for a thorough one, and then the look-ahead shrinks.
    Raises UsageError where not even the least fits into the memory.
    """
    numerator, denominator = opened.peak_rate
    rate = numerator / denominator if numerator and denominator else _USUAL_RATE
    window = math.ceil(look_ahead_s * rate * _RATE_HEADROOM) + 2
    interval = math.ceil(THOROUGH_EVERY_S * rate) + 1
    at_work, least_at_work = detectors * 3 + 2, detectors + 2
    affordable = ring_mebibytes * _MEBIBYTE // slot_bytes(opened.layout)
    waiting = window + interval + least_at_work
    if waiting + _FEWEST_SAFE_SLOTS <= affordable:
        safe_slots = min(_SAFE_SLOTS, affordable - waiting)
        return RingPlan(raw_slots=waiting, safe_slots=safe_slots, window_frames=window, interval_frames=interval, look_ahead_s=None)
    if window + at_work + _SAFE_SLOTS <= affordable:
        return RingPlan(
            raw_slots=window + at_work, safe_slots=_SAFE_SLOTS, window_frames=window, interval_frames=None, look_ahead_s=None
        )
    left = affordable - least_at_work - _FEWEST_SAFE_SLOTS
    if left < 1:
        needed = (least_at_work + _FEWEST_SAFE_SLOTS + 1) * slot_bytes(opened.layout)
        raise UsageError(
            f"ring_mebibytes: pictures of {opened.layout.width}x{opened.layout.height} with {detectors} detector processes need at "
            f"least {math.ceil(needed / _MEBIBYTE)}, is {ring_mebibytes}"
        )
    shorter = min(window, left)
    return RingPlan(
        raw_slots=shorter + least_at_work,
        safe_slots=_FEWEST_SAFE_SLOTS,
        window_frames=shorter,
        interval_frames=None,
        look_ahead_s=min(look_ahead_s, shorter / rate) if shorter < window else None,
    )


_LIVE_SAFE_SLOTS = 4
_LIVE_SPARE_SLOTS = 6
"""For the frames that wait for a detector, one at the anonymizer, and two for the camera to write to."""


def plan_live_rings(
    layout: PictureLayout, rate: float, *, look_ahead_s: float, detectors: int, ring_mebibytes: int
) -> RingPlan | None:
    """The same for a camera; None where not even the least fits into the memory.

    rate: frames a second as the camera says; 0 where it does not, and some give the ticks of their clock.
    """
    rate = rate if 0 < rate <= GREATEST_RATE else _USUAL_RATE
    window = math.ceil(look_ahead_s * rate * _RATE_HEADROOM) + 2
    affordable = ring_mebibytes * _MEBIBYTE // slot_bytes(layout)
    others = detectors + _LIVE_SPARE_SLOTS
    left = affordable - others - _LIVE_SAFE_SLOTS
    if left < 1:
        return None
    shorter = min(window, left)
    return RingPlan(
        raw_slots=shorter + others,
        safe_slots=_LIVE_SAFE_SLOTS,
        window_frames=shorter,
        interval_frames=None,
        look_ahead_s=min(look_ahead_s, shorter / rate) if shorter < window else None,
    )

"""Timestamps that an encoder can take: strictly increasing, without the jumps of joined recordings."""

from __future__ import annotations

from fractions import Fraction

_LARGEST_STEP_BACK_S = 1
"""A timestamp further back than this begins a new recording; a smaller step back is a fault of one frame."""
_LARGEST_GAP_S = 10
"""A step forward longer than this begins a new recording, in formats whose clock may jump."""


class Epochs:
    """Seconds to add to the timestamps of each recording that a file was joined from, shared by all of its tracks.

    Whichever track first crosses a seam decides the shift; the others take the same one there, so that they stay in step.
    """

    def __init__(self, start: Fraction = Fraction(0)) -> None:
        self.shifts = [start]


class Timeline:
    """One track's timestamps in units of its time base."""

    def __init__(self, time_base: Fraction, epochs: Epochs, *, may_jump: bool = False) -> None:
        """may_jump: the format's clock may leap (MPEG streams); in others a long gap is a long picture."""
        self._time_base = time_base
        self._epochs = epochs
        self._epoch = 0
        self._may_jump = may_jump
        self._last: int | None = None
        self._end: int | None = None
        self.repaired = 0
        """Timestamps that were missing, repeated or out of order."""
        self.seams = 0
        """Jumps that were closed."""

    def place(self, stamp: int | None, duration: int) -> int:
        """The timestamp to use for the next frame or packet: after the one before; `duration` is 0 where it is unknown."""
        if stamp is None:
            self.repaired += 1
            placed = self._end if self._end is not None else self._shift()
        else:
            placed = self._after_seam(stamp)
        if self._last is not None and placed <= self._last:
            self.repaired += stamp is not None
            placed = self._last + 1
        self._last = placed
        self._end = placed + max(duration, 1)
        return placed

    def _shift(self) -> int:
        return round(self._epochs.shifts[self._epoch] / self._time_base)

    def _after_seam(self, stamp: int) -> int:
        placed = stamp + self._shift()
        if self._last is None or self._end is None:
            return placed
        step_s = (placed - self._last) * self._time_base
        if step_s >= -_LARGEST_STEP_BACK_S and not (self._may_jump and step_s > _LARGEST_GAP_S):
            return placed
        self.seams += 1
        self._epoch += 1
        if self._epoch == len(self._epochs.shifts):
            self._epochs.shifts.append((self._end - stamp) * self._time_base)
        return stamp + self._shift()

"""The times of a live stream: those that the camera says, on the clock of the output, which goes on whatever the camera does."""

from __future__ import annotations

from fractions import Fraction

from streamer.live.messages import CLOCK

MOST_AHEAD_S = 0.25
"""Pictures that claim to be of the future came in a heap, from a server that had kept them: the clock is set anew."""
MOST_BEHIND_S = 5.0
"""Pictures come late when the network is slow, and catch up; beyond this, the camera's clock has been set or runs too slowly."""


class CameraClock:
    """Maps the timestamps of one session to seconds since the origin of its stream.

    The first picture is of the moment in which it arrives; what follows keeps the distances that the camera says, as long as they
    agree with the time of arrival.
    """

    def __init__(self, origin_s: float) -> None:
        """origin_s: on the clock of `time.monotonic`."""
        self._origin_s = origin_s
        self._shift_s: float | None = None  # from the camera's seconds to the monotonic clock
        self._last_pts: int | None = None

    @property
    def is_set(self) -> bool:
        """Whether a picture has been placed; before, the times of sound mean nothing."""
        return self._shift_s is not None

    def place(self, stamp_s: float | None, now_s: float) -> int:
        """`pts` of a picture in the output, later than that of the one before. stamp_s: the camera's time, if it says one."""
        if stamp_s is None:
            stamp_s = now_s - (self._shift_s if self._shift_s is not None else 0.0)
        if self._shift_s is None or not -MOST_AHEAD_S <= now_s - (stamp_s + self._shift_s) <= MOST_BEHIND_S:
            self._shift_s = now_s - stamp_s
        pts = round((stamp_s + self._shift_s - self._origin_s) * CLOCK)
        if self._last_pts is not None:
            pts = max(pts, self._last_pts + 1)
        self._last_pts = pts
        return pts

    def shift(self, time_base: Fraction) -> int:
        """What to add to timestamps of sound, in units of its time base. Only once the clock `is_set`."""
        assert self._shift_s is not None
        return round((self._shift_s - self._origin_s) / time_base)

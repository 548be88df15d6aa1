"""The times of a live stream: those that the camera says, on the clock of the output, which goes on whatever the camera does."""

from __future__ import annotations

from fractions import Fraction

from streamer.live.messages import CLOCK

MOST_AHEAD_S = 0.25
"""Pictures that claim to be of the future came in a heap, from a server that had kept them: the clock is set anew."""
MOST_BEHIND_S = 5.0
"""Pictures come late when the network is slow, and catch up; beyond this, the camera's clock has been set."""
_MOST_BACK_S = 0.1
"""Pictures come in the order in which they are shown: times that go back by more are of a clock that has been set."""
SOUND_AHEAD_S = 2.0
"""Sound may come before the pictures that it belongs to, but not by more."""
_SLEW_EVERY_S = 10.0
_MOST_SLEW_S = 0.005
"""In each such time, the clock is moved by so much towards the earliest arrival: no clock runs wrong by more than a two-thousandth,
and nobody sees or hears it."""


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
        self._last_stamp_s: float | None = None
        self._least_late_s = float("inf")  # since the last slew
        self._slew_at_s = 0.0

    def place(self, stamp_s: float | None, now_s: float) -> int:
        """`pts` of a picture in the output, later than that of the one before. stamp_s: the camera's time, if it says one."""
        if stamp_s is None:
            stamp_s = now_s - (self._shift_s if self._shift_s is not None else 0.0)
        has_gone_back = self._last_stamp_s is not None and stamp_s < self._last_stamp_s - _MOST_BACK_S
        self._last_stamp_s = stamp_s
        if self._shift_s is None or has_gone_back or not -MOST_AHEAD_S <= now_s - (stamp_s + self._shift_s) <= MOST_BEHIND_S:
            self._shift_s = now_s - stamp_s
            self._least_late_s, self._slew_at_s = float("inf"), now_s + _SLEW_EVERY_S
        self._shift_s = self._slewed(now_s - stamp_s, now_s)
        pts = round((stamp_s + self._shift_s - self._origin_s) * CLOCK)
        if self._last_pts is not None:
            pts = max(pts, self._last_pts + 1)
        self._last_pts = pts
        return pts

    def place_sound(self, stamp_s: float, time_base: Fraction, now_s: float) -> int | None:
        """`pts` of a packet of sound in units of its time base, in step with the pictures.

        None where that cannot be known: before the first picture, and after the camera's clock was set until the next one.
        """
        if self._shift_s is None:
            return None
        placed_s = stamp_s + self._shift_s
        if not -SOUND_AHEAD_S <= now_s - placed_s <= MOST_BEHIND_S + SOUND_AHEAD_S:
            return None
        return round((placed_s - self._origin_s) / time_base)

    def _slewed(self, arrival_s: float, now_s: float) -> float:
        """The shift, moved a little where the camera's clock runs otherwise than ours. arrival_s: that of this picture alone."""
        assert self._shift_s is not None
        self._least_late_s = min(self._least_late_s, arrival_s - self._shift_s)
        if now_s < self._slew_at_s:
            return self._shift_s
        slew_s = max(-_MOST_SLEW_S, min(self._least_late_s, _MOST_SLEW_S))
        self._least_late_s, self._slew_at_s = float("inf"), now_s + _SLEW_EVERY_S
        return self._shift_s + slew_s

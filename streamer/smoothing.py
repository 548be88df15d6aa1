"""Where one face was in a frame, from what was seen of it before and after: smoothed, bridged, held or reached back."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.faces import KEYPOINT_NAMES, Faces

Reason = Literal["detected", "bridged", "held", "reached_back"]
Sides = NDArray[np.float64]  # (4,): x1 y1 x2 y2, pixels

TIME_ERROR_S = 1e-6
"""Times are sums of ticks: equal ones may differ by this."""

SMOOTHING_S = 0.08
"""Standard deviation of the smoothing in time."""
SMOOTHING_REACH_S = 0.24
"""What lies further away in time has no part in the smoothing."""
MARGIN_S = 0.12
"""The margin for what sticks out of the smoothed box is the largest within this time, then the mean within this time."""
MOTION_S = 0.15
"""Standard deviation in time of what tells the speed at the ends of a track."""
MOTION_REACH_S = 0.45
"""What lies further away in time tells nothing about the speed."""
STEADY_S = 0.03
"""Detections closer together than this say little about speed: noise outweighs motion."""

COAST_S = 0.8
"""A face out of sight goes on moving for about this long."""
FURTHEST_COAST = 1.5
"""Nor does it move further than this many face sizes."""
HOLD_GROWTH_PER_S = 0.5
"""Growth of a held or reached-back box on every side, in face sizes a second."""
BRIDGE_GROWTH_PER_S = 0.3
"""Growth of a bridged box on every side, in face sizes for each second to the nearer end of the gap."""
FURTHEST_BEND = 0.5
"""The curved way over a gap leaves the straight one by no more than this many face sizes."""

_NAMES = len(KEYPOINT_NAMES)
_POINTS = slice(4, 4 + 2 * _NAMES)
_POINT_SCORES = slice(_POINTS.stop, _POINTS.stop + _NAMES)
_SCORE = _POINT_SCORES.stop
_COLUMNS = _SCORE + 1
_SMOOTHED = slice(0, _POINT_SCORES.stop)
_ARRAYS = ("_numbers", "_times_s", "_rows", "_is_doubtful", "_covered", "_smoothed", "_excess", "_largest_excess")
_OUTWARDS = np.array([-1.0, -1.0, 1.0, 1.0])


class Cover(NamedTuple):
    """One box to cover in a frame, with what is known of the face in it."""

    box: Sides
    reason: Reason
    score: float
    keypoints: NDArray[np.float64]  # (7, 2): x y, pixels
    keypoint_scores: NDArray[np.float64]  # (7,): 0 to 1, 0 = absent


def observations(faces: Faces) -> NDArray[np.float64]:
    """Faces as the rows that `History` keeps: (faces, columns)."""
    count = len(faces)
    parts = (faces.boxes, faces.keypoints.reshape(count, -1), faces.keypoint_scores, faces.scores[:, None])
    return np.concatenate(parts, axis=1, dtype=np.float64)


class History:
    """What was seen of one face lately, in order of time; old detections are forgotten on request."""

    def __init__(self) -> None:
        self._numbers = np.zeros(16, np.int64)
        self._times_s = np.zeros(16)
        self._rows = np.zeros((16, _COLUMNS))
        self._is_doubtful = np.zeros(16, np.bool_)
        self._covered = np.zeros((16, 4))  # the detected box; once its frame has left, the box that was covered
        self._smoothed = np.zeros((16, _SMOOTHED.stop))
        self._excess = np.zeros((16, 4))  # of the detected box over the smoothed one
        self._largest_excess = np.zeros((16, 4))
        self._start = self._end = self._smoothed_end = self._enveloped_end = 0
        self._newest_doubtful = -1
        self.best_score = 0.0
        """Of all detections so far."""

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def capacity(self) -> int:
        """Detections that there is memory for."""
        return len(self._numbers)

    @property
    def last_time_s(self) -> float:
        return float(self._times_s[self._end - 1])

    @property
    def last_number(self) -> int:
        return int(self._numbers[self._end - 1])

    def append(self, number: int, time_s: float, row: NDArray[np.float64], *, is_doubtful: bool) -> None:
        """Adds a detection; is_doubtful: it may be that of another face than the one before it."""
        if self._end == len(self._numbers):
            self._make_room()
        self._numbers[self._end] = number
        self._times_s[self._end] = time_s
        self._rows[self._end] = row
        self._is_doubtful[self._end] = is_doubtful
        self._covered[self._end] = row[:4]
        self.best_score = max(self.best_score, float(row[_SCORE]))
        self._newest_doubtful = self._end if is_doubtful else self._newest_doubtful
        self._end += 1

    def forget_before(self, time_s: float) -> None:
        """Drops what is older, but for what may still tell of a detection at that time, and the newest in any case."""
        time_s -= max(SMOOTHING_REACH_S, MOTION_REACH_S)
        older = int(self._times_s[self._start : self._end].searchsorted(time_s)) - 1
        self._start = min(self._start + max(older, 0), self._end - 1)

    def covers(self, number: int, time_s: float, look_ahead_s: float) -> list[Cover]:
        """What must be covered of this face in a frame: nothing where it was not seen within the look-ahead of it.

        The neighbouring frame counts as within the look-ahead however long it lasts, unless that is zero. On both sides of a
        doubtful detection it may be two faces, one lost and one found: each is held or reached back as if the other were not.
        """
        after = self._start + int(self._numbers[self._start : self._end].searchsorted(number))
        before = after - 1
        covers: list[Cover] = []
        if after < self._end and self._numbers[after] == number:
            covers.append(self._detected(after))
        else:
            is_held = self._is_within(before, number, time_s, look_ahead_s)
            is_reached = self._is_within(after, number, time_s, look_ahead_s)
            if is_held and is_reached:
                covers.append(self._bridged(before, after, time_s))
            elif is_held:
                covers.append(self._extended(before, time_s, "held"))
            elif is_reached:
                covers.append(self._extended(after, time_s, "reached_back"))
        if self._newest_doubtful > self._start:
            for found in self._start + np.flatnonzero(self._is_doubtful[self._start : self._end]):
                lost = int(found) - 1
                if number > self._numbers[lost] and self._is_within(lost, number, time_s, look_ahead_s):
                    covers.append(self._extended(lost, time_s, "held"))
                if number < self._numbers[found] and self._is_within(int(found), number, time_s, look_ahead_s):
                    covers.append(self._extended(int(found), time_s, "reached_back"))
        return covers

    def _is_within(self, at: int, number: int, time_s: float, look_ahead_s: float) -> bool:
        """Whether there is such a detection, not further from a frame than the look-ahead."""
        if not self._start <= at < self._end:
            return False
        is_neighbour = look_ahead_s > 0 and abs(int(self._numbers[at]) - number) <= 1
        return is_neighbour or abs(float(self._times_s[at]) - time_s) <= look_ahead_s + TIME_ERROR_S

    def _make_room(self) -> None:
        """Moves what is remembered to the start of the arrays, and to twice as large ones where it fills more than half."""
        kept = slice(self._start, self._end)
        count = len(self)
        capacity = len(self._numbers) * (2 if 2 * count > len(self._numbers) else 1)
        for name in _ARRAYS:
            old = getattr(self, name)
            new = np.zeros((capacity, *old.shape[1:]), old.dtype)
            new[:count] = old[kept]
            setattr(self, name, new)
        self._smoothed_end = max(self._smoothed_end - self._start, 0)
        self._enveloped_end = max(self._enveloped_end - self._start, 0)
        self._newest_doubtful = max(self._newest_doubtful - self._start, -1)
        self._start, self._end = 0, count

    def _detected(self, at: int) -> Cover:
        """The detection smoothed over past and future, with a margin that holds what sticks out, this detection above all.

        The margin is the mean over a time of the largest excess within that time: an envelope without jumps, nowhere too small.
        """
        raw = self._rows[at]
        window = self._window(at, MARGIN_S)
        self._smooth_to(window.stop)
        values = self._smoothed[at]
        box = _outwards(values[:4], self._largest_excess[window].sum(axis=0) / (window.stop - window.start))
        # Where the future was not known in time, the margin may be too small after all.
        box = np.concatenate((np.minimum(box[:2], raw[:2]), np.maximum(box[2:], raw[2:4])))
        self._covered[at] = box
        return Cover(box, "detected", float(raw[_SCORE]), values[_POINTS].reshape(_NAMES, 2), values[_POINT_SCORES])

    def _smooth_to(self, stop: int) -> None:
        """Smooths the detections before `stop` and finds how far any within a time sticks out of its smoothed box."""
        for at in range(max(self._enveloped_end, self._start), stop):
            window = self._window(at, MARGIN_S)
            for near in range(max(self._smoothed_end, self._start), window.stop):
                around = self._window(near, SMOOTHING_REACH_S)
                values = _fit(self._times_s[around] - self._times_s[near], self._rows[around], self._rows[near])
                self._smoothed[near] = values
                self._excess[near] = (self._rows[near, :4] - values[:4]) * _OUTWARDS
            self._smoothed_end = max(self._smoothed_end, window.stop)
            self._largest_excess[at] = np.maximum(self._excess[window].max(axis=0), 0)
        self._enveloped_end = max(self._enveloped_end, stop)

    def _bridged(self, before: int, after: int, time_s: float) -> Cover:
        """Between the two detections around a gap: on the straight way, on one that keeps its speed, and between."""
        to_before_s, to_after_s = time_s - self._times_s[before], self._times_s[after] - time_s
        gap_s = max(to_before_s + to_after_s, TIME_ERROR_S)
        part = to_before_s / gap_s
        first, second = self._rows[before], self._rows[after]
        values = first + part * (second - first)
        size = _size(values)
        # A cubic Hermite curve less its chord, for the centre.
        chord = (second[:2] + second[2:4] - first[:2] - first[2:4]) / 2
        turns = (1 - part) * (self._velocity(before) * gap_s - chord) - part * (self._velocity(after) * gap_s - chord)
        bend = _shortened(part * (1 - part) * turns, FURTHEST_BEND * size)
        margin = np.maximum((self._covered[before] - first[:4]) * _OUTWARDS, 0)
        box = _outwards(_swept(values[:4], bend), margin + BRIDGE_GROWTH_PER_S * min(to_before_s, to_after_s) * size)
        scores = np.where((first[_POINT_SCORES] > 0) & (second[_POINT_SCORES] > 0), values[_POINT_SCORES], 0.0)
        return Cover(box, "bridged", 0.0, values[_POINTS].reshape(_NAMES, 2), scores)

    def _extended(self, end: int, time_s: float, reason: Reason) -> Cover:
        """Beyond an end of what was seen: where the face was and where it was heading, and all between."""
        box = self._covered[end]
        elapsed_s = time_s - self._times_s[end]
        size = _size(box)
        coasted_s = np.sign(elapsed_s) * COAST_S * (1 - np.exp(-abs(elapsed_s) / COAST_S))
        way = _shortened(self._velocity(end) * coasted_s, FURTHEST_COAST * size)
        grown = _outwards(_swept(box, way), HOLD_GROWTH_PER_S * abs(elapsed_s) * size)
        last = self._rows[end]
        return Cover(grown, reason, 0.0, last[_POINTS].reshape(_NAMES, 2) + way, last[_POINT_SCORES])

    def _velocity(self, end: int) -> NDArray[np.float64]:
        """(2,) pixels a second of the centre at a detection, from those around it; careful where they are few.

        Doubtful ones too: what moves is covered where it stands as well, so that a wrong speed only covers more.
        """
        window = self._span(end, MOTION_REACH_S)
        times_s = self._times_s[window] - self._times_s[end]
        if len(times_s) == 1:
            return np.zeros(2)
        centres = (self._rows[window, :2] + self._rows[window, 2:4]) / 2
        weights = np.exp(-0.5 * (times_s / MOTION_S) ** 2)
        weights /= weights.sum()
        times_s = times_s - weights @ times_s
        velocity: NDArray[np.float64] = (weights * times_s) @ centres / (weights @ times_s**2 + STEADY_S**2)
        return velocity

    def _span(self, at: int, reach_s: float) -> slice:
        """The detections within a time of one of them."""
        times_s = self._times_s[self._start : self._end]
        centre_s = self._times_s[at]
        first = self._start + int(times_s.searchsorted(centre_s - reach_s - TIME_ERROR_S))
        return slice(first, self._start + int(times_s.searchsorted(centre_s + reach_s + TIME_ERROR_S)))

    def _window(self, at: int, reach_s: float) -> slice:
        """The detections within a time of one of them that are surely of the same face."""
        span = self._span(at, reach_s)
        if self._newest_doubtful <= span.start:
            return span
        doubtful = span.start + 1 + np.flatnonzero(self._is_doubtful[span.start + 1 : span.stop])
        return slice(max([span.start, *doubtful[doubtful <= at]]), min([span.stop, *doubtful[doubtful > at]]))


def _fit(times_s: NDArray[np.float64], rows: NDArray[np.float64], raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value at time 0 of a line fitted to each column with Gaussian weights: no lag, whatever the spacing in time.

    A keypoint is present where it is in at least half of the rows, by weight, so that it does not come and go; its place is then
    that of those rows.
    """
    weights = np.exp(times_s * times_s * (-0.5 / SMOOTHING_S**2))
    values = raw[_SMOOTHED].copy()
    box = _at_zero(times_s, weights[:, None], rows[:, :4])
    if box is None:
        return values
    values[:4] = box
    scores = rows[:, _POINT_SCORES]
    shares = weights[:, None] * (scores > 0)
    present = shares.sum(axis=0) >= 0.5 * weights.sum()
    values[_POINT_SCORES] = np.where(present, (shares * scores).sum(axis=0) / np.maximum(shares.sum(axis=0), 1e-12), 0.0)
    if present.any():
        points = _at_zero(times_s, np.repeat(shares[:, present], 2, axis=1), rows[:, _POINTS][:, np.repeat(present, 2)])
        if points is not None:
            values[_POINTS][np.repeat(present, 2)] = points
        elif not (raw[_POINT_SCORES][present] > 0).all():
            values[_POINT_SCORES] = raw[_POINT_SCORES]
    return values


def _at_zero(
    times_s: NDArray[np.float64], weights: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """The value at time 0 of a line fitted to each column; None where one has weights at one time only.

    weights: (rows, columns) or (rows, 1).
    """
    timed = weights * times_s[:, None]
    s0, s1, s2 = weights.sum(axis=0), timed.sum(axis=0), (timed * times_s[:, None]).sum(axis=0)
    determinant = s0 * s2 - s1 * s1
    if (determinant < 1e-12).any():
        return None
    values: NDArray[np.float64] = ((s2 * weights - s1 * timed) * columns).sum(axis=0) / determinant
    return values


def _size(box: NDArray[np.float64]) -> float:
    return float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))


def _shortened(way: NDArray[np.float64], longest: float) -> NDArray[np.float64]:
    return way * min(1.0, longest / max(float(np.hypot(way[0], way[1])), 1e-9))


def _swept(box: Sides, way: NDArray[np.float64]) -> Sides:
    """The box that holds a box at both ends of a way."""
    return np.concatenate((box[:2] + np.minimum(way, 0), box[2:] + np.maximum(way, 0)))


def _outwards(box: Sides, by: Sides | float) -> Sides:
    return box + by * _OUTWARDS

"""Which detection of a frame continues which track: predicted motion, size, and optimal assignment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import lap
import numpy as np
from numpy.typing import NDArray

from models.faces import Boxes

MEMORY_S = 0.15
"""Time constant of the motion estimate; long enough to carry a face through another that crosses it."""
COAST_S = 1.0
"""A face that is not seen goes on moving for about this long; nobody keeps a speed for ever."""

NEAR = 0.6
"""Distance from the predicted place, in face sizes, within which a detection is the same face; further away that is doubtful."""
NEAR_RATIO = 1.6
"""Ratio of sizes that goes with NEAR."""
FAR_RATIO = 2.0
"""Ratio of sizes that a face may change by over a gap."""
REACH = 0.8
"""Distance from the predicted place, in face sizes, that is allowed at once; more with the time since the last detection."""
REACH_PER_S_KNOWN, REACH_PER_S_UNKNOWN = 4.0, 9.0
"""Growth of the reach in face sizes a second, with and without a motion to predict from: walking is 9 face widths a second."""
FURTHEST = 4.0
"""No reach is longer than this many face sizes."""
SEEN_OFTEN = 3
"""Detections after which the motion of a track counts as known."""


class Link(NamedTuple):
    """A detection that continues a track; doubtful where it may be the detection of another face."""

    track: int
    is_doubtful: bool


@dataclass
class Motion:
    """Where a face is heading: a critically damped g-h filter, with growing memory while it has seen little."""

    x: float
    y: float
    size: float
    """Geometric mean of width and height, pixels."""
    time_s: float
    velocity_x: float = 0.0
    velocity_y: float = 0.0
    count: int = 1

    def update(self, x: float, y: float, size: float, time_s: float) -> None:
        """Takes a detection in: its centre and size in pixels."""
        elapsed_s = max(time_s - self.time_s, 1e-3)
        decay = math.exp(-elapsed_s / MEMORY_S)
        n = self.count  # after n + 1 points the least-squares line through all of them has these gains
        position_gain = max(1 - decay * decay, 2 * (2 * n + 1) / ((n + 1) * (n + 2)))
        velocity_gain = max((1 - decay) ** 2, 6 / ((n + 1) * (n + 2)))
        error_x = x - (self.x + self.velocity_x * elapsed_s)
        error_y = y - (self.y + self.velocity_y * elapsed_s)
        self.x = x - (1 - position_gain) * error_x
        self.y = y - (1 - position_gain) * error_y
        if n == 1:
            velocity_gain = 1.0
        self.velocity_x += velocity_gain * error_x / elapsed_s
        self.velocity_y += velocity_gain * error_y / elapsed_s
        self.size += 0.5 * (size - self.size)
        self.time_s = time_s
        self.count += 1

    def predict(self, time_s: float) -> tuple[float, float]:
        """The centre at a later time, in pixels."""
        coasted_s = COAST_S * (1 - math.exp(-(time_s - self.time_s) / COAST_S))
        return self.x + self.velocity_x * coasted_s, self.y + self.velocity_y * coasted_s


def centres_and_sizes(boxes: Boxes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(faces, 2) centres and (faces,) geometric means of width and height, both in pixels."""
    corners = boxes.astype(np.float64)
    extents = corners[:, 2:] - corners[:, :2]
    return (corners[:, :2] + corners[:, 2:]) / 2, np.sqrt(extents[:, 0] * extents[:, 1])


def associate(
    motions: Sequence[Motion], centres: NDArray[np.float64], sizes: NDArray[np.float64], time_s: float
) -> list[Link | None]:
    """The track that each detection continues, None where it begins a new one; no track is continued twice.

    Two rounds: what lies where it was predicted is settled first, so that a face which jumps never takes the detection of one
    that does not; what is left may have moved further the longer it was not seen.
    """
    links: list[Link | None] = [None] * len(centres)
    if not motions or not len(centres):
        return links
    predicted = np.array([motion.predict(time_s) for motion in motions])
    track_sizes = np.array([motion.size for motion in motions])
    scale = np.sqrt(track_sizes[:, None] * sizes[None])
    offsets = predicted[:, None] - centres[None]
    distance = np.hypot(offsets[..., 0], offsets[..., 1]) / scale
    ratio = np.abs(np.log(track_sizes[:, None] / sizes[None]))
    near = (distance <= NEAR) & (ratio <= math.log(NEAR_RATIO))
    reach = np.array([_reach(motion, time_s) for motion in motions])
    far = (distance <= reach[:, None]) & (ratio <= math.log(FAR_RATIO))
    cost = distance + 0.5 * ratio
    tracks, faces = np.arange(len(motions)), np.arange(len(centres))
    for allowed, is_doubtful in ((near, False), (far, True)):
        rows, columns = _assign(cost[np.ix_(tracks, faces)], allowed[np.ix_(tracks, faces)])
        for track, face in zip(tracks[rows], faces[columns], strict=True):
            links[face] = Link(int(track), is_doubtful)
        tracks, faces = np.delete(tracks, rows), np.delete(faces, columns)
        if not len(tracks) or not len(faces):
            break
    return links


def _reach(motion: Motion, time_s: float) -> float:
    """How far from its predicted place a face may be found, in face sizes."""
    per_s = REACH_PER_S_KNOWN if motion.count >= SEEN_OFTEN else REACH_PER_S_UNKNOWN
    return min(REACH + per_s * (time_s - motion.time_s), FURTHEST)


def _assign(cost: NDArray[np.float64], allowed: NDArray[np.bool_]) -> tuple[NDArray[np.intp], ...]:
    """Rows and columns of the cheapest assignment with the most pairs, all of them allowed."""
    if allowed.sum(axis=0).max() <= 1 and allowed.sum(axis=1).max() <= 1:
        return np.nonzero(allowed)  # nothing to choose between
    limit = 4 * (FURTHEST + 1)
    _, columns, _ = lap.lapjv(np.where(allowed, cost, 10 * limit), extend_cost=True, cost_limit=limit)
    rows = np.flatnonzero(columns >= 0)
    return rows, columns[rows]

"""How the painted face of one track looks from the sides that it was seen from, so that it stays one person.

painted crop -> learned by the view nearest to the pose -> moved into the crop, lit as what is painted now -> shown

One view is shown at a time; the next takes over within a moment, so that nothing jumps, and starts as the one before it, so that it
is the same person. A head that turns back shows what it showed before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.geometry import Crop, Mask
from models.pose import FaceGrid, Plane, Pose, Turn, grid_over, known_at, taken_from, turn_between

MOST_VIEWS = 4
"""Of one track; one that was seen but for a moment makes room, else that which was of no use for the longest time."""
NEAR, REACH = 0.12, 0.25
"""Distance of poses from which there is a new view, and from which a view shows nothing that fits. A sixth of a quarter turn is
about 0.12."""
NEARER = 0.04
"""So much nearer another view must be to take over."""
TAKE_OVER_S = 0.4
"""How long that takes."""
LEAST_SEEN_S = 0.25
"""A new view starts as the one before it where that was seen for so long: in a fast turn, what is painted is better."""
STEP, STRETCH = 0.18, 0.36
"""And where the pose is so near, and not further than the second from where the face was painted: it would look stretched."""
FIRST_S = 0.3
"""A view is the mean of what was painted in so long, as far as it is alike; else most of it is the last."""
LEARN_S = 20.0
"""After that a third of it is left after so long of what is alike; nothing else is learned, since a mean of two faces is none."""
ALIKE, OTHER = 25.0, 40.0
"""Mean difference of what is painted from what is shown, levels of 255, up to which it is alike and from which it looks otherwise.
Heads that talk in front of something have 7 to 19, those that others walk past 20 to 45."""
MEAN_ALIKE = 14.0
"""The same up to which a mean is as sharp as its parts, nearly."""
MORE = 1.1
"""A view is learned anew where so many times as much can be seen as when it was learned: a face painted from a part of it, or from
few pixels, is a bad one."""
PATIENCE_S = 2.0
"""What looks otherwise for so long is learned anew."""
LIGHT_S = 5.0
"""Light follows that of what is painted with this time constant: the generator makes up some of what it changes,"""
SUDDEN = 0.07
"""twice as fast where it is off by this part of itself, five times by twice that, and so on with the square."""
DIMMEST, BRIGHTEST = 0.1, 8.0
DARK = 16.0
"""Levels of 255 added to both before light is compared, so that black says nothing."""
LEAST_LIT = 30
"""Pixels that tell the light, at least."""
INNER, OUTER = 0.95, 1.4
"""Views are shown in the ellipse in the box, grown by these, in full and not at all beyond; corners show what is behind."""
RIM = 0.05
"""Nor at the edge of the mask: so far from it, in sides of the crop, in full."""
FADING = 0.047
"""At the edge of what a view knows, in sides of the crop."""
ENOUGH_PX = 64
"""Side of the crop in the picture from which a face is seen as well as the generator needs: more says nothing new of it."""
LEAST_WEIGHT = 0.02

Texture = NDArray[np.float32]  # (R, R, 3), levels of 255


@dataclass(kw_only=True, eq=False)
class _View:
    pose: Pose
    crop: Crop
    texture: Texture
    """As in light of 1."""
    used_s: float
    sight: float
    """How much could be seen of the face when it was learned: 1 is all of it, with ENOUGH_PX."""
    presence: float
    """How much of it is shown, against the others: 0 to 1."""
    age_s: float = 0.0
    """How long it was learned."""
    seen_s: float = 0.0
    """How long it was the nearest view."""
    stretched: float = 0.0
    """Distance from the pose in which it was painted."""
    otherwise_s: float = 0.0
    """For how long what is painted has looked otherwise."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the views show in a crop.

    face: (R, R, 3), without light. share: (R, R), how much of it is to be shown. distances: of the pose from each view.
    """

    grid: FaceGrid
    face: Texture
    share: Plane
    distances: NDArray[np.float64]


class Views:
    """Those of one track, and the light on them. At most MOST_VIEWS, however long the track is."""

    def __init__(self) -> None:
        self._views: list[_View] = []
        self._current: _View | None = None
        self._light = _NEUTRAL.copy()
        self._last_s: float | None = None

    def __len__(self) -> int:
        return len(self._views)

    @property
    def is_settled(self) -> bool:
        """What is shown has been learned."""
        return self._current is not None and self._current.age_s >= FIRST_S and self._current.presence == 1

    def look(self, mask: Mask, crop: Crop, pose: Pose) -> Shown | None:
        """None where no view is near the pose."""
        turns = [turn_between(pose, view.pose) for view in self._views]
        distances = np.array([turn.distance for turn in turns])
        # Of a view that is alone in reach all is shown, however little it was present.
        weights = np.clip(1 - distances / REACH, 0, None) * [view.presence + LEAST_WEIGHT**2 for view in self._views]
        if not weights.sum() > 0:
            return None
        weights /= weights.sum()
        grid = grid_over(crop, pose, len(mask))
        face, share = self._mixed(turns, weights, grid, len(mask))
        return Shown(grid=grid, face=face, share=share * _inner(grid, mask, pose), distances=distances)

    def _mixed(self, turns: list[Turn], weights: NDArray[np.float64], grid: FaceGrid, size: int) -> tuple[Texture, Plane]:
        """The mean of the views where they know something, and how much they know there."""
        parts = []
        for view, turn, weight in zip(self._views, turns, weights, strict=True):
            if weight > LEAST_WEIGHT:
                places = turn.places(grid, view.crop, view.pose, size)
                parts.append((np.float32(weight), taken_from(view.texture, places), known_at(places, size, FADING * size)))
        if len(parts) == 1:
            return parts[0][1:]
        total = sum(weight * known for weight, _, known in parts)
        summed = sum(face * (weight * known)[:, :, None] for weight, face, known in parts)
        known = np.maximum.reduce([known for _, _, known in parts])
        return np.asarray(summed / np.maximum(total, 1e-6)[:, :, None], np.float32), known

    def lit(self, shown: Shown, around: Texture) -> Texture:
        """What is shown, in its light, over what is around it; (R, R, 3)."""
        lit = (shown.face + DARK) * _light_over(self._light, shown.grid) - DARK
        return np.asarray(around + (lit - around) * shown.share[:, :, None], np.float32)

    def _unlit(self, painted: Texture, grid: FaceGrid) -> Texture:
        return np.asarray((painted + DARK) / _light_over(self._light, grid) - DARK, np.float32)

    def take(self, time_s: float, painted: Texture, around: Texture, mask: Mask, crop: Crop, pose: Pose) -> Texture:
        """What is painted now as the face of this track, (R, R, 3); the views and the light learn from it.

        around: (R, R, 3), what to show where the views show nothing. Frames come in order of time.
        """
        elapsed_s = 0.0 if self._last_s is None else max(time_s - self._last_s, 0.0)
        self._last_s = time_s
        sight = pose.sight * min(crop.side / ENOUGH_PX, 1.0)
        shown = self.look(mask, crop, pose)
        if shown is None:
            unlit = self._unlit(painted, grid_over(crop, pose, len(mask)))
            self._add(_View(pose=pose, crop=crop, texture=unlit, used_s=time_s, sight=sight, presence=1.0))
            return painted
        self._follow_light(painted, shown, elapsed_s)
        result = self.lit(shown, around)
        is_inner = shown.share > 0.5
        difference = float(np.abs(painted - result)[is_inner].mean()) if is_inner.any() else 0.0
        unlit = self._unlit(painted, shown.grid)
        number = self._choose(shown.distances)
        distance = float(shown.distances[number])
        current = self._views[number]
        if distance > NEAR:
            view = _View(pose=pose, crop=crop, texture=unlit, used_s=time_s, sight=sight, presence=0.0)
            stretched = current.stretched + distance
            if difference < OTHER and current.seen_s > LEAST_SEEN_S and distance < STEP and stretched < STRETCH:
                view.texture = np.asarray(unlit + (shown.face - unlit) * shown.share[:, :, None], np.float32)
                view.stretched, view.age_s, view.sight = stretched, FIRST_S, current.sight
            self._add(view)
        else:
            if sight > MORE * current.sight:
                # Without a difference all of it is taken over at once: a mean of a whole face and a half one is neither.
                current.sight, current.age_s, difference = sight, 0.0, 0.0
            closeness = 1 - distance / NEAR if current.age_s >= FIRST_S else 1.0
            self._learn(current, unlit, crop, pose, elapsed_s * closeness, difference)
            current.seen_s += elapsed_s
            current.used_s = time_s
        self._take_over(elapsed_s)
        return result

    def _choose(self, distances: NDArray[np.float64]) -> int:
        """Make the nearest view the current one, where it is clearly nearer; the current one's number."""
        nearest = int(distances.argmin())
        current = next((number for number, view in enumerate(self._views) if view is self._current), nearest)
        if distances[nearest] < distances[current] - NEARER or distances[current] > NEAR:
            current = nearest
        self._current = self._views[current]
        return current

    def _take_over(self, elapsed_s: float) -> None:
        step = elapsed_s / TAKE_OVER_S
        for view in self._views:
            view.presence = min(max(view.presence + (step if view is self._current else -step), 0.0), 1.0)

    def _add(self, view: _View) -> None:
        if len(self._views) == MOST_VIEWS:
            others = [one for one in self._views if one is not self._current]
            self._views.remove(min(others, key=lambda one: (one.seen_s > LEAST_SEEN_S, one.used_s)))
        self._views.append(view)
        self._current = view

    def _learn(self, view: _View, unlit: Texture, crop: Crop, pose: Pose, seconds: float, difference: float) -> None:
        """seconds: since it learned last, less where the pose is not quite that of the view."""
        view.otherwise_s = view.otherwise_s + seconds if difference > OTHER else 0.0
        if view.otherwise_s > PATIENCE_S:
            view.age_s = view.otherwise_s = 0.0
        part = 1 - math.exp(-seconds / LEARN_S) if difference < ALIKE else 0.0
        if seconds > 0 and view.age_s < FIRST_S:
            part = min(seconds / (view.age_s + seconds if difference < MEAN_ALIKE else FIRST_S), 1.0)
        view.age_s += seconds
        if part == 0:
            return
        size = len(unlit)
        places = turn_between(view.pose, pose).places(grid_over(view.crop, view.pose, size), crop, pose, size)
        now = taken_from(unlit, places, cv2.INTER_LINEAR)
        view.texture += (now - view.texture) * (known_at(places, size, FADING * size) * np.float32(part))[:, :, None]

    def _follow_light(self, painted: Texture, shown: Shown, elapsed_s: float) -> None:
        is_inner = shown.share > 0.5
        if int(is_inner.sum()) < LEAST_LIT:
            return
        wanted = _light_of(painted[is_inner] + DARK, np.maximum(shown.face[is_inner] + DARK, 1), _steps(shown.grid)[is_inner])
        off = float(np.abs(wanted[0] / self._light[0] - 1).max())
        self._light += (wanted - self._light) * np.float32(1 - math.exp(-elapsed_s / LIGHT_S * (1 + (off / SUDDEN) ** 2)))


_NEUTRAL = np.array([[1, 1, 1], [0, 0, 0], [0, 0, 0]], np.float32)
"""Light that changes nothing: the middle's, and what is added a side to the right and a side down, each for R, G, B."""


def _steps(grid: FaceGrid) -> NDArray[np.float32]:
    """(R, R, 3): 1, x, y."""
    return np.stack((np.ones_like(grid.x), grid.x, grid.y), axis=2)


def _light_over(light: NDArray[np.float32], grid: FaceGrid) -> Texture:
    return np.asarray(np.clip(_steps(grid) @ light, DIMMEST, BRIGHTEST))


def _light_of(painted: NDArray[np.float32], face: NDArray[np.float32], steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """The light in which a face looks most like what is painted, least squares; each (N, 3)."""
    light = np.empty((3, 3), np.float32)
    for color in range(3):
        unlit = steps * face[:, color, None]
        light[:, color] = np.linalg.lstsq(unlit.T @ unlit, unlit.T @ painted[:, color], rcond=None)[0]
    light[0] = np.clip(light[0], DIMMEST, BRIGHTEST)
    return light


def _inner(grid: FaceGrid, mask: Mask, pose: Pose) -> Plane:
    """How much of the views is to be shown, (R, R)."""
    width, height = (float(stop - start) / pose.side for start, stop in zip(pose.box[:2], pose.box[2:], strict=True))
    radius = np.sqrt((grid.x * np.float32(2 / width)) ** 2 + (grid.y * np.float32(2 / height)) ** 2)
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3) - 1
    at_rim = np.clip(depth / np.float32(RIM * len(mask)), 0, 1)
    return np.asarray(np.clip((OUTER - radius) / (OUTER - INNER), 0, 1) * at_rim, np.float32)

"""Keeps a painted face one and the same person that does not flicker.

    painted crop of this frame -> the views of its track (models/views.py) in the middle of the face,
                                  blended with the frame before, moved along by the keypoints, around it -> shown

Faces move little between frames once position, size and tilt are taken out. Where they do (a turn of the head), the frame before
counts less, so that it leaves no ghosts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from models.geometry import Crop, Mask
from models.pose import FACE_POINTS, Affine, Pose, similarity
from models.views import NEAR, Views

MEMORY_S = 0.4
"""Around the middle of the face, where the past shows what was behind it then, the past loses half of its weight in 0.7 of this."""
REUSE_S, SETTLED_REUSE_S = 0.07, 0.21
"""What was painted serves so long without being painted anew, and so long once the views have been learned: one frame and three at
15 a second, one and five at 25."""
LONGEST_GAP_S = 0.5
"""What is older has no part in the present."""
STILL, MOVED = 0.015, 0.05
"""Keypoints that have moved this much against the features of the past, in longer sides of the box: it counts in full, or not at
all."""
STILL_PX, MOVED_PX = 0.6, 2.0
"""The same in pixels, for small faces, whose keypoints are less exact than a part of the box."""

Pixels = NDArray[np.uint8]  # (R, R, 3)


@dataclass(kw_only=True)
class _Past:
    time_s: float
    crop: Crop
    pose: Pose
    blend: NDArray[np.float32]  # (R, R, 3)
    views: Views = field(default_factory=Views)


class Stabilizer:
    """The past of the tracks of one stream; forgets those that are gone."""

    def __init__(self) -> None:
        self._pasts: dict[int, _Past] = {}

    def blend(self, track: int, time_s: float, painted: Pixels, mask: Mask, crop: Crop, pose: Pose) -> Pixels:
        """The painted crop as the face of its track where the mask is; (R, R, 3), and what the next frame starts from.

        painted: (R, R, 3). mask: (R, R), True where the face was hidden. Frames come in order of time.
        """
        self._forget(time_s)
        now = painted.astype(np.float32)
        around = now
        past = self._pasts.get(track)
        if past is not None:
            motion = _motion(past.pose, pose)
            moved, is_known = _moved(past, crop, motion, painted.shape[0])
            share = motion.steadiness * math.exp(-max(time_s - past.time_s, 0.0) / MEMORY_S)
            around = now + (moved - now) * (share * (mask & is_known))[:, :, np.newaxis].astype(np.float32)
        views = past.views if past is not None else Views()
        shown = np.where(mask[:, :, np.newaxis], views.take(time_s, now, around, mask, crop, pose), now)
        self._pasts[track] = _Past(time_s=time_s, crop=crop, pose=pose, blend=around, views=views)
        return np.rint(shown).clip(0, 255).astype(np.uint8)

    def reuse(
        self, track: int, time_s: float, given: Pixels, mask: Mask, crop: Crop, pose: Pose, own: Mask | None = None
    ) -> Pixels | None:
        """What was painted a moment ago, moved along with the face; None where it has to be painted anew.

        It is used again for a moment, while the face is steady and nothing of it was out of the crop. given: (R, R, 3), the crop
        now, for what is outside the mask. own: (R, R), True where this face is; the rest of the mask is over others', which
        nobody takes from this crop. None is all of the mask. The past stays as it is, so that moving it again and again does not
        blur it.
        """
        past = self._pasts.get(track)
        if past is None:
            return None
        longest_s = SETTLED_REUSE_S if past.views.is_settled else REUSE_S
        motion = _motion(past.pose, pose)
        if not 0 <= time_s - past.time_s <= longest_s or motion.steadiness < 1:
            return None
        moved, is_known = _moved(past, crop, motion, given.shape[0])
        if not is_known[mask if own is None else own].all():
            return None
        shown = past.views.look(mask, crop, pose)
        if shown is None or shown.distances.min() > NEAR:
            return None
        return np.where(mask[:, :, np.newaxis], np.rint(past.views.lit(shown, moved)).clip(0, 255), given).astype(np.uint8)

    def _forget(self, time_s: float) -> None:
        self._pasts = {track: past for track, past in self._pasts.items() if 0 <= time_s - past.time_s <= LONGEST_GAP_S}


@dataclass(frozen=True, kw_only=True)
class _Motion:
    """How a face got from one pose to another."""

    in_plane: Affine
    """The turn, growth and shift in the picture."""
    steadiness: float
    """1 where that is all, 0 where it is another view of the face."""


def _motion(before: Pose, after: Pose) -> _Motion:
    """By the keypoints of both poses; by the boxes, which tell nothing of another view, where there are too few."""
    common = [point for point in FACE_POINTS if before.keypoint_scores[point] > 0 and after.keypoint_scores[point] > 0]
    if len(common) < 2:
        boxes = [np.array([pose.box[:2], pose.box[2:]]) for pose in (before, after)]
        return _Motion(in_plane=similarity(*boxes), steadiness=1.0)
    first, second = (np.asarray(pose.keypoints[common], np.float64) for pose in (before, after))
    in_plane = similarity(first, second)
    errors = first @ in_plane[:, :2].T + in_plane[:, 2] - second
    change_px = float(np.sqrt((errors**2).sum(axis=1).mean()))
    still_px, moved_px = max(STILL * after.side, STILL_PX), max(MOVED * after.side, MOVED_PX)
    return _Motion(in_plane=in_plane, steadiness=min(max((moved_px - change_px) / (moved_px - still_px), 0.0), 1.0))


def _moved(past: _Past, crop: Crop, motion: _Motion, size: int) -> tuple[NDArray[np.float32], Mask]:
    """The past's blend as it lies in a crop now, and where it is known."""
    to_picture = _affine(past.crop.side / size, past.crop.left, past.crop.top)
    to_crop = _affine(size / crop.side, -crop.left * size / crop.side, -crop.top * size / crop.side)
    whole = to_crop @ np.vstack((motion.in_plane, [0, 0, 1])) @ to_picture
    # From pixel corners to pixel centres.
    centre, back = _affine(1, 0.5, 0.5), _affine(1, -0.5, -0.5)
    matrix = (back @ whole @ centre)[:2]
    moved = cv2.warpAffine(past.blend, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    known = cv2.warpAffine(np.ones((size, size), np.float32), matrix, (size, size), flags=cv2.INTER_LINEAR)
    return np.asarray(moved, np.float32), np.asarray(known > 0.999)


def _affine(scale: float, x: float, y: float) -> NDArray[np.float64]:
    return np.array([[scale, 0, x], [0, scale, y], [0, 0, 1]], np.float64)

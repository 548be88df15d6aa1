"""Keeps a painted face from flickering: what was painted before, moved along with the face, goes into what is painted now.

    painted crop of this frame + (blend of the frames before -> moved by the keypoints' motion) -> blend of this frame

Faces move little between frames once position, size and tilt are taken out. Where they do (a turn of the head, an opening mouth),
the past counts less, so that it leaves no ghosts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from models.faces import KEYPOINT_NAMES
from models.geometry import Crop, Mask

MEMORY_S = 1.2
"""The past loses half of its weight in 0.7 of this time, while the face is steady: it stays the same person for so long."""
BRIEF_MEMORY_S = 0.4
"""The same at the mask's edge, where the past shows what was behind the face then, and where what is painted now looks otherwise,
since a mean of two faces is none."""
RIM = 0.1
"""How far in the mask's edge reaches, in sides of the crop."""
ALIKE, OTHER = 14.0, 24.0
"""Mean difference of what is painted from the past, levels of 255, up to which it is alike and from which it looks otherwise. Heads
that talk in front of something still have 7 to 19, those that others walk past 20 to 45."""
REUSE_S = 0.06
"""What was painted serves so long without being painted anew: every other frame at 25 a second."""
LONGEST_GAP_S = 0.5
"""What is older has no part in the present."""
STILL, MOVED = 0.015, 0.05
"""Keypoints that have moved this much against the features of the past, in longer sides of the box: it counts in full, or not at
all. So however slowly a face turns, what is painted is never further behind than this."""
STILL_PX, MOVED_PX = 0.6, 2.0
"""The same in pixels, for small faces, whose keypoints are less exact than a part of the box."""
_FACE_POINTS = [KEYPOINT_NAMES.index(name) for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]

Pixels = NDArray[np.uint8]  # (R, R, 3)
Affine = NDArray[np.float64]  # (2, 3)


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where a face is in the picture.

    box: x1 y1 x2 y2, pixels. keypoints, keypoint_scores: (7, 2) pixels and (7,), 0 = absent.
    """

    box: tuple[float, float, float, float]
    keypoints: NDArray[np.float32]
    keypoint_scores: NDArray[np.float32]

    @property
    def side(self) -> float:
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True, kw_only=True)
class _Past:
    time_s: float
    crop: Crop
    pose: Pose
    blend: NDArray[np.float32]  # (R, R, 3)
    shape: NDArray[np.float32]
    """(7, 2), pixels: where the features of the blend are, which lag behind the keypoints while the face turns."""


class Stabilizer:
    """The blends of the tracks of one stream; forgets those that are gone."""

    def __init__(self, memory_s: float = MEMORY_S) -> None:
        self._memory_s = memory_s
        self._pasts: dict[int, _Past] = {}

    def blend(self, track: int, time_s: float, painted: Pixels, mask: Mask, crop: Crop, pose: Pose) -> Pixels:
        """The painted crop with the past of its track mixed in where the mask is; (R, R, 3), and what the next frame starts from.

        painted: (R, R, 3). mask: (R, R), True where the face was hidden. Frames come in order of time.
        """
        self._forget(time_s)
        now, shape = painted.astype(np.float32), pose.keypoints
        past = self._pasts.get(track)
        if past is not None:
            motion = _motion(replace(past.pose, keypoints=past.shape), pose)
            moved, is_known = _moved(past, crop, motion, painted.shape[0])
            share = self._share(np.abs(moved - now), mask & is_known, max(time_s - past.time_s, 0.0)) * motion.steadiness
            now += (moved - now) * share[:, :, np.newaxis]
            shape = _mixed_shape(past, pose, motion, float(share.max()))
        self._pasts[track] = _Past(time_s=time_s, crop=crop, pose=pose, blend=now, shape=shape)
        return np.rint(now).clip(0, 255).astype(np.uint8)

    def reuse(self, track: int, time_s: float, given: Pixels, mask: Mask, crop: Crop, pose: Pose) -> Pixels | None:
        """What was painted a moment ago, moved along with the face; None where it has to be painted anew.

        It is used again for REUSE_S, while the face is steady and nothing of it was out of the crop. given: (R, R, 3), the crop
        now, for what is outside the mask. The past stays as it is, so that moving it again and again does not blur it.
        """
        past = self._pasts.get(track)
        if past is None or not 0 <= time_s - past.time_s <= REUSE_S:
            return None
        motion = _motion(past.pose, pose)
        if motion.steadiness < 1:
            return None
        moved, is_known = _moved(past, crop, motion, given.shape[0])
        if not is_known[mask].all():
            return None
        return np.where(mask[:, :, np.newaxis], np.rint(moved).clip(0, 255), given).astype(np.uint8)

    def _share(self, difference: NDArray[np.float32], mask: Mask, elapsed_s: float) -> NDArray[np.float32]:
        """Of the past in the present, (R, R), 0 outside the mask. difference: (R, R, 3), between the two."""
        brief_s = min(BRIEF_MEMORY_S, self._memory_s)
        likeness = (OTHER - float(difference[mask].mean())) / (OTHER - ALIKE) if mask.any() else 0.0
        long_s = brief_s + (self._memory_s - brief_s) * min(max(likeness, 0.0), 1.0)
        brief, long = (math.exp(-elapsed_s / memory_s) for memory_s in (brief_s, long_s))
        return np.where(mask, brief + (long - brief) * _depth(mask), 0).astype(np.float32)

    def _forget(self, time_s: float) -> None:
        self._pasts = {track: past for track, past in self._pasts.items() if time_s - past.time_s <= LONGEST_GAP_S}


def similarity(before: NDArray[np.floating], after: NDArray[np.floating]) -> Affine:
    """The turn, growth and shift that bring points nearest to others, least squares (Umeyama 1991).

    before, after: (N, 2), N at least 1; a single pair gives a shift.
    """
    first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    from_mean, to_mean = first.mean(0), second.mean(0)
    first, second = first - from_mean, second - to_mean
    spread = float((first**2).sum())
    if spread < 1e-9:
        cosine, sine = 1.0, 0.0
    else:
        cosine = float((first * second).sum()) / spread
        sine = float((first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum()) / spread
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack((turn, to_mean - turn @ from_mean))


@dataclass(frozen=True, kw_only=True)
class _Motion:
    """How a face got from one pose to another."""

    in_plane: Affine
    """The turn, growth and shift in the picture."""
    steadiness: float
    """1 where that is all, 0 where it is another view of the face."""


def _motion(before: Pose, after: Pose) -> _Motion:
    """By the keypoints of both poses; by the boxes, which tell nothing of another view, where there are too few."""
    common = [point for point in _FACE_POINTS if before.keypoint_scores[point] > 0 and after.keypoint_scores[point] > 0]
    if len(common) < 2:
        boxes = [np.array([pose.box[:2], pose.box[2:]]) for pose in (before, after)]
        return _Motion(in_plane=similarity(*boxes), steadiness=1.0)
    first, second = (np.asarray(pose.keypoints[common], np.float64) for pose in (before, after))
    in_plane = similarity(first, second)
    errors = first @ in_plane[:, :2].T + in_plane[:, 2] - second
    change_px = float(np.sqrt((errors**2).sum(axis=1).mean()))
    still_px, moved_px = max(STILL * after.side, STILL_PX), max(MOVED * after.side, MOVED_PX)
    return _Motion(in_plane=in_plane, steadiness=min(max((moved_px - change_px) / (moved_px - still_px), 0.0), 1.0))


def _mixed_shape(past: _Past, pose: Pose, motion: _Motion, weight: float) -> NDArray[np.float32]:
    """The keypoints as far behind as the texture is."""
    moved = past.shape @ motion.in_plane[:, :2].T + motion.in_plane[:, 2]
    is_common = ((past.pose.keypoint_scores > 0) & (pose.keypoint_scores > 0))[:, np.newaxis]
    return np.where(is_common, pose.keypoints + weight * (moved - pose.keypoints), pose.keypoints).astype(np.float32)


def _depth(mask: Mask) -> NDArray[np.float32]:
    """How deep in the mask a pixel is: 0 at its edge to 1 beyond the rim; where the crop ends is no edge."""
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    return np.asarray(np.minimum(distance / (RIM * mask.shape[0]), 1), np.float32)


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

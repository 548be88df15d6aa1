"""Where a face is in a picture, and how the same face looks from a slightly other side: its middle moves more than its edge.

keypoints of one pose + keypoints of another -> turn_between -> Turn.places: where each pixel of the one lies in the other
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.faces import KEYPOINT_NAMES
from models.geometry import Crop

RELIEF_REACH = 0.65
"""Where the relief of a face has fallen to nought, in longer sides of the box from its middle."""
NOSE_HEIGHT, NOSE_SIGMA = 0.35, 0.1
"""What the nose adds to the relief, whose height is 1, and how wide it is, in sides."""
CAUTION = 0.4
"""How strongly a turn is doubted: the larger, the more of what keypoints say of it is put down to their errors."""
STILL, MOST_PULL, PULL_SIGMA = 0.015, 0.1, 0.12
"""What a turn leaves of the way of a keypoint is its error up to the first; what is more, up to the second, pulls the face there
along, so far around it as the third. In sides."""
SCALES = (0.5, 2.0)
"""The face may have this size in another pose, by its keypoints, relative to its size by the boxes; beyond, they are wrong."""
UNSEEN = 0.09
"""How different two views are for each keypoint of the face that is seen in only one of them, in sides: of a profile, few are."""
FACE_POINTS = [KEYPOINT_NAMES.index(name) for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]
_NOSE = KEYPOINT_NAMES.index("nose")

Plane = NDArray[np.float32]  # (R, R)
Affine = NDArray[np.float64]  # (2, 3)


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where a face is in the picture.

    box: x1 y1 x2 y2, pixels. keypoints, keypoint_scores: (7, 2) pixels and (7,), 0 = absent. sight: how much of the face and of
    what is beside it lies in the picture, 0 to 1.
    """

    box: tuple[float, float, float, float]
    keypoints: NDArray[np.float32]
    keypoint_scores: NDArray[np.float32]
    sight: float = 1.0

    @property
    def side(self) -> float:
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])

    @property
    def centre(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    def in_sides(self, points: list[int]) -> NDArray[np.float64]:
        """Keypoints from the middle of the box, in its longer sides: (points, 2)."""
        return (np.asarray(self.keypoints[points], np.float64) - self.centre) / self.side


@dataclass(frozen=True, kw_only=True)
class FaceGrid:
    """The pixels of a crop as a face sees them.

    x, y: (R, R), from the middle of the box, in its longer sides. relief: (R, R), how far the face stands out there.
    """

    x: Plane
    y: Plane
    relief: Plane


def grid_over(crop: Crop, pose: Pose, size: int) -> FaceGrid:
    """Of the crop's (size, size) pixels."""
    middles = (np.arange(size) + 0.5) * (crop.side / size)
    across, down = (
        ((middles + corner - centre) / pose.side).astype(np.float32)
        for corner, centre in zip((crop.left, crop.top), pose.centre, strict=True)
    )
    x, y = np.meshgrid(across, down)
    nose = pose.in_sides([_NOSE])[0] if pose.keypoint_scores[_NOSE] > 0 else None
    return FaceGrid(x=x, y=y, relief=_relief(across[np.newaxis], down[:, np.newaxis], nose).astype(np.float32))


def _relief(x: NDArray[np.floating], y: NDArray[np.floating], nose: NDArray[np.float64] | None) -> NDArray[np.floating]:
    """How far a face stands out towards the camera at a place: a dome with a nose on it."""
    relief = np.maximum(1 - (x * x + y * y) / RELIEF_REACH**2, 0) ** 2
    if nose is not None:
        relief = relief + NOSE_HEIGHT * _bell(x - nose[0], NOSE_SIGMA) * _bell(y - nose[1], NOSE_SIGMA)
    return np.asarray(relief)


def _bell(distances: NDArray[np.floating], sigma: float) -> NDArray[np.floating]:
    return np.asarray(np.exp(distances**2 * (-0.5 / sigma**2)))


@dataclass(frozen=True, kw_only=True)
class Turn:
    """How a face gets from one pose to another, in longer sides of both boxes.

    in_plane: (2, 3), turn, growth and shift in the picture. out_of_plane: (2,), how far a place of relief 1 moves against one of
    relief 0. error: root mean square of what neither explains. pulls: (N, 4), places in the first pose and how much further they
    go. unseen: keypoints of the face that only one of the poses has.
    """

    in_plane: NDArray[np.float64]
    out_of_plane: NDArray[np.float64]
    error: float
    pulls: NDArray[np.float64]
    unseen: int

    @property
    def distance(self) -> float:
        """How different both views of the face are, in sides; 0 where one is the other, moved in the picture."""
        is_possible = SCALES[0] <= math.hypot(self.in_plane[0, 0], self.in_plane[1, 0]) <= SCALES[1]
        return math.hypot(*self.out_of_plane, 2 * self.error) + UNSEEN * self.unseen if is_possible else math.inf

    def places(self, grid: FaceGrid, crop: Crop, pose: Pose, size: int) -> tuple[Plane, Plane]:
        """Columns and rows, in pixels of the (size, size) crop of the other pose, of the pixels of a crop of the first: (R, R)."""
        scale = size / crop.side
        turned = [
            grid.x * row[0] + grid.y * row[1] + grid.relief * depth + row[2]
            for row, depth in zip(self.in_plane.astype(np.float32), self.out_of_plane.astype(np.float32), strict=True)
        ]
        for x, y, right, down in self.pulls.astype(np.float32):
            near = np.outer(_bell(grid.y[:, 0] - y, PULL_SIGMA), _bell(grid.x[0] - x, PULL_SIGMA))
            turned = [turned[0] + right * near, turned[1] + down * near]
        columns, rows = (
            (place * (pose.side * scale) + ((centre - corner) * scale - 0.5)).astype(np.float32)
            for place, centre, corner in zip(turned, pose.centre, (crop.left, crop.top), strict=True)
        )
        return columns, rows


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


def turn_between(before: Pose, after: Pose) -> Turn:
    """By the keypoints of the face that both poses have, least squares; by the boxes, which tell of no turn, where they are few."""
    seen = [{point for point in FACE_POINTS if pose.keypoint_scores[point] > 0} for pose in (before, after)]
    common = sorted(seen[0] & seen[1])
    unseen = len(seen[0] ^ seen[1])
    if len(common) < 2:
        return Turn(in_plane=np.eye(2, 3), out_of_plane=np.zeros(2), error=0.0, pulls=np.zeros((0, 4)), unseen=unseen)
    first, second = before.in_sides(common), after.in_sides(common)
    nose = first[common.index(_NOSE)] if _NOSE in common else None
    (x, y), one, nought = first.T, np.ones(len(common)), np.zeros(len(common))
    relief = _relief(x, y, nose)
    doubt = math.sqrt(CAUTION)
    equations = np.concatenate(
        (
            np.stack((x, -y, one, nought, relief, nought), axis=1),
            np.stack((y, x, nought, one, nought, relief), axis=1),
            [[0, 0, 0, 0, doubt, 0], [0, 0, 0, 0, 0, doubt]],
        )
    )
    wanted = np.concatenate((second[:, 0], second[:, 1], [0, 0]))
    found = np.linalg.lstsq(equations, wanted, rcond=None)[0]
    left = (wanted - equations @ found)[:-2].reshape(2, -1).T
    lengths = np.hypot(*left.T)
    is_pulled = lengths > STILL
    shares = np.minimum(lengths - STILL, MOST_PULL) / np.maximum(lengths, STILL)
    pulls = np.concatenate((first, left * shares[:, None]), axis=1)[is_pulled]
    cosine, sine, right, down = found[:4]
    return Turn(
        in_plane=np.array([[cosine, -sine, right], [sine, cosine, down]]),
        out_of_plane=found[4:],
        error=math.sqrt(float((lengths**2).mean())),
        pulls=pulls,
        unseen=unseen,
    )


def taken_from(texture: NDArray[np.float32], places: tuple[Plane, Plane], how: int = cv2.INTER_CUBIC) -> NDArray[np.float32]:
    """The pixels of a texture at the places, (R, R, 3)."""
    return np.asarray(cv2.remap(texture, *places, how, borderMode=cv2.BORDER_REPLICATE), np.float32)


def known_at(places: tuple[Plane, Plane], size: int, fading_px: float) -> Plane:
    """1 where the places lie in a texture of (size, size), falling to 0 over this many pixels at its edges."""
    columns, rows = places
    last = np.float32(size - 1)
    to_edge = np.minimum(np.minimum(columns, last - columns), np.minimum(rows, last - rows))
    return np.asarray(np.clip(to_edge / np.float32(fading_px), 0, 1), np.float32)

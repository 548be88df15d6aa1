"""A picture to labelled faces: found, cut out with their surroundings, and weighed.

picture -> detector -> keypoints -> FaceLabeller.faces -> LabelledCrop, or a reason why not
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from models import geometry
from models.detectors import DEFAULT_THRESHOLD, DetectorSize, FaceDetector, RgbImage, image_render, open_detector
from models.faces import Faces
from models.keypoints import DEFAULT_ESTIMATOR, KeypointEstimator, open_keypoint_estimator

Reason = Literal["small", "unsure", "cut off", "too close", "dark", "bright", "blurred", "repeated"]

REASONS: dict[Reason, str] = {
    "small": "the face, or the crop around it, has too few pixels",
    "unsure": "the detector is not sure enough",
    "cut off": "part of the face lies outside the picture",
    "too close": "the face fills the picture, so that there are no surroundings",
    "dark": "too dark",
    "bright": "too bright",
    "blurred": "not sharp enough",
    "repeated": "hardly differs from the last one kept of the same place in the video",
}
"""Why a face is not kept."""

SIGNATURE_SIDE = 16
MEASURED_WIDTH = 64
"""Faces are reduced to this width before their sharpness is measured, so that it is that of the crop and not of the camera."""

_MOST_OUTSIDE = 0.1
_SAME_PLACE = 0.3
"""Intersection over union from which two boxes of a video are the same place."""
_GRAY_DIFFERENCE = 2.0
"""Mean difference of the channels up to which a picture counts as one without colour."""


class FilterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which faces are kept."""

    min_width: Annotated[float, msgspec.Meta(ge=8)] = 48.0
    """Least width of the face box, pixels of the source."""
    min_score: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.5
    """Least score of the detector."""
    min_surroundings: Annotated[float, msgspec.Meta(ge=1)] = 1.25
    """Least side of what is cut out, in longer sides of the face box: a face is painted from its surroundings."""
    min_sharpness: Annotated[float, msgspec.Meta(ge=0)] = 0.02
    """Least energy of the finest detail in the face, as a part of its contrast; 0 keeps everything."""
    min_brightness: Annotated[float, msgspec.Meta(ge=0, le=255)] = 30.0
    max_brightness: Annotated[float, msgspec.Meta(ge=0, le=255)] = 225.0
    """Mean of the face, 0 to 255."""
    min_change: Annotated[float, msgspec.Meta(ge=0, le=255)] = 6.0
    """Videos: least mean difference from the last face kept of the same place, 0 to 255; 0 keeps everything."""


class CropSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is cut out around a face."""

    resolution: Annotated[int, msgspec.Meta(ge=16, le=1024)] = 256
    """Greatest side of a crop, pixels; nothing is enlarged."""
    expansion: Annotated[float, msgspec.Meta(ge=0.15, le=2)] = 0.5
    """Growth beyond the longer side of the face box on each side: 0.5 makes crops of twice the face."""
    is_exact: bool = False
    """Every crop has exactly this resolution; faces with smaller ones are left out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What is remembered of a kept face of a video."""

    place: NDArray[np.float32]
    """(4,) x1 y1 x2 y2 relative to the picture."""
    signature: NDArray[np.uint8]
    """(SIGNATURE_SIDE, SIGNATURE_SIDE): the face in grey."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledCrop:
    """A face with its surroundings. Box and keypoints are relative to the crop, 0 to 1, and may lie outside."""

    picture: RgbImage
    """(side, side, 3)."""
    box: NDArray[np.float32]
    """(4,)."""
    keypoints: NDArray[np.float32]
    """(K, 2)."""
    keypoint_scores: NDArray[np.float32]
    """(K,), 0 = absent."""
    score: float
    width_px: float
    """Of the face box in the source."""
    brightness: float
    sharpness: float
    is_gray: bool
    seen: Seen


class FaceLabeller:
    """Finds, filters and cuts out the faces of pictures."""

    def __init__(self, detector: FaceDetector, estimator: KeypointEstimator, filters: FilterSettings, crops: CropSettings) -> None:
        self._detector = detector
        self._estimator = estimator
        self._filters = filters
        self._crops = crops

    def faces(self, picture: RgbImage, seen: Sequence[Seen] = ()) -> tuple[list[LabelledCrop], Counter[Reason]]:
        """The faces worth keeping, best first, and how many are not for which reason.

        seen: the faces kept from earlier pictures of the same video, in their order.
        """
        size = (picture.shape[1], picture.shape[0])
        render = image_render(picture)
        found = self._detector.detect(render, size)
        rejected: Counter[Reason] = Counter()
        rows, crops = [], []
        for row in range(len(found)):
            reason = self._unfit(found, row, size)
            if reason is None:
                rows.append(row)
                crops.append(geometry.expand_to_square(_inside(found.boxes[row], size), size, self._crops.expansion))
            else:
                rejected[reason] += 1
        kept: list[LabelledCrop] = []
        if rows:
            faces = self._estimator.estimate(render, size, found[np.array(rows)])
            for row, crop in enumerate(crops):
                face = self._cut(picture, faces, row, crop)
                reason = self._poor(face, seen)
                if reason is None:
                    kept.append(face)
                else:
                    rejected[reason] += 1
        return kept, rejected

    def _unfit(self, faces: Faces, row: int, size: tuple[int, int]) -> Reason | None:
        """What box and score say against the face."""
        box = faces.boxes[row]
        if box[2] - box[0] < self._filters.min_width:
            return "small"
        if faces.scores[row] < self._filters.min_score:
            return "unsure"
        inside = _inside(box, size)
        if (inside[2:] <= inside[:2]).any() or _area(inside) < (1 - _MOST_OUTSIDE) * _area(box):
            return "cut off"
        crop = geometry.expand_to_square(inside, size, self._crops.expansion)
        is_whole = min(crop.left, crop.top) >= 0 and crop.right <= size[0] and crop.bottom <= size[1]
        if not is_whole or crop.side < self._filters.min_surroundings * (inside[2:] - inside[:2]).max():
            return "too close"
        return "small" if self._crops.is_exact and crop.side < self._crops.resolution else None

    def _cut(self, picture: RgbImage, faces: Faces, row: int, crop: geometry.Crop) -> LabelledCrop:
        small = geometry.resize(geometry.cut(picture, crop), min(crop.side, self._crops.resolution))
        corner, side = np.array([crop.left, crop.top], np.float32), np.float32(crop.side)
        box = (faces.boxes[row] - np.tile(corner, 2)) / side
        gray = _face_in_gray(small, box)
        return LabelledCrop(
            picture=small,
            box=box,
            keypoints=(faces.keypoints[row] - corner) / side,
            keypoint_scores=faces.keypoint_scores[row],
            score=float(faces.scores[row]),
            width_px=float(faces.boxes[row, 2] - faces.boxes[row, 0]),
            brightness=float(gray.mean()),
            sharpness=sharpness(gray),
            is_gray=float(np.abs(small.astype(np.int16) - small.mean(2, keepdims=True)).mean()) < _GRAY_DIFFERENCE,
            seen=Seen(
                place=(faces.boxes[row] / np.tile(np.array(picture.shape[1::-1], np.float32), 2)),
                signature=np.asarray(cv2.resize(gray, (SIGNATURE_SIDE,) * 2, interpolation=cv2.INTER_AREA), np.uint8),
            ),
        )

    def _poor(self, face: LabelledCrop, seen: Sequence[Seen]) -> Reason | None:
        """What the pixels say against the face."""
        if face.brightness < self._filters.min_brightness:
            return "dark"
        if face.brightness > self._filters.max_brightness:
            return "bright"
        if face.sharpness < self._filters.min_sharpness:
            return "blurred"
        before = next((one for one in reversed(seen) if _overlap(one.place, face.seen.place) >= _SAME_PLACE), None)
        if before is not None and change(before.signature, face.seen.signature) < self._filters.min_change:
            return "repeated"
        return None


def open_labeller(
    filters: FilterSettings, crops: CropSettings, *, size: DetectorSize, threads: int, keypoints: str = DEFAULT_ESTIMATOR
) -> FaceLabeller:
    """The detector and the keypoints that ship. Raises ValueError for unknown names and WeightsError."""
    # From the detector's own threshold on, so that the faces it is not sure of are counted.
    threshold = max(min(filters.min_score, DEFAULT_THRESHOLD), 0.01)
    detector = open_detector("centerface", size, threshold, threads)
    return FaceLabeller(detector, open_keypoint_estimator(keypoints), filters, crops)


def sharpness(gray: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian relative to that of the picture, at MEASURED_WIDTH: 0 for a blur or a plain area."""
    width = MEASURED_WIDTH
    method = cv2.INTER_AREA if gray.shape[1] > width else cv2.INTER_LINEAR
    values = cv2.resize(gray, (width, max(8, round(width * gray.shape[0] / gray.shape[1]))), interpolation=method)
    contrast = float(values.var())
    # Below this, what is left is noise.
    return float(cv2.Laplacian(values, cv2.CV_32F).var()) / contrast if contrast > 4.0 else 0.0


def change(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Mean difference of two signatures, 0 to 255."""
    return float(np.abs(before.astype(np.int16) - after.astype(np.int16)).mean())


def _face_in_gray(picture: RgbImage, box: NDArray[np.float32]) -> NDArray[np.uint8]:
    side = picture.shape[0]
    x1, y1, x2, y2 = np.clip(np.rint(box * side), 0, side).astype(int)
    return np.asarray(cv2.cvtColor(picture[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)], cv2.COLOR_RGB2GRAY), np.uint8)


def _inside(box: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.clip(box, 0, np.tile(np.array(size, np.float32), 2))


def _area(box: NDArray[np.float32]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Intersection over union."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / (_area(a) + _area(b) - shared)

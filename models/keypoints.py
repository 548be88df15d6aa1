"""Keypoint estimators: a protocol and the table of implementations.

Faces of a detector -> KeypointEstimator -> the same faces with keypoints
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models import geometry
from models.backends import open_backend
from models.detectors import Effort, FaceDetector, Region, Render, RgbImage, Size
from models.faces import Faces
from models.geometry import Crop

CROP_PX = 64
"""Side of the crop that the network sees."""

EXPANSION = 0.225
"""Growth of the crop on each side, as a part of the face's longer side: that of the generator which ships."""

TOLERANCES = (0.05, 0.05, 0.05, 0.05, 0.05, 0.12, 0.12)
"""A confidence is the probability that the keypoint is seen and this near, in longer sides of the face box."""

THRESHOLDS = (0.5, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3)
"""Least confidence of each keypoint; below, it is absent. Few shoulders are seen on a crop of the face, so that even a likely one
has a moderate confidence."""

SMALLEST_FACE_PX = 8
"""Shorter side of the box from which the network is asked."""

Crops = NDArray[np.uint8]  # (B, 64, 64, 3): R G B


class KeypointEstimator(Protocol):
    """Finds the seven keypoints of detected faces. Stateless: the answer depends on nothing but the arguments."""

    def estimate(self, render: Render, frame_size: Size, faces: Faces) -> Faces:
        """The same faces in the same order, boxes and scores untouched; keypoints that are not seen have score 0."""
        ...


class DetectorKeypoints:
    """Takes what the detector said: CenterFace knows eyes and nose; ears and shoulders are absent."""

    def estimate(self, render: Render, frame_size: Size, faces: Faces) -> Faces:
        return faces


class NetworkKeypoints:
    """The small network of models/keypoint_network.py, on the crop that the generator gets.

    A score is the probability that the keypoint is seen and within TOLERANCES; below THRESHOLDS it is 0. Faces that are too small
    keep what the detector said. Raises WeightsError if the weights cannot be used.
    """

    def __init__(self, *, expansion: float = EXPANSION, threads: int = 1, backend: str = "cpu") -> None:
        self._expansion = expansion
        self._network = open_backend(backend, "keypoints.onnx", threads=threads)

    def locate(self, crops: Crops) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Keypoints on crops of one face each, made by `geometry.expand_to_square`, `cut` and `resize` to CROP_PX.

        crops: (B, 64, 64, 3) uint8, R G B. Returns (B, 7, 2): x y relative to the crop, 0 to 1, may lie outside; and (B, 7):
        confidences from 0 to 1, none set to 0.
        """
        answers = self._network.run([crops])[0]
        return answers[:, :, :2], answers[:, :, 2]

    def estimate(self, render: Render, frame_size: Size, faces: Faces) -> Faces:
        crops = [geometry.expand_to_square(box, frame_size, self._expansion) for box in faces.boxes]
        is_large = (faces.boxes[:, 2:] - faces.boxes[:, :2]).min(axis=1) >= SMALLEST_FACE_PX
        rows = [row for row, crop in enumerate(crops) if is_large[row] and _is_in_sight(crop, frame_size)]
        if not rows:
            return faces
        relative, confidences = self.locate(np.stack([render_crop(render, frame_size, crops[row]) for row in rows]))
        corners = np.array([(crops[row].left, crops[row].top) for row in rows], np.float32)
        sides = np.array([crops[row].side for row in rows], np.float32)
        keypoints, scores = faces.keypoints.copy(), faces.keypoint_scores.copy()
        keypoints[rows] = corners[:, None] + relative * sides[:, None, None]
        scores[rows] = np.where(confidences >= np.array(THRESHOLDS, np.float32), confidences, 0)
        return replace(faces, keypoints=keypoints, keypoint_scores=scores)


def render_crop(render: Render, frame_size: Size, crop: Crop, size: int = CROP_PX) -> RgbImage:
    """The crop at (size, size, 3), as `geometry.cut` and `geometry.resize` give it but for the way of shrinking; black where it
    reaches over the border. Some of it must lie in the frame.
    """
    x1, y1, x2, y2 = _visible(crop, frame_size)
    if (x1, y1, x2, y2) == (crop.left, crop.top, crop.right, crop.bottom):
        return render((x1, y1, x2, y2), (size, size))
    result = np.zeros((size, size, 3), np.uint8)
    left, right = _places(x1 - crop.left, x2 - crop.left, crop.side, size)
    top, bottom = _places(y1 - crop.top, y2 - crop.top, crop.side, size)
    result[top:bottom, left:right] = render((x1, y1, x2, y2), (right - left, bottom - top))
    return result


def _visible(crop: Crop, frame_size: Size) -> Region:
    """The part of the crop that lies in the frame, in pixels of the frame."""
    width, height = frame_size
    return max(0, crop.left), max(0, crop.top), min(width, crop.right), min(height, crop.bottom)


def _is_in_sight(crop: Crop, frame_size: Size) -> bool:
    x1, y1, x2, y2 = _visible(crop, frame_size)
    return x1 < x2 and y1 < y2


def _places(start: int, stop: int, side: int, size: int) -> tuple[int, int]:
    """Where the pixels from start to stop of a crop come to lie when it is resized from `side` to `size`; at least one."""
    first = min(round(start * size / side), size - 1)
    return first, max(first + 1, round(stop * size / side))


KEYPOINT_ESTIMATORS: dict[str, Callable[[str], KeypointEstimator]] = {
    "network": lambda backend: NetworkKeypoints(backend=backend),
    "detector": lambda backend: DetectorKeypoints(),
}
"""Name -> what makes the estimator on a backend."""
DEFAULT_ESTIMATOR = "network"


def open_keypoint_estimator(name: str = DEFAULT_ESTIMATOR, *, backend: str = "cpu") -> KeypointEstimator:
    """Open a row of KEYPOINT_ESTIMATORS.

    Raises ValueError for an unknown name, BackendError for a backend that is not usable, WeightsError if weights cannot be used.
    """
    if name not in KEYPOINT_ESTIMATORS:
        raise ValueError(f"unknown keypoint estimator {name!r}, use one of: {', '.join(KEYPOINT_ESTIMATORS)}")
    return KEYPOINT_ESTIMATORS[name](backend)


@dataclass(frozen=True, kw_only=True)
class DetectorWithKeypoints:
    """A detector whose faces have the keypoints of an estimator; satisfies FaceDetector."""

    detector: FaceDetector
    estimator: KeypointEstimator

    def detect(self, render: Render, frame_size: Size, *, effort: Effort = "thorough") -> Faces:
        faces = self.detector.detect(render, frame_size, effort=effort)
        return self.estimator.estimate(render, frame_size, faces)

"""Keypoint estimators: a protocol and the table of implementations.

Faces of a detector -> KeypointEstimator -> the same faces with keypoints
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from models.detectors import Render, Size
from models.faces import Faces


class KeypointEstimator(Protocol):
    """Finds the seven keypoints of detected faces. Stateless: the answer depends on nothing but the arguments."""

    def estimate(self, render: Render, frame_size: Size, faces: Faces) -> Faces:
        """The same faces in the same order, boxes and scores untouched; keypoints that are not seen have score 0."""
        ...


class DetectorKeypoints:
    """Takes what the detector said: CenterFace knows eyes and nose; ears and shoulders are absent."""

    def estimate(self, render: Render, frame_size: Size, faces: Faces) -> Faces:
        return faces


KEYPOINT_ESTIMATORS: dict[str, Callable[[], KeypointEstimator]] = {"detector": DetectorKeypoints}


def open_keypoint_estimator(name: str) -> KeypointEstimator:
    """Open a row of KEYPOINT_ESTIMATORS. Raises ValueError for an unknown name."""
    if name not in KEYPOINT_ESTIMATORS:
        raise ValueError(f"unknown keypoint estimator {name!r}, use one of: {', '.join(KEYPOINT_ESTIMATORS)}")
    return KEYPOINT_ESTIMATORS[name]()

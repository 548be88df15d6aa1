"""What the types of settings alone cannot say of networks: whether there are such, and whether they run here."""

from __future__ import annotations

from models.backends import BackendError, choose_backend
from models.detectors import DETECTORS
from models.keypoints import KEYPOINT_ESTIMATORS
from models.weights import WeightsError, read_manifest, read_weights
from streamer.config import StreamDetectorSettings
from streamer.errors import InternalError, UsageError


def check_backend(name: str) -> str:
    """What the name stands for here. Raises UsageError where it is not usable."""
    try:
        return choose_backend(name)
    except BackendError as error:
        raise UsageError(f"backend: {error}") from None


def check_detector(settings: StreamDetectorSettings) -> None:
    """Raises UsageError for names that are in no table."""
    for key, name, table in (
        ("name", settings.name, tuple(DETECTORS)),
        ("keypoints", settings.keypoints, tuple(KEYPOINT_ESTIMATORS)),
    ):
        if name not in table:
            raise UsageError(f"detector.{key}: there is no {_WORDS[key]} {name!r}, choose one of {', '.join(table)}")


_WORDS = {"name": "detector", "keypoints": "keypoint estimator"}


def check_weights() -> None:
    """Raises InternalError where weights are missing or damaged."""
    try:
        for name in read_manifest():
            read_weights(name)
    except WeightsError as error:
        raise InternalError(str(error)) from None

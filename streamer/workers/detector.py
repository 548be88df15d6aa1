"""Finds the faces of one frame at a time; knows nothing of the frames before it."""

from __future__ import annotations

from collections.abc import Iterable

from models.backends import BackendError
from models.detectors import FaceDetector, open_detector
from models.keypoints import KEYPOINT_ESTIMATORS, DetectorWithKeypoints, open_keypoint_estimator
from models.weights import WeightsError
from streamer.config import StreamDetectorSettings
from streamer.errors import InternalError, UsageError
from streamer.messages import DetectedFrame, DetectorSetup, FacesRecord, Message, RawFrame, StreamReady
from streamer.pictures import PictureLayout, picture_render
from streamer.rings import RingReader, SlotState
from streamer.workers import RingHandles


def detector_of(settings: StreamDetectorSettings, backend: str) -> FaceDetector:
    """The detector of the settings on a backend; the processes are many, so each of them uses one thread.

    Raises UsageError for an unknown name or a backend that is not usable, and InternalError where its weights cannot be used.
    """
    try:
        return open_detector(settings.name, settings.size, settings.threshold, threads=1, backend=backend)
    except BackendError as error:
        raise UsageError(f"backend: {error}") from None
    except ValueError as error:
        raise UsageError(f"detector.name: {error}") from None
    except WeightsError as error:
        raise InternalError(str(error)) from None


def with_keypoints(
    detector: FaceDetector, settings: StreamDetectorSettings, backend: str, *, needs_keypoints: bool
) -> FaceDetector:
    """The detector, followed by the keypoint estimator of the settings where keypoints are needed.

    Raises UsageError for an unknown name or a backend that is not usable, and InternalError where its weights cannot be used.
    """
    if settings.keypoints not in KEYPOINT_ESTIMATORS:
        known = ", ".join(KEYPOINT_ESTIMATORS)
        raise UsageError(f"detector.keypoints: unknown keypoint estimator {settings.keypoints!r}, use one of: {known}")
    if not needs_keypoints:
        return detector
    try:
        estimator = open_keypoint_estimator(settings.keypoints, backend=backend)
    except BackendError as error:
        raise UsageError(f"backend: {error}") from None
    except WeightsError as error:
        raise InternalError(str(error)) from None
    return DetectorWithKeypoints(detector=detector, estimator=estimator)


class DetectorWorker:
    """Runs the detector of the settings on pictures of the raw ring, which it cannot write."""

    _detector: FaceDetector
    _layout: PictureLayout
    _ring: RingReader

    def __init__(self, rings: RingHandles) -> None:
        self._handle = rings["raw"]

    def open(self, settings: StreamDetectorSettings, backend: str) -> FaceDetector:
        """The detector to run."""
        return detector_of(settings, backend)

    def process(self, message: Message) -> Iterable[Message]:
        match message:
            case DetectorSetup():
                settings, backend = message.detector, message.backend
                detector = self.open(settings, backend)
                self._detector = with_keypoints(detector, settings, backend, needs_keypoints=message.needs_keypoints)
            case StreamReady():
                self._layout = message.opened.layout
                self._ring = self._handle.reader(self._layout, message.raw_slots, SlotState.RAW)
            case RawFrame():
                yield DetectedFrame(frame=message, faces=self._detect(message))
            case _:
                pass

    def close(self) -> None:
        pass

    def _detect(self, frame: RawFrame) -> FacesRecord | None:
        """None for a damaged picture: whatever is found there may be wrong."""
        if frame.is_corrupt:
            return None
        planes = self._ring.planes(frame)
        size = (self._layout.width, self._layout.height)
        faces = self._detector.detect(picture_render(planes, self._layout), size, effort=frame.effort)
        return FacesRecord.pack(faces)

"""Finds the faces of one frame at a time, of whatever camera it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from models.detectors import FaceDetector
from streamer.config import StreamDetectorSettings
from streamer.live.messages import LiveDetectorSetup, SessionEnded, SessionReady
from streamer.messages import DetectedFrame, FacesRecord, Message, RawFrame
from streamer.pictures import PictureLayout, picture_render
from streamer.rings import RingReader, SlotMismatchError, SlotState
from streamer.workers import RingHandles
from streamer.workers.detector import detector_of, with_keypoints


@dataclass(frozen=True, kw_only=True)
class _Session:
    layout: PictureLayout
    ring: RingReader
    detector: FaceDetector


class LiveDetectorWorker:
    """Runs detectors on pictures of the raw rings of all sessions, none of which it can write."""

    _setup: LiveDetectorSetup

    def __init__(self, rings: RingHandles) -> None:
        self._handle = rings["raw"]
        self._sessions: dict[int, _Session] = {}
        self._detectors: dict[tuple[StreamDetectorSettings, bool], FaceDetector] = {}

    def open(self, settings: StreamDetectorSettings, *, needs_keypoints: bool) -> FaceDetector:
        """The detector for a stream; streams with the same settings share it."""
        backend = self._setup.backend
        return with_keypoints(detector_of(settings, backend), settings, backend, needs_keypoints=needs_keypoints)

    def process(self, message: Message) -> Iterable[Message]:
        match message:
            case LiveDetectorSetup():
                self._setup = message
                # What most streams want, before anybody waits for it.
                usual, needs_keypoints = StreamDetectorSettings(), message.needs_keypoints
                self._detectors[usual, needs_keypoints] = self.open(usual, needs_keypoints=needs_keypoints)
            case SessionReady():
                self._begin(message)
            case SessionEnded():
                self._sessions.pop(message.session, None)
            case RawFrame():
                yield DetectedFrame(frame=message, faces=self._detect(message))
            case _:
                pass

    def close(self) -> None:
        pass

    def _begin(self, ready: SessionReady) -> None:
        ring = self._handle.reader(ready.layout, ready.raw_slots, SlotState.RAW)
        wanted = (ready.detector, ready.needs_keypoints)
        if wanted not in self._detectors:
            # Those of streams that are no more would pile up with each change of the settings.
            used = [session.detector for session in self._sessions.values()]
            self._detectors = {key: detector for key, detector in self._detectors.items() if detector in used}
            self._detectors[wanted] = self.open(ready.detector, needs_keypoints=ready.needs_keypoints)
        self._sessions[ready.session] = _Session(layout=ready.layout, ring=ring, detector=self._detectors[wanted])

    def _detect(self, frame: RawFrame) -> FacesRecord | None:
        """None for a damaged picture, where whatever is found may be wrong, and for one that has been given up meanwhile."""
        session = self._sessions.get(frame.stream)
        if frame.is_corrupt or session is None:
            return None
        try:
            planes = session.ring.planes(frame)
            size = (session.layout.width, session.layout.height)
            faces = session.detector.detect(picture_render(planes, session.layout), size, effort=frame.effort)
            # A picture that was overwritten while it was looked at is none that anything is known of.
            session.ring.planes(frame)
        except SlotMismatchError:
            return None
        return FacesRecord.pack(faces)

"""One stream and one detector without processes, for the tests of the supervisor's part in a stream."""

from __future__ import annotations

import itertools

from streamer.live.config import StreamSettings
from streamer.live.detectors import Detectors
from streamer.live.dispatch import LiveDispatcher
from streamer.live.stream import Shared, StreamRun
from streamer.messages import DetectedFrame, RawFrame
from tests.live.fake_crew import FakeChild, FakeSupervisor


class Plain:
    """Wording without secrets."""

    def resolve(self, text: str) -> str:
        return text

    def redact(self, text: str) -> str:
        return text


class StreamBench:
    """What both are told is heard by fake children; nothing happens before the test says so."""

    def __init__(self, *, max_latency_ms: int = 1500) -> None:
        self.supervisor = FakeSupervisor()
        self.dispatcher = LiveDispatcher()
        self.detectors = Detectors(
            self.supervisor.crew,
            self.dispatcher,
            processes=1,
            backend="cpu",
            needs_keypoints=True,
            hang_limit_s=None,
            on_answer=self._detected,
            on_undetectable=self._cover_whole,
        )
        shared = Shared(
            crew=self.supervisor.crew,
            dispatcher=self.dispatcher,
            detectors=self.detectors,
            wording=Plain(),
            backend="cpu",
            hang_limit_s=None,
            next_session=itertools.count(1).__next__,
            on_preview=lambda preview: None,
        )
        settings = StreamSettings(
            name="door", input="rtsp://camera/door", outputs="rtsp://server/door", max_latency_ms=max_latency_ms
        )
        self.stream = StreamRun(settings, shared)

    def child(self, role: str) -> FakeChild:
        """The newest of a role."""
        return next(child for child in reversed(self.supervisor.started) if child.row.role == role)

    def _detected(self, answer: DetectedFrame, payload: bytes) -> None:
        if self.stream.flow is not None:
            self.stream.flow.detected(answer, payload)

    def _cover_whole(self, frame: RawFrame) -> None:
        if self.stream.flow is not None:
            self.stream.flow.cover_whole(frame)

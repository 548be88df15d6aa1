"""One stream and one detector without processes, for the tests of the supervisor's part in a stream."""

from __future__ import annotations

import itertools
import time
from typing import Any, cast

from models.faces import no_faces
from streamer.live.config import StreamSettings
from streamer.live.detectors import Detectors
from streamer.live.dispatch import LiveDispatcher
from streamer.live.shared import Shared
from streamer.live.stream import StreamRun
from streamer.messages import AnonymizedFrame, DetectedFrame, FacesRecord, Message, RawFrame, Ready, SlotFree
from tests.live.fake_crew import FakeChild, FakeSupervisor
from tests.live.frames import anonymized, opened, raw_frame

MAX_LATENCY_S = 2.0


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


class Bench(StreamBench):
    """One stream, one detector, and what they are told."""

    def __init__(self) -> None:
        super().__init__(max_latency_ms=round(1000 * MAX_LATENCY_S))
        self.tick()

    def tick(self, later_s: float = 0.0) -> None:
        now_s = time.monotonic() + later_s
        self.detectors.tick(now_s)
        self.stream.tick(now_s)

    def count(self, role: str) -> int:
        return sum(child.row.role == role for child in self.supervisor.started)

    def say(self, role: str, message: Message) -> None:
        self.supervisor.say(self.child(role), message)

    def die(self, role: str) -> FakeChild:
        child = self.child(role)
        self.supervisor.die(child)
        return child

    def open(self) -> int:
        """The camera is there; the session's number."""
        session = cast(Any, self.child("camera").heard[0]).session
        self.say("camera", opened(session=session))
        self.say("live-detector", Ready())
        return int(session)

    def grants(self, role: str) -> list[SlotFree]:
        return [cast(SlotFree, message) for message in self.child(role).heard_of(SlotFree)]

    def send(self, session: int, number: int, grant: int, age_s: float = 0.0) -> RawFrame:
        """A picture of the camera."""
        free = self.grants("camera")[grant]
        frame = raw_frame(
            number,
            stream=session,
            slot=free.slot,
            generation=free.generation,
            captured_s=time.monotonic() - age_s,
            effort="thorough",
        )
        self.say("camera", frame)
        return frame

    def detect(self) -> None:
        """Whatever the detector has."""
        self.detectors.hand_out(time.monotonic(), ())
        frame = cast(RawFrame, self.child("live-detector").heard_of(RawFrame)[-1])
        self.say("live-detector", DetectedFrame(frame=frame, faces=FacesRecord.pack(no_faces())))

    def anonymize(self, frame: RawFrame, grant: int) -> AnonymizedFrame:
        free = self.grants("live-anonymizer")[grant]
        safe = anonymized(frame, free.slot, free.generation)
        self.say("live-anonymizer", safe)
        return safe

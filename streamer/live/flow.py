"""The way of pictures through one session: what each process that has to do with one is told next, and what becomes of the picture.

camera --RawFrame--> [dispatcher] --> detector --DetectedFrame--> anonymizer --AnonymizedFrame--> sink --LiveFrameWritten
   ^                      | too many       | no answer in time        |FrameReport      ^ too old: dropped   |
   |                   dropped        covered whole                   |                 |                    |
   +--------------------------- SlotFree (raw ring) ------------------+                 +--- SlotFree (safe ring)
"""

from __future__ import annotations

import time
from collections.abc import Callable

from streamer.live.camera import CameraRun
from streamer.live.config import StreamSettings
from streamer.live.detectors import Detectors
from streamer.live.dispatch import LiveDispatcher
from streamer.live.messages import FrameDropped, FramesSkipped, LiveFrameWritten
from streamer.live.session import Session
from streamer.live.stages import ROLES, StageRole, Stages
from streamer.live.statistics import StreamStatistics
from streamer.messages import AnonymizedFrame, DetectedFrame, FrameReport, Message, RawFrame, UndetectedFrame

RESERVE_S = 0.2
"""Of the greatest latency, what hiding and encoding get."""
_LEAST_DETECTION_S = 0.4


class PictureFlow:
    """Routes the pictures of one session between its processes, and sees to it that every slot comes back.

    Owner of the session. on_picture: hears when a picture has gone out.
    """

    def __init__(
        self,
        session: Session,
        settings: StreamSettings,
        *,
        camera: CameraRun,
        dispatcher: LiveDispatcher,
        detectors: Detectors,
        stages: Stages,
        statistics: StreamStatistics,
        on_picture: Callable[[float], None],
    ) -> None:
        self.session = session
        self._settings = settings
        self._camera = camera
        self._dispatcher = dispatcher
        self._detectors = detectors
        self._stages = stages
        self._statistics = statistics
        self._on_picture = on_picture

    def begin(self) -> None:
        """All processes take part, and the camera may send."""
        session = self.session
        ready = session.ready(self._settings.detector, needs_keypoints=self._stages.needs_keypoints)
        for role in ROLES:
            self._stages.join(role, session)
        self._detectors.begin(ready, session.raw)
        self._camera.begin(ready, session.raw, list(session.raw_grants()))

    def end(self) -> None:
        """What is under way is lost."""
        session = self.session
        self._dispatcher.forget(session.number)
        self._detectors.end(session.number)
        self._stages.leave(session)
        self._statistics.dropped["lost"] += session.in_flight
        session.close()

    # How long pictures may wait.

    @property
    def longest_wait_s(self) -> float:
        """Since its arrival, for a picture that no detector has yet."""
        return max(self._left_s / 2, RESERVE_S)

    @property
    def longest_detection_s(self) -> float:
        """For a picture that a detector has."""
        return max(self._left_s / 2, _LEAST_DETECTION_S)

    @property
    def _left_s(self) -> float:
        return self._settings.max_latency_ms / 1000 - self._settings.look_ahead_s - RESERVE_S

    @property
    def is_congested(self) -> bool:
        """Whether what comes after detection has all that it can do."""
        return self.session.is_congested(self._settings.look_ahead_s)

    # What becomes of them.

    def received(self, message: Message, payload: bytes) -> None:
        """What the stream's own processes say; of other sessions it leads to nothing.

        Raises SlotMismatchError where it cannot be.
        """
        ours = self.session.number
        match message:
            case RawFrame(stream=number) if number == ours:
                self._take(message)
            case FramesSkipped(session=number) if number == ours:
                self._statistics.frame_in(time.monotonic(), is_wanted=message.reason != "rate")
                self._statistics.dropped[message.reason] += message.frames
            case AnonymizedFrame(stream=number) if number == ours:
                self._send_to_sink(message, payload)
            case FrameReport(stream=number) if number == ours:
                self._statistics.report(message)
                release = self.session.drop if message.dropped is not None else self.session.release_raw
                self._camera.grant(release(message.number))
            case LiveFrameWritten(session=number) if number == ours:
                self._written(message)
            case _:
                pass

    def detected(self, answer: DetectedFrame, payload: bytes) -> None:
        """A detector has looked at a frame."""
        if self.session.knows(answer.frame):
            self.session.answered(answer)
            self._stages.pass_on("live-anonymizer", payload)

    def cover_whole(self, frame: RawFrame) -> None:
        """What is in this frame cannot be known in time."""
        if self.session.knows(frame):
            self.session.answered(DetectedFrame(frame=frame, faces=None))
            self._stages.send("live-anonymizer", UndetectedFrame(frame=frame))

    def drop(self, frame: RawFrame) -> None:
        """This frame is not looked at, because the machine cannot keep up."""
        if not self.session.knows(frame):
            return
        self._statistics.dropped["overload"] += 1
        self._stages.send("live-anonymizer", FrameDropped(session=self.session.number, number=frame.number))
        self._camera.grant(self.session.drop(frame.number))

    # Processes that come and go in the middle of it.

    def join(self, role: StageRole) -> None:
        """A process has taken the place of one that is gone."""
        self.lose(role)
        self._stages.join(role, self.session)

    def lose(self, role: StageRole) -> None:
        """None of the frames that this process had goes out."""
        session = self.session
        before = session.in_flight
        if role == "live-anonymizer":
            self._dispatcher.forget(session.number)
            for grant in session.lose_all():
                self._camera.grant(grant)
        else:
            for grant in session.lose_encoding():
                self._stages.send("live-anonymizer", grant)
        self._statistics.dropped["lost"] += before - session.in_flight

    def _take(self, frame: RawFrame) -> None:
        self._statistics.frame_in(time.monotonic())
        for dropped in self._dispatcher.submit(self.session.take(frame)):
            self.drop(dropped)

    def _send_to_sink(self, frame: AnonymizedFrame, payload: bytes) -> None:
        """But not what has become too old on the way, as when this process was stopped for a while."""
        self.session.announce(frame)
        if not self.session.is_older(frame.number, time.monotonic() - self._settings.max_latency_ms / 1000):
            self._stages.pass_on("live-sink", payload)
            return
        grant, _ = self.session.written(frame.number, frame.slot)
        self._stages.send("live-anonymizer", grant)
        self._statistics.dropped["late"] += 1

    def _written(self, message: LiveFrameWritten) -> None:
        grant, captured_s = self.session.written(message.number, message.slot)
        self._stages.send("live-anonymizer", grant)
        now_s = time.monotonic()
        self._on_picture(now_s)
        if captured_s is not None:
            self._statistics.frame_out(now_s, captured_s)

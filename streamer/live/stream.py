"""The supervisor's part in one stream: its camera, its own processes and its outputs kept going, or given up for a while."""

from __future__ import annotations

import time
from collections.abc import Sequence

from loguru import logger

from streamer.children import Child, Died
from streamer.deaths import Deaths
from streamer.errors import InternalError
from streamer.live.camera import CameraRun
from streamer.live.condition import Condition
from streamer.live.config import StreamSettings
from streamer.live.crew import DISMISSAL_S
from streamer.live.flow import RESERVE_S, PictureFlow
from streamer.live.messages import (
    CameraOpened,
    EncodedPacket,
    EncodingOpened,
    KeyframeWanted,
    Preview,
    PreviewWanted,
    SlateWritten,
    SoundOpened,
)
from streamer.live.output import OutputRun
from streamer.live.session import Session, plan_session
from streamer.live.shared import Shared, addresses_of
from streamer.live.slating import SlateSender, Trouble
from streamer.live.stages import ROLES, StageRole, Stages
from streamer.live.states import STARTING_S, next_state, trouble_of
from streamer.live.statistics import StreamStatistics, stream_status
from streamer.live.status import StreamStatus
from streamer.messages import AudioPacket, Message
from streamer.pipeline import RestartLimit
from streamer.rings import SlotMismatchError

RESTARTS = RestartLimit(restarts=10, within_s=60.0)
"""Of a stream's own processes, cameras that go away not counted; with more it is given up."""
GIVEN_UP_S = 300.0
"""Until a stream that was given up is tried again."""
END_WAIT_S = 5.0
"""The longest that what is under way has at the end of a file that is played."""
END_GRACE_S = 8.0
"""For outputs to complete their files and take their leave then."""
SILENT_LIMIT_S = 10.0
"""A stream that has sent nothing for so long, although it should have, is not healthy."""


class StreamRun:
    """Keeps one stream going until `stop`, or gives it up for a while; owner of its anonymizer and its sink."""

    def __init__(self, settings: StreamSettings, shared: Shared) -> None:
        assert settings.name is not None
        self.name = settings.name
        self.settings = settings
        self._shared = shared
        self._log = logger.bind(stream=self.name)
        self._shown = shared.wording.redact(settings.input)
        now_s = time.monotonic()
        self._stages = Stages(shared.crew, self.name, settings, self, backend=shared.backend, hang_limit_s=shared.hang_limit_s)
        self._camera = CameraRun(
            shared.crew,
            settings,
            shared.wording,
            origin_s=now_s,
            next_session=shared.next_session,
            on_message=self.received,
            on_lost=self._lose_camera,
            on_end=self._end_soon,
        )
        self._outputs = [
            OutputRun(shared.crew, self.name, output, shared.wording, self._want_keyframe) for output in settings.targets
        ]
        self.addresses = addresses_of(settings, shared.wording)
        self.flow: PictureFlow | None = None
        """While the camera is there."""
        self._camera_since_s = now_s
        self._deaths = Deaths(RESTARTS)
        self._given_up_until_s: float | None = None
        self._has_slates_only = False
        """While it is given up: its sink lives, and shows what is wrong."""
        self._has_failed = False
        self._ends_at_s: float | None = None
        """Once the file that it plays is at its end; what is under way has until then."""
        self.has_ended = False
        """The file has been played: nothing more is done."""
        self._condition = Condition(self.name)
        self._slates = SlateSender(
            self._stages, is_enabled=settings.slate, delay_s=settings.look_ahead_s + RESERVE_S, origin_s=now_s
        )
        self.statistics = StreamStatistics()

    def tick(self, now_s: float) -> None:
        """What is due: processes to start, slates to send."""
        if self._ends_at_s is not None and now_s >= self._ends_at_s:
            self._end()
        if self.has_ended:
            return
        if self._given_up_until_s is not None:
            if now_s < self._given_up_until_s:
                self._go_on_with_slates(now_s)
                return
            self._given_up_until_s = None
            self._deaths.forget()
        self._keep_stages()
        self._camera.tick(now_s)
        for output in self._outputs:
            output.tick(now_s)
        if self._ends_at_s is not None:
            return  # nobody is told of a picture that is not to come
        trouble = self._trouble(now_s)
        self._slates.tick(now_s, trouble, is_away=self.flow is None and trouble != "starting")
        self._set_state(now_s, trouble)

    def _go_on_with_slates(self, now_s: float) -> None:
        """As far as there is a sink while the stream is given up."""
        if self._has_slates_only:
            self._keep_stages(("live-sink",))
            for output in self._outputs:
                output.tick(now_s)
            self._slates.tick(now_s, "failed", is_away=True)

    def stop(self, grace_s: float) -> None:
        """Sound and pictures that are under way are dropped, outputs completed."""
        self._end_session()
        self._camera.stop()
        self._stages.dismiss(DISMISSAL_S)
        for output in self._outputs:
            output.stop(grace_s)
        if not self.has_ended:
            self._condition.become("stopped")

    @property
    def has_sent(self) -> bool:
        return bool(self.statistics.frames_out or self.statistics.slates)

    @property
    def is_ready(self) -> bool:
        """It has made a safe frame or its slate for its outputs, or cannot be expected to."""
        cannot_send = self._given_up_until_s is not None and not self._has_slates_only
        return self.has_sent or self.has_ended or cannot_send or (self._has_failed and not self.settings.slate)

    def is_silent(self, now_s: float) -> bool:
        """It should have sent something of late and has not."""
        if self.has_ended or self._given_up_until_s is not None or (self.flow is None and not self.settings.slate):
            return False
        return now_s - self._slates.pace.last_output_s > SILENT_LIMIT_S

    @property
    def is_given_up(self) -> bool:
        return self._given_up_until_s is not None

    # What its processes say.

    def received(self, child: Child, message: Message, payload: bytes) -> None:
        try:
            self._act(message, payload)
        except SlotMismatchError as error:
            # Whatever it is, it does not keep to the protocol: its place is taken by another one.
            self._log.error("the {} process broke the protocol: {}", child.row.role, error)
            child.kill()

    def _act(self, message: Message, payload: bytes) -> None:
        flow = self.flow
        match message:
            case CameraOpened():
                self._begin_session(message)
            case AudioPacket(stream=number) if flow is not None and number == flow.session.number:
                for output in self._outputs:
                    output.give(message, payload)
            case EncodingOpened() | EncodedPacket():
                for output in self._outputs:
                    output.give(message, payload)
            case SlateWritten():
                self._slates.written(time.monotonic())
                self.statistics.slates += 1
            case Preview():
                self._shared.on_preview(message)
            case _ if flow is not None:
                flow.received(message, payload)
            case _:
                pass  # of a session that is over

    def want_preview(self, message: PreviewWanted) -> None:
        self._stages.send("live-sink", message)

    def died(self, died: Died) -> None:
        role = self._stages.bury(died.child)
        if role is None:
            return
        reason = self._shared.wording.redact(str(died.error))
        self._condition.tell(reason)
        if self._count_death(died) or died.is_final:
            self._give_up(reason, has_sink=role != "live-sink")
            return
        if self._given_up_until_s is not None:
            return  # the next tick starts another sink
        if self.flow is not None:
            self.flow.lose(role)
        self._keep_stages()

    def _count_death(self, died: Died) -> bool:
        """Whether it is one too many."""
        self.statistics.restarts[died.child.row.role.removeprefix("live-")] += 1
        return self._deaths.add()

    # Sessions.

    def _begin_session(self, opened: CameraOpened) -> None:
        settings, layout = self.settings, opened.layout
        plan = plan_session(opened, settings, detectors=self._shared.detectors.processes)
        if plan is None:
            size = f"{layout.width}x{layout.height}"
            self._camera.lose(f"ring_mebibytes ({settings.ring_mebibytes}) holds too few pictures of {size}")
            return
        if plan.look_ahead_s is not None:
            self._condition.tell(
                f"the look-ahead is {plan.look_ahead_s:.2f} s: ring_mebibytes ({settings.ring_mebibytes}) holds no more"
            )
        try:
            session = Session(opened, plan)
        except OSError as error:
            self._camera.lose(f"no memory for its pictures can be had ({error.strerror})")
            return
        self._log.info("{}x{} {} from {}", layout.width, layout.height, opened.codec, self._shown)
        self.flow = PictureFlow(
            session,
            settings,
            camera=self._camera,
            dispatcher=self._shared.dispatcher,
            detectors=self._shared.detectors,
            stages=self._stages,
            statistics=self.statistics,
            on_picture=self._slates.pace.picture,
        )
        self._camera_since_s = time.monotonic()
        self.statistics.camera_opened()
        self.flow.begin()
        sound = SoundOpened(audio=opened.audio, codec=opened.audio_codec)
        for output in self._outputs:
            output.announce(sound)

    def _end_soon(self) -> None:
        """The file is at its end."""
        self._ends_at_s = time.monotonic() + min(self.settings.max_latency_ms / 1000, END_WAIT_S)

    def _end(self) -> None:
        """Outputs are completed; only a reload or another start plays the file again."""
        self._ends_at_s = self._given_up_until_s = None
        self.has_ended = True
        self.stop(END_GRACE_S)
        self._condition.become("ended")

    def _lose_camera(self, reason: str, died: Died | None) -> None:
        if self._ends_at_s is not None:
            self._end()
            return
        self._end_session()
        self._has_failed = True
        self.statistics.reconnects += 1
        self._condition.tell(f"{self._shown}: {reason}" if died is None else reason)
        if died is not None and self._count_death(died):
            self._give_up(reason, has_sink=True)

    def _end_session(self) -> None:
        flow, self.flow = self.flow, None
        if flow is not None:
            flow.end()

    # Processes.

    def _keep_stages(self, wanted: Sequence[StageRole] = ROLES) -> None:
        """Start those that are missing, in the middle of a session, too."""
        for role in self._stages.missing(wanted):
            try:
                self._stages.start(role)
            except InternalError as error:
                self._condition.tell(str(error))
                continue
            if role == "live-sink":
                self._slates.begin_anew()
            if self.flow is not None:
                self.flow.join(role)

    def _give_up(self, reason: str, *, has_sink: bool) -> None:
        """has_sink: it is another process that dies, so that viewers can be told as long as the sink keeps the limit, too."""
        self._log.error("given up for {:.0f} s: {}", GIVEN_UP_S, reason)
        self._condition.tell(f"given up for {GIVEN_UP_S:.0f} s: {reason}")
        self._given_up_until_s = time.monotonic() + GIVEN_UP_S
        self._end_session()
        self._camera.stop()
        self._has_slates_only = has_sink and self.settings.slate
        self._stages.dismiss(0.0, ("live-anonymizer",) if self._has_slates_only else ROLES)
        self._condition.become("failed")

    def _want_keyframe(self) -> None:
        self._stages.send("live-sink", KeyframeWanted())

    # What is seen from outside.

    def _trouble(self, now_s: float) -> Trouble:
        return trouble_of(
            camera_for_s=now_s - self._camera_since_s if self.flow is not None else None,
            has_failed=self._has_failed,
            figures=self.statistics,
            starting_s=self._shared.hang_limit_s or STARTING_S,
        )

    def _set_state(self, now_s: float, trouble: Trouble) -> None:
        state = next_state(
            self._condition.state,
            trouble,
            has_camera=self.flow is not None,
            figures=self.statistics,
            pace=self._slates.pace,
            now_s=now_s,
        )
        self._condition.become(state)

    def status(self) -> StreamStatus:
        now_s = time.monotonic()
        session = self.flow.session if self.flow is not None else None
        return stream_status(
            self.settings,
            self._condition,
            self.statistics,
            now_s,
            name=self.name,
            shown=self._shown,
            opened=session.opened if session is not None else None,
            queue_frames=self._shared.dispatcher.waiting(session.number) if session is not None else 0,
            in_flight_frames=session.in_flight if session is not None else 0,
            outputs=tuple(output.status() for output in self._outputs),
            is_silent=self.is_silent(now_s),
        )

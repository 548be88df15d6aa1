"""One video from its file to a verified output: what the messages mean to the supervisor.

source --RawFrame--> [waiting] --credit--> detector --DetectedFrame--> anonymizer --AnonymizedFrame--> sink
   ^                                                   |FrameReport        ^             |FrameWritten
   +------------- SlotFree (raw ring) -----------------+                   +- SlotFree --+ (safe ring)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from loguru import logger

from streamer.budget import detector_processes, plan_rings
from streamer.channel import Decoder, encode
from streamer.children import Child, Died, Received
from streamer.config import AnonymizeSettings
from streamer.dispatch import CreditDispatcher, UnexpectedAnswerError
from streamer.effort import EffortPlanner
from streamer.encoders import OutputPlan
from streamer.errors import InternalError, Interrupted
from streamer.filters import needs_keypoints
from streamer.forkserver import ForkServer
from streamer.job_record import JobRecord, JobResult
from streamer.messages import (
    AnonymizedFrame,
    AnonymizerSetup,
    BackendReplaced,
    DetectedFrame,
    DetectorSetup,
    FrameReport,
    FrameWritten,
    Message,
    RawFrame,
    Ready,
    SinkFinished,
    SinkSetup,
    SlotFree,
    SourceEnded,
    SourceSetup,
    StreamOpened,
    StreamReady,
    UndetectedFrame,
)
from streamer.pipeline import VIDEO_PIPELINE, ProcessRow, readers
from streamer.rings import RingMemory, SlotMismatchError, SlotTable
from streamer.supervisor import StopRequest, Supervisor
from streamer.temporary import TemporaryOutput

_STREAM = 0
_GRACE_S = 3.0
"""Time for children to leave when they are told to."""


@dataclass(frozen=True, kw_only=True)
class VideoJob:
    """A video to anonymize."""

    source: Path
    output: Path
    """The final name."""
    plan: OutputPlan


def run_video_job(
    job: VideoJob,
    settings: AnonymizeSettings,
    *,
    on_frame: Callable[[FrameReport], None],
    stop: StopRequest,
    fork_server: ForkServer,
    table: Sequence[ProcessRow] = VIDEO_PIPELINE,
    log_level: str = "WARNING",
) -> JobResult:
    """Anonymize one video; when this returns, the verified output has its final name.

    on_frame is called for each frame, in order. Call it from a thread that lives until it returns: the children die with it.
    table: the processes to run; another one than that of pipeline.py swaps workers or limits, which tests do to inject faults.
    Raises InputError, OutputError, UsageError, InternalError or Interrupted (when `stop` was requested); in each case nothing lies
    under the final name that did not before, and no process, temporary file or socket is left.
    """
    started_s = time.monotonic()
    temporary = TemporaryOutput(job.output)
    rings = {name: RingMemory(name) for name in ("raw", "safe")}
    try:
        with Supervisor(rings=rings, stop=stop, fork_server=fork_server, log_level=log_level) as supervisor:
            run = _VideoRun(job, settings, temporary.path, table, rings, supervisor, on_frame)
            run.start()
            while not run.record.is_finished:
                if stop.is_requested:
                    supervisor.shut_down(_GRACE_S)
                    raise Interrupted
                for event in supervisor.wait():
                    run.handle(event)
            supervisor.shut_down(_GRACE_S)
            cpu_s = supervisor.cpu_s()
        temporary.commit(overwrite=settings.overwrite)
    finally:
        temporary.discard()
        for ring in rings.values():
            ring.close()
    return run.record.result(wall_s=time.monotonic() - started_s, cpu_s=cpu_s)


class _VideoRun:
    """The supervisor's part in one job: accounts for slots, hands out frames, passes on what is for others."""

    _planner: EffortPlanner

    def __init__(
        self,
        job: VideoJob,
        settings: AnonymizeSettings,
        temporary: Path,
        table: Sequence[ProcessRow],
        rings: Mapping[str, RingMemory],
        supervisor: Supervisor,
        on_frame: Callable[[FrameReport], None],
    ) -> None:
        self._settings = settings
        self._table = table
        self._rings = rings
        self._supervisor = supervisor
        self._on_frame = on_frame
        self._detectors = detector_processes(settings.detector)
        plan = msgspec.Raw(msgspec.msgpack.encode(job.plan))
        self._setups: dict[str, Message] = {
            "source": SourceSetup(stream=_STREAM, path=str(job.source), plan=plan),
            "detector": DetectorSetup(
                detector=settings.detector, needs_keypoints=needs_keypoints(settings.filter), backend=settings.backend
            ),
            "anonymizer": AnonymizerSetup(
                tracker=settings.tracker,
                filter=settings.filter,
                preview_detections=settings.preview_detections,
                backend=settings.backend,
            ),
            "sink": SinkSetup(temporary=str(temporary), plan=plan),
        }
        self._ready: StreamReady | None = None
        self._raw_slots = SlotTable(0)
        self._safe_slots = SlotTable(0)
        self._dispatcher = CreditDispatcher()
        self._frame_decoder = Decoder((RawFrame,))
        self.record = JobRecord()

    def start(self) -> None:
        for row in self._table:
            for _ in range(self._detectors if row.by_credit is not None else 1):
                self._start(row)

    def handle(self, event: Received | Died) -> None:
        match event:
            case Received(child=child, message=message, payload=payload):
                try:
                    self._act(child, message, payload)
                except (SlotMismatchError, UnexpectedAnswerError) as error:
                    raise InternalError(f"the {child.row.role} process broke the protocol: {error}") from error
            case Died(child=child):
                self._bury(event)
        for name, payload in self._dispatcher.assign():
            self._supervisor.send_to(name, payload)

    def _act(self, child: Child, message: Message, payload: bytes) -> None:
        match message:
            case Ready():
                if child.row.by_credit is not None:
                    self._dispatcher.add_idle(child.name)
            case StreamOpened():
                self._open(message)
            case RawFrame():
                self._raw_slots.check(message)
                self._look_at(self._planner.add(message))
            case DetectedFrame(frame=frame):
                self._dispatcher.finish(child.name, frame.number)
                self._look_at(self._planner.answer(frame, message.faces))
                self._pass_on(message, payload)
            case FrameReport():
                self._report(message)
            case BackendReplaced():
                self.record.replaced_backends[message] += 1
            case AnonymizedFrame():
                self._safe_slots.check(message)
                self._pass_on(message, payload)
            case FrameWritten():
                self.record.written += 1
                self._grant("safe", message.slot, self._safe_slots.release(message.slot))
                self._allow_finish()
            case SourceEnded():
                self.record.ended = message
                self._look_at(self._planner.end())
                self._pass_on(message, payload)
                self._allow_finish()
            case SinkFinished():
                self.record.finish(message)
            case _:
                self._pass_on(message, payload)

    def _start(self, row: ProcessRow) -> None:
        opening = [self._setups[row.role]]
        if self._ready is not None:
            opening.append(self._ready)
        child = self._supervisor.start(row, opening)
        self._set_hang_limit(child)

    def _set_hang_limit(self, child: Child) -> None:
        if self._ready is not None:
            layout = self._ready.opened.layout
            megapixels = layout.width * layout.height / 1e6
            child.hang_limit_s = child.row.hang_limit_s + child.row.hang_limit_s_per_megapixel * megapixels

    def _open(self, opened: StreamOpened) -> None:
        """Size the rings, tell everybody, and let the first pictures come."""
        settings = self._settings
        plan = plan_rings(
            opened,
            look_ahead_s=settings.tracker.look_ahead_s,
            detectors=self._detectors,
            ring_mebibytes=settings.ring_mebibytes,
        )
        if plan.look_ahead_s is not None:
            self.record.notes.append(
                f"The look-ahead is {plan.look_ahead_s:.2f} s instead of {settings.tracker.look_ahead_s:.2f} s, "
                f"because ring_mebibytes ({settings.ring_mebibytes}) holds no more pictures."
            )
            logger.warning(self.record.notes[-1])
        self._rings["raw"].resize(opened.layout, plan.raw_slots)
        self._rings["safe"].resize(opened.layout, plan.safe_slots)
        self._raw_slots, self._safe_slots = SlotTable(plan.raw_slots), SlotTable(plan.safe_slots)
        self._ready = StreamReady(
            opened=opened,
            raw_slots=plan.raw_slots,
            safe_slots=plan.safe_slots,
            window_frames=plan.window_frames,
            interval_frames=plan.interval_frames,
        )
        frame_size = (opened.layout.width, opened.layout.height)
        self._planner = EffortPlanner(frame_size, may_wait=plan.interval_frames is not None)
        self._pass_on(self._ready, encode(self._ready))
        for row in self._table:
            for child in self._supervisor.children(row.role):
                self._set_hang_limit(child)
        for name, slots in (("raw", self._raw_slots), ("safe", self._safe_slots)):
            for slot, generation in slots.initial():
                self._grant(name, slot, generation)

    def _look_at(self, frames: Sequence[RawFrame]) -> None:
        """Let detectors have these frames; others may wait for what thorough ones show."""
        for frame in frames:
            self._dispatcher.submit(frame.number, encode(frame), is_urgent=frame.effort == "thorough")

    def _grant(self, ring: str, slot: int, generation: int) -> None:
        """Let the process that writes this ring use a slot."""
        payload = encode(SlotFree(stream=_STREAM, slot=slot, generation=generation))
        for row in self._table:
            if row.rings.get(ring) == "write":
                self._send(row, payload)

    def _report(self, report: FrameReport) -> None:
        self._grant("raw", report.raw_slot, self._raw_slots.release(report.raw_slot))
        self.record.tally.add(report)
        self._on_frame(report)

    def _allow_finish(self) -> None:
        """Once it has every frame, the sink completes and checks its file, which takes longer than any frame."""
        frames = self.record.frames_if_written
        if frames is None:
            return
        for row in readers(self._table, AnonymizedFrame):
            for child in self._supervisor.children(row.role):
                child.hang_limit_s = row.finish_limit_s + row.finish_limit_s_per_frame * frames

    def _bury(self, died: Died) -> None:
        """Put another process in the place of the dead one, if its row allows, and see to the frame that it held."""
        row = died.child.row
        self._supervisor.allow_restart(died)
        given_up = self._dispatcher.bury(died.child.name)
        if given_up is not None:
            frame = self._frame_decoder.decode(given_up.payload)
            assert isinstance(frame, RawFrame)
            logger.bind(frame=frame.number).warning("a frame ends every process that gets it, and is covered whole")
            undetected = UndetectedFrame(frame=frame)
            self._look_at(self._planner.answer(frame, None))
            self._pass_on(undetected, encode(undetected))
        self.record.restarts[row.role] += 1
        self._start(row)

    def _pass_on(self, message: Message, payload: bytes) -> None:
        """To every process whose row reads such messages."""
        for row in readers(self._table, type(message)):
            self._send(row, payload)

    def _send(self, row: ProcessRow, payload: bytes) -> None:
        for child in self._supervisor.children(row.role):
            self._supervisor.send(child, payload)

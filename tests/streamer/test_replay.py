"""A clip through all workers in this process, without sockets, gives what the processes give."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from pathlib import Path

import msgspec
import pytest

from streamer.budget import plan_rings
from streamer.config import AnonymizeSettings, FilterSettings
from streamer.effort import EffortPlanner
from streamer.encoders import OutputPlan, plan_output
from streamer.filters import needs_keypoints
from streamer.messages import (
    AnonymizerSetup,
    DetectedFrame,
    DetectorSetup,
    FrameReport,
    FrameWritten,
    Message,
    RawFrame,
    SinkFinished,
    SinkSetup,
    SlotFree,
    SourceEnded,
    SourceSetup,
    StreamOpened,
    StreamReady,
)
from streamer.pipeline import VIDEO_PIPELINE, readers
from streamer.probe import probe
from streamer.rings import RingHandle, RingMemory, SlotTable
from streamer.workers import Worker
from streamer.workers.anonymizer import AnonymizerWorker
from streamer.workers.sink import SinkWorker
from streamer.workers.source import SourceWorker
from tests.streamer.faulty_workers import SquareDetectorWorker
from tests.streamer.running import nothing_left_behind, run, table_with, write_clip

WORKERS: dict[str, type[Worker]] = {
    "source": SourceWorker,
    "detector": SquareDetectorWorker,
    "anonymizer": AnonymizerWorker,
    "sink": SinkWorker,
}


class Replay:
    """The supervisor's routing without processes; frames reach the detector in a shuffled order, as slow processes would do."""

    def __init__(self, source: Path, temporary: Path, plan: OutputPlan, settings: AnonymizeSettings, seed: int) -> None:
        self.rings = {name: RingMemory(name) for name in ("raw", "safe")}
        self.workers = {
            row.role: WORKERS[row.role](
                {name: RingHandle(self.rings[name].descriptor(access)) for name, access in row.rings.items()}
            )
            for row in VIDEO_PIPELINE
        }
        self.settings = settings
        self.random = random.Random(seed)
        self.queue: deque[tuple[str, Message]] = deque()
        self.undetected: list[RawFrame] = []
        self.is_finished = False
        packed = msgspec.Raw(msgspec.msgpack.encode(plan))
        self.queue.append(("source", SourceSetup(stream=0, path=str(source), plan=packed)))
        self.queue.append(("detector", DetectorSetup(detector=settings.detector, needs_keypoints=needs_keypoints(settings.filter))))
        self.queue.append(
            ("anonymizer", AnonymizerSetup(tracker=settings.tracker, filter=settings.filter, preview_detections=False))
        )
        self.queue.append(("sink", SinkSetup(temporary=str(temporary), plan=packed)))

    def run(self) -> None:
        while not self.is_finished:
            if not self.queue:
                frame = self.undetected.pop(self.random.randrange(len(self.undetected)))
                self.queue.append(("detector", frame))
            role, message = self.queue.popleft()
            for answer in self.workers[role].process(message):
                self.answer(answer)
        for worker in self.workers.values():
            worker.close()
        for ring in self.rings.values():
            ring.close()

    def answer(self, message: Message) -> None:
        match message:
            case StreamOpened():
                self.open(message)
            case RawFrame():
                self.undetected += self.planner.add(message)
            case FrameReport():
                self.queue.append(
                    ("source", SlotFree(stream=0, slot=message.raw_slot, generation=self.raw.release(message.raw_slot)))
                )
            case FrameWritten():
                self.queue.append(("anonymizer", SlotFree(stream=0, slot=message.slot, generation=self.safe.release(message.slot))))
            case SinkFinished():
                self.is_finished = True
            case _:
                if isinstance(message, DetectedFrame):
                    self.undetected += self.planner.answer(message.frame, message.faces)
                elif isinstance(message, SourceEnded):
                    self.undetected += self.planner.end()
                self.queue.extend((row.role, message) for row in readers(VIDEO_PIPELINE, type(message)))

    def open(self, opened: StreamOpened) -> None:
        plan = plan_rings(opened, look_ahead_s=self.settings.tracker.look_ahead_s, detectors=2, ring_mebibytes=512)
        ready = StreamReady(
            opened=opened,
            raw_slots=plan.raw_slots,
            safe_slots=plan.safe_slots,
            window_frames=plan.window_frames,
            interval_frames=plan.interval_frames,
        )
        self.planner = EffortPlanner((opened.layout.width, opened.layout.height), may_wait=plan.interval_frames is not None)
        self.rings["raw"].resize(opened.layout, plan.raw_slots)
        self.rings["safe"].resize(opened.layout, plan.safe_slots)
        self.raw, self.safe = SlotTable(plan.raw_slots), SlotTable(plan.safe_slots)
        self.queue.extend((row.role, ready) for row in readers(VIDEO_PIPELINE, StreamReady))
        for role, table in (("source", self.raw), ("anonymizer", self.safe)):
            self.queue.extend((role, SlotFree(stream=0, slot=slot, generation=generation)) for slot, generation in table.initial())


def test_workers_in_one_process_write_the_file_that_the_processes_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, settings = tmp_path / "clip.mp4", AnonymizeSettings(filter=FilterSettings(identity_seed=1))
    write_clip(clip)
    with nothing_left_behind(monkeypatch, tmp_path):
        expected = run(clip, tmp_path / "out.mp4", table=table_with(), settings=settings).digest
    for seed in range(3):
        temporary = tmp_path / f"replay-{seed}.mp4"
        plan = plan_output(probe(clip), settings.video, (), tmp_path / "out.mp4")
        Replay(clip, temporary, plan, settings, seed).run()
        assert hashlib.sha256(temporary.read_bytes()).hexdigest() == expected

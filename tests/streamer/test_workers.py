"""Each worker alone: messages in, messages and pictures out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.faces import Faces, no_faces
from streamer.config import AnonymizeSettings, DetectorSettings, FilterSettings, TrackerSettings
from streamer.effort import THOROUGH_EVERY_S
from streamer.encoders import plan_output
from streamer.errors import InputError, UsageError
from streamer.messages import (
    AnonymizedFrame,
    AnonymizerSetup,
    AudioPacket,
    DetectedFrame,
    DetectorSetup,
    FacesRecord,
    FrameReport,
    Message,
    RawFrame,
    SinkSetup,
    SlotFree,
    SourceEnded,
    SourceSetup,
    StreamOpened,
    StreamReady,
    UndetectedFrame,
)
from streamer.pictures import PictureLayout
from streamer.probe import probe
from streamer.rings import RingHandle, RingMemory, SlotMismatchError, SlotState
from streamer.workers.anonymizer import AnonymizerWorker
from streamer.workers.detector import DetectorWorker
from streamer.workers.sink import SinkWorker
from streamer.workers.source import SourceWorker
from tests.streamer.faulty_workers import SquareDetectorWorker
from tests.streamer.running import FRAMES, SIZE, SQUARE, write_clip
from tests.workers import answers

LAYOUT = PictureLayout(width=64, height=48, pixel_format="yuv420p")
SLOTS = 40
OPENED = StreamOpened(
    stream=0,
    layout=LAYOUT,
    time_base=(1, 25),
    average_rate=(25, 1),
    peak_rate=(25, 1),
    sample_aspect_ratio=(1, 1),
    audio=b"",
    frames_estimated=None,
    duration_s=None,
)
READY = StreamReady(opened=OPENED, raw_slots=SLOTS, safe_slots=SLOTS, window_frames=14, interval_frames=10)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path)
    return path


@pytest.fixture
def rings() -> Iterator[dict[str, RingMemory]]:
    memories = {name: RingMemory(name) for name in ("raw", "safe")}
    yield memories
    for memory in memories.values():
        memory.close()


def handles(rings: dict[str, RingMemory], **rights: Any) -> dict[str, RingHandle]:
    return {name: RingHandle(rings[name].descriptor(access)) for name, access in rights.items()}


def frame(number: int, **changes: Any) -> RawFrame:
    plain = RawFrame(
        stream=0,
        number=number,
        slot=number % SLOTS,
        generation=1 + number // SLOTS,
        pts=number,
        duration=1,
        time_s=number / 25,
        is_corrupt=False,
        is_cut=number == 0,
        effort="thorough",
    )
    return msgspec.structs.replace(plain, **changes)


def free(slot: int, generation: int = 1) -> SlotFree:
    return SlotFree(stream=0, slot=slot, generation=generation)


def source_of(path: Path, rings: dict[str, RingMemory]) -> tuple[SourceWorker, StreamReady]:
    worker = SourceWorker(handles(rings, raw="write"))
    plan = plan_output(probe(path), AnonymizeSettings().video, (), path.with_name("out.mp4"))
    setup = SourceSetup(stream=0, path=str(path), plan=msgspec.Raw(msgspec.msgpack.encode(plan)))
    (opened,) = answers(worker, setup)
    assert isinstance(opened, StreamOpened)
    ready = StreamReady(opened=opened, raw_slots=SLOTS, safe_slots=SLOTS, window_frames=14, interval_frames=10)
    rings["raw"].resize(opened.layout, SLOTS)
    assert answers(worker, ready) == []
    return worker, ready


def test_a_source_decodes_one_picture_for_each_free_slot(clip: Path, rings: dict[str, RingMemory]) -> None:
    worker, ready = source_of(clip, rings)
    reader = handles(rings, raw="read")["raw"].reader(ready.opened.layout, SLOTS, SlotState.RAW)
    for number in range(FRAMES):
        given = answers(worker, free(number % SLOTS, 1 + number // SLOTS))
        raw = [message for message in given if isinstance(message, RawFrame)]
        assert [(message.number, message.slot) for message in raw] == [(number, number % SLOTS)]
        luma = reader.planes(raw[0])[0]
        x, y = (3 * number) % (SIZE[0] - SQUARE), number % (SIZE[1] - SQUARE)
        assert luma[y + 4 : y + SQUARE - 4, x + 4 : x + SQUARE - 4].min() > 200
        assert {type(message) for message in given} <= {RawFrame, AudioPacket}
    *rest, ended = answers(worker, free(0, 3))
    assert ended == SourceEnded(stream=0, frames=FRAMES, notes=[], is_damaged=False)
    assert {type(message) for message in rest} <= {AudioPacket}
    assert answers(worker, free(1, 3)) == []


def test_thorough_frames_lie_close_together(clip: Path, rings: dict[str, RingMemory]) -> None:
    worker, _ = source_of(clip, rings)
    raw = [message for slot in range(SLOTS) for message in answers(worker, free(slot)) if isinstance(message, RawFrame)]
    thorough = [message.time_s for message in raw if message.effort == "thorough"]
    assert raw[0].effort == "thorough"
    assert raw[0].is_cut
    assert all(later - earlier < THOROUGH_EVERY_S + 1 / 25 for earlier, later in itertools.pairwise(thorough))
    assert len(thorough) < len(raw) / 2


def test_a_source_that_cannot_read_says_which_file(tmp_path: Path, clip: Path, rings: dict[str, RingMemory]) -> None:
    plan = plan_output(probe(clip), AnonymizeSettings().video, (), tmp_path / "out.mp4")
    setup = SourceSetup(stream=0, path=str(tmp_path / "none.mp4"), plan=msgspec.Raw(msgspec.msgpack.encode(plan)))
    with pytest.raises(InputError, match=r"none\.mp4"):
        answers(SourceWorker(handles(rings, raw="write")), setup)


def detector_ready(rings: dict[str, RingMemory], worker: DetectorWorker) -> DetectorWorker:
    rings["raw"].resize(LAYOUT, SLOTS)
    assert answers(worker, DetectorSetup(detector=DetectorSettings()), READY) == []
    return worker


def put(rings: dict[str, RingMemory], *frames: RawFrame) -> None:
    """Grey noise with a white square from (8, 8) to (24, 24)."""
    writer = handles(rings, raw="write")["raw"].writer(LAYOUT, SLOTS, SlotState.RAW)
    for raw in frames:
        with writer.writing(stream=0, number=raw.number, slot=raw.slot, generation=raw.generation) as planes:
            planes[0][...] = np.random.default_rng(raw.number).integers(40, 90, planes[0].shape)
            planes[1].fill(128)
            planes[2].fill(128)
            planes[0][8:24, 8:24] = 235


def test_a_detector_answers_with_the_faces_of_that_very_frame(rings: dict[str, RingMemory]) -> None:
    worker = detector_ready(rings, SquareDetectorWorker(handles(rings, raw="read")))
    put(rings, frame(3))
    (answer,) = answers(worker, frame(3))
    assert isinstance(answer, DetectedFrame)
    assert answer.frame == frame(3)
    assert answer.faces is not None
    assert answer.faces.unpack().boxes.tolist() == [[8, 8, 24, 24]]


def test_a_detector_does_not_trust_a_damaged_picture(rings: dict[str, RingMemory]) -> None:
    worker = detector_ready(rings, SquareDetectorWorker(handles(rings, raw="read")))
    put(rings, frame(3))
    assert answers(worker, frame(3, is_corrupt=True)) == [DetectedFrame(frame=frame(3, is_corrupt=True), faces=None)]


def test_a_detector_refuses_a_slot_that_holds_another_frame(rings: dict[str, RingMemory]) -> None:
    worker = detector_ready(rings, SquareDetectorWorker(handles(rings, raw="read")))
    put(rings, frame(3))
    with pytest.raises(SlotMismatchError):
        answers(worker, frame(3, generation=2))


def test_an_unknown_detector_is_the_users_to_mend(rings: dict[str, RingMemory]) -> None:
    with pytest.raises(UsageError, match=r"detector\.name: .*telepathy"):
        answers(DetectorWorker(handles(rings, raw="read")), DetectorSetup(detector=DetectorSettings(name="telepathy")))


FOUND = FacesRecord.pack(Faces(boxes=np.array([[8, 8, 24, 24]], np.float32), scores=np.ones(1, np.float32)))
NOTHING = FacesRecord.pack(no_faces())


def anonymizer(rings: dict[str, RingMemory], **changes: Any) -> AnonymizerWorker:
    for ring in rings.values():
        ring.resize(LAYOUT, SLOTS)
    worker = AnonymizerWorker(handles(rings, raw="read", safe="write"))
    setup = AnonymizerSetup(tracker=TrackerSettings(), filter=FilterSettings(name="blackout"), preview_detections=False)
    assert answers(worker, msgspec.structs.replace(setup, **changes), READY) == []
    return worker


def safe_planes(rings: dict[str, RingMemory], given: list[Message]) -> list[bytes]:
    reader = handles(rings, safe="read")["safe"].reader(LAYOUT, SLOTS, SlotState.SAFE)
    return [
        b"".join(plane.tobytes() for plane in reader.planes(message)) for message in given if isinstance(message, AnonymizedFrame)
    ]


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(30)))
def test_the_order_of_the_detections_does_not_matter(order: list[int]) -> None:
    def run(numbers: list[int]) -> tuple[list[Message], list[bytes]]:
        rings = {name: RingMemory(name) for name in ("raw", "safe")}
        worker = anonymizer(rings)
        put(rings, *map(frame, range(30)))
        given = answers(worker, *map(free, range(30)))
        for number in numbers:
            given += answers(worker, DetectedFrame(frame=frame(number), faces=FOUND if number % 3 else NOTHING))
        given += answers(worker, SourceEnded(stream=0, frames=30, notes=[], is_damaged=False))
        pictures = safe_planes(rings, given)
        for ring in rings.values():
            ring.close()
        return given, pictures

    given, pictures = run(order)
    assert (given, pictures) == run(list(range(30)))
    assert [message.number for message in given if isinstance(message, FrameReport)] == list(range(30))


def test_an_anonymizer_waits_for_safe_slots_and_loses_nothing(rings: dict[str, RingMemory]) -> None:
    worker = anonymizer(rings)
    frames = [frame(number) for number in range(30)]
    put(rings, *frames)
    given = answers(worker, *(DetectedFrame(frame=raw, faces=FOUND) for raw in frames))
    given += answers(worker, SourceEnded(stream=0, frames=30, notes=[], is_damaged=False))
    assert given == []
    for slot in range(30):
        picture, report = answers(worker, free(slot))
        assert isinstance(picture, AnonymizedFrame)
        assert isinstance(report, FrameReport)
        assert (picture.number, picture.slot, report.number, report.raw_slot) == (slot, slot, slot, slot)


@pytest.mark.parametrize("kind", ["corrupt", "undetectable"])
def test_a_frame_without_an_answer_is_covered_whole(kind: str, rings: dict[str, RingMemory]) -> None:
    worker = anonymizer(rings)
    frames = [frame(0), frame(1, is_corrupt=kind == "corrupt"), frame(2)]
    put(rings, *frames)
    middle = UndetectedFrame(frame=frames[1]) if kind == "undetectable" else DetectedFrame(frame=frames[1], faces=None)
    given = answers(worker, *map(free, range(3)))
    given += answers(worker, DetectedFrame(frame=frames[0], faces=FOUND), middle, DetectedFrame(frame=frames[2], faces=FOUND))
    given += answers(worker, SourceEnded(stream=0, frames=3, notes=[], is_damaged=False))
    reports = [message for message in given if isinstance(message, FrameReport)]
    assert [report.covered_whole for report in reports] == [None, kind, None]
    luma = np.frombuffer(safe_planes(rings, given)[1], np.uint8)[: LAYOUT.width * LAYOUT.height]
    assert len(np.unique(luma)) == 1


def test_a_preview_draws_on_the_safe_picture_only(rings: dict[str, RingMemory]) -> None:
    worker = anonymizer(rings, preview_detections=True)
    put(rings, frame(0))
    given = answers(worker, free(0), DetectedFrame(frame=frame(0), faces=FOUND))
    given += answers(worker, SourceEnded(stream=0, frames=1, notes=[], is_damaged=False))
    luma = np.frombuffer(safe_planes(rings, given)[0], np.uint8)[: LAYOUT.width * LAYOUT.height].reshape(LAYOUT.height, -1)
    assert luma[10:22, 10:22].mean() < 120, "the face, whose mean is 235, is still there"
    assert luma[8, 8:24].std() == 0, "no line along the upper side of the box"
    assert luma[8, 8] > 100


def sink(rings: dict[str, RingMemory], clip: Path, temporary: Path) -> SinkWorker:
    rings["safe"].resize(LAYOUT, SLOTS)
    worker = SinkWorker(handles(rings, safe="read"))
    plan = plan_output(probe(clip), AnonymizeSettings().video, (), temporary.with_name("out.mp4"))
    plan = msgspec.structs.replace(plan, tracks=())
    answers(worker, SinkSetup(temporary=str(temporary), plan=msgspec.Raw(msgspec.msgpack.encode(plan))), READY)
    return worker


def anonymized(number: int) -> AnonymizedFrame:
    return AnonymizedFrame(stream=0, number=number, slot=number, generation=1, pts=number, duration=1)


def put_safe(rings: dict[str, RingMemory], number: int) -> None:
    writer = handles(rings, safe="write")["safe"].writer(LAYOUT, SLOTS, SlotState.SAFE)
    with writer.writing(stream=0, number=number, slot=number, generation=1) as planes:
        for plane in planes:
            plane.fill(100)


def test_a_sink_takes_frames_in_order_only(clip: Path, tmp_path: Path, rings: dict[str, RingMemory]) -> None:
    worker = sink(rings, clip, tmp_path / "part.mp4")
    put_safe(rings, 0)
    put_safe(rings, 2)
    assert len(answers(worker, anonymized(0))) == 1
    with pytest.raises(ValueError, match="frame 2 came instead of frame 1"):
        answers(worker, anonymized(2))


def test_a_sink_refuses_a_picture_that_is_not_safe(clip: Path, tmp_path: Path, rings: dict[str, RingMemory]) -> None:
    worker = sink(rings, clip, tmp_path / "part.mp4")
    writer = handles(rings, safe="write")["safe"].writer(LAYOUT, SLOTS, SlotState.RAW)
    with writer.writing(stream=0, number=0, slot=0, generation=1):
        pass
    with pytest.raises(SlotMismatchError):
        answers(worker, anonymized(0))

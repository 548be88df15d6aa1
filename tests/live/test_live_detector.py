"""A detector of live streams alone: it says which faces a frame shows, or that nothing is known of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from models.faces import Faces
from streamer.config import StreamDetectorSettings
from streamer.live.messages import LiveDetectorSetup, SessionEnded
from streamer.messages import DetectedFrame, RawFrame
from streamer.workers import Worker
from streamer.workers.live_detector import LiveDetectorWorker
from tests.live.frames import SESSION, ready
from tests.live.rings import READY, SLOTS, Postbox, SessionRings, frame
from tests.streamer.faulty_workers import BrightSquareDetector
from tests.workers import answers


class SquareLiveDetectorWorker(LiveDetectorWorker):
    """Takes everything white for a face."""

    opened = 0

    def open(self, settings: StreamDetectorSettings, *, needs_keypoints: bool) -> Any:
        self.opened += 1
        return BrightSquareDetector()


@pytest.fixture
def rings() -> Iterator[SessionRings]:
    memory = SessionRings()
    yield memory
    memory.close()


@pytest.fixture
def detector(rings: SessionRings) -> Iterator[SquareLiveDetectorWorker]:
    postbox = Postbox({"raw": "read"})
    worker = SquareLiveDetectorWorker(postbox.inboxes)
    postbox.hand_over(rings)
    assert answers(worker, LiveDetectorSetup(backend="cpu", needs_keypoints=True), READY) == []
    yield worker
    postbox.close()


def found(worker: Worker, raw: RawFrame) -> list[list[float]] | None:
    """Boxes; None where the frame is to be covered whole."""
    (answer,) = answers(worker, raw)
    assert isinstance(answer, DetectedFrame)
    assert answer.frame == raw
    return None if answer.faces is None else answer.faces.unpack().boxes.tolist()


def test_a_detector_finds_the_faces_of_that_very_frame(detector: SquareLiveDetectorWorker, rings: SessionRings) -> None:
    boxes = {number: list(rings.film(frame(number))) for number in range(3)}
    for number in (1, 0, 2):
        assert found(detector, frame(number)) == [boxes[number]]


def test_a_damaged_picture_is_not_looked_at(detector: SquareLiveDetectorWorker, rings: SessionRings) -> None:
    rings.film(frame(0))
    assert found(detector, frame(0, is_corrupt=True)) is None


@pytest.mark.parametrize("wrong", [{"number": 1}, {"generation": 2}, {"slot": 1}, {"slot": SLOTS}, {"stream": SESSION + 1}])
def test_nothing_is_known_of_a_frame_whose_slot_holds_another(
    detector: SquareLiveDetectorWorker, rings: SessionRings, wrong: dict[str, int]
) -> None:
    rings.film(frame(0))
    assert found(detector, msgspec.structs.replace(frame(0), **wrong)) is None
    assert found(detector, frame(0)) is not None, "it goes on"


def test_nothing_is_known_of_a_frame_that_was_overwritten_while_it_was_looked_at(
    detector: SquareLiveDetectorWorker, rings: SessionRings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rings.film(frame(0))
    detect = BrightSquareDetector.detect

    def overwritten(self: BrightSquareDetector, *arguments: Any, **named: Any) -> Faces:
        faces = detect(self, *arguments, **named)
        rings.film(frame(1, slot=0, generation=2))
        return faces

    monkeypatch.setattr(BrightSquareDetector, "detect", overwritten)
    assert found(detector, frame(0)) is None


def test_nothing_is_known_of_a_session_that_is_over_or_has_not_begun(
    detector: SquareLiveDetectorWorker, rings: SessionRings
) -> None:
    rings.film(frame(0))
    assert answers(detector, SessionEnded(session=SESSION)) == []
    assert found(detector, frame(0)) is None
    assert found(detector, frame(0, stream=99)) is None


def test_streams_with_the_same_settings_share_a_detector() -> None:
    postbox = Postbox({"raw": "read"})
    worker = SquareLiveDetectorWorker(postbox.inboxes)
    answers(worker, LiveDetectorSetup(backend="cpu", needs_keypoints=True))
    before = worker.opened
    memories = []
    for session, threshold in ((1, 0.5), (2, 0.5), (3, 0.6)):
        memories.append(SessionRings())
        postbox.hand_over(memories[-1])
        answers(worker, ready(session=session, raw_slots=SLOTS, detector=StreamDetectorSettings(threshold=threshold)))
        memories[-1].film(frame(0, stream=session))
    assert worker.opened - before == 2
    assert all(found(worker, frame(0, stream=session)) for session in (1, 2, 3)), "each in its own ring"
    for memory in memories:
        memory.close()
    postbox.close()


def test_what_no_session_uses_any_more_is_forgotten() -> None:
    postbox = Postbox({"raw": "read"})
    worker = SquareLiveDetectorWorker(postbox.inboxes)
    answers(worker, LiveDetectorSetup(backend="cpu", needs_keypoints=True))
    for session in range(20):
        memory = SessionRings()
        postbox.hand_over(memory)
        threshold = 0.1 + session / 100
        answers(worker, ready(session=session, raw_slots=SLOTS, detector=StreamDetectorSettings(threshold=threshold)))
        answers(worker, SessionEnded(session=session))
        memory.close()
    assert len(worker._detectors) <= 2
    assert worker._sessions == {}
    postbox.close()

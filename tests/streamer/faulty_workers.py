"""Workers that the tests put into the table of processes: a detector for synthetic clips, and faults of every kind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.backends.fallback import FallbackBackend
from models.detectors import Effort, Render, Size
from models.faces import Faces, no_faces
from streamer.config import DetectorSettings
from streamer.errors import UsageError
from streamer.messages import AnonymizedFrame, BackendReplaced, DetectedFrame, DetectorSetup, ImageTask, Message, RawFrame, Stop
from streamer.workers import RingHandles
from streamer.workers.anonymizer import AnonymizerWorker
from streamer.workers.detector import DetectorWorker
from streamer.workers.image import ImageWorker

FAULTY_FRAME = 20
MARKER = "VEIL_TEST_MARKER"
"""Environment variable with the path of a file that exists once a fault has happened."""


class BrightSquareDetector:
    """Takes everything nearly white for one face."""

    def detect(self, render: Render, frame_size: Size, *, effort: Effort = "thorough") -> Faces:
        picture = render((0, 0, *frame_size), frame_size)
        rows, columns = np.nonzero(picture.min(axis=2) > 200)
        if not len(rows):
            return no_faces()
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        return Faces(boxes=np.array([box], np.float32), scores=np.ones(1, np.float32))


class SquareDetectorWorker(DetectorWorker):
    def open(self, settings: DetectorSettings, backend: str) -> BrightSquareDetector:
        return BrightSquareDetector()


class _Broken:
    """A backend that opens and then fails at its first call."""

    name, providers, metadata = "openvino", ("none",), MappingProxyType({"format": "none"})

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        raise RuntimeError("rtsp://user:secret@camera is no device")


class _Works(_Broken):
    name = "cpu"

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return list(inputs)


class BrokenBackendDetectorWorker(SquareDetectorWorker):
    """Runs a network beside the detector whose backend fails with the first frame."""

    def process(self, message: Message) -> Iterable[Message]:
        if isinstance(message, DetectorSetup):
            self._backend = FallbackBackend(_Broken, _Works, network="squares.onnx", backend="openvino")
        if isinstance(message, RawFrame):
            self._backend.run([np.zeros(1)])
        return super().process(message)


def _first_time() -> bool:
    try:
        Path(os.environ[MARKER]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class DiesOnceDetectorWorker(SquareDetectorWorker):
    """Killed with a frame in hand, as by the kernel when memory runs out."""

    def process(self, message: Message) -> Iterable[Message]:
        if isinstance(message, RawFrame) and message.number == FAULTY_FRAME and _first_time():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().process(message)


class HangsOnceDetectorWorker(SquareDetectorWorker):
    def process(self, message: Message) -> Iterable[Message]:
        if isinstance(message, RawFrame) and message.number == FAULTY_FRAME and _first_time():
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().process(message)


class PoisonedDetectorWorker(SquareDetectorWorker):
    """One frame ends it each time, without a word."""

    def process(self, message: Message) -> Iterable[Message]:
        if isinstance(message, RawFrame) and message.number == FAULTY_FRAME:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().process(message)


class RaisingDetectorWorker(SquareDetectorWorker):
    """A defect on every frame."""

    def process(self, message: Message) -> Iterable[Message]:
        if isinstance(message, RawFrame):
            raise RuntimeError("no frame can be worked on")
        return super().process(message)


class WrongGenerationAnonymizerWorker(AnonymizerWorker):
    """Announces a frame as a use of the slot that is not the one in its header."""

    def process(self, message: Message) -> Iterable[Message]:
        for answer in super().process(message):
            if isinstance(answer, AnonymizedFrame) and answer.number == FAULTY_FRAME:
                header = self._stream.safe._slots.headers[answer.slot]
                header[2] -= 1
            yield answer


class WrongNumberAnonymizerWorker(AnonymizerWorker):
    """Leaves another frame in the slot than it says."""

    def process(self, message: Message) -> Iterable[Message]:
        for answer in super().process(message):
            if isinstance(answer, AnonymizedFrame) and answer.number == FAULTY_FRAME:
                self._stream.safe._slots.headers[answer.slot][1] += 1
            yield answer


class UnfinishedAnonymizerWorker(AnonymizerWorker):
    """Says that a picture is safe before it is."""

    def process(self, message: Message) -> Iterable[Message]:
        for answer in super().process(message):
            if isinstance(answer, AnonymizedFrame) and answer.number == FAULTY_FRAME:
                self._stream.safe._slots.headers[answer.slot][3] = 1
            yield answer


class ForgetfulDetectorWorker(SquareDetectorWorker):
    """Answers with the number of another frame."""

    def process(self, message: Message) -> Iterable[Message]:
        for answer in super().process(message):
            if isinstance(answer, DetectedFrame) and answer.frame.number == FAULTY_FRAME:
                yield msgspec.structs.replace(answer, frame=msgspec.structs.replace(answer.frame, number=FAULTY_FRAME + 1))
            else:
                yield answer


class IdleWorker:
    """Takes everything and answers nothing."""

    def __init__(self, rings: RingHandles) -> None:
        pass

    def process(self, message: Message) -> Iterable[Message]:
        return ()

    def close(self) -> None:
        pass


class StubbornWorker(IdleWorker):
    """Does not leave when it is told to."""

    def close(self) -> None:
        while True:
            signal.pause()


class MisconfiguredWorker(IdleWorker):
    """Cannot be set up, for a reason that the user can mend."""

    def process(self, message: Message) -> Iterable[Message]:
        raise UsageError("detector.name: nobody\nknows it")


class TalkativeWorker(IdleWorker):
    """Says what its row does not allow."""

    def process(self, message: Message) -> Iterable[Message]:
        yield Stop()


class FloodingWorker(IdleWorker):
    """Says what its row allows, without end."""

    def process(self, message: Message) -> Iterable[Message]:
        while True:
            yield BackendReplaced(network="", backend="", replaced_by="", reason="")


CHATTER = 800


class ChattyWorker(IdleWorker):
    """Says so many things and leaves."""

    def process(self, message: Message) -> Iterable[Message]:
        for _ in range(CHATTER):
            yield BackendReplaced(network="", backend="", replaced_by="", reason="")
        raise SystemExit


class FaultyImageWorker(ImageWorker):
    """Is killed by every image whose name says so."""

    def process(self, message: Message) -> Iterable[Message]:
        if isinstance(message, ImageTask) and "poison" in message.source:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().process(message)

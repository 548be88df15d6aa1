"""Encodes safe pictures and copied audio to the temporary output, and checks it at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from streamer.budget import encoder_threads
from streamer.encoders import OutputPlan
from streamer.messages import (
    AnonymizedFrame,
    AudioPacket,
    FrameWritten,
    Message,
    SinkFinished,
    SinkSetup,
    SourceEnded,
    StreamOpened,
    StreamReady,
)
from streamer.rings import RingReader, SlotState
from streamer.verification import verify_output
from streamer.workers import RingHandles
from streamer.writing import VideoWriter


class SinkWorker:
    """Writes one file. It has no way to any other picture than those of the safe ring."""

    _temporary: Path
    _plan: OutputPlan
    _opened: StreamOpened
    _ring: RingReader
    _writer: VideoWriter

    def __init__(self, rings: RingHandles) -> None:
        self._handle = rings["safe"]
        self._next = 0
        self._end: SourceEnded | None = None

    def process(self, message: Message) -> Iterable[Message]:
        match message:
            case SinkSetup():
                self._temporary = Path(message.temporary)
                self._plan = msgspec.msgpack.decode(message.plan, type=OutputPlan)
            case StreamReady():
                self._opened = message.opened
                self._ring = self._handle.reader(message.opened.layout, message.safe_slots, SlotState.SAFE)
                self._writer = VideoWriter(self._temporary, message.opened, self._plan, threads=encoder_threads())
            case AnonymizedFrame():
                yield self._write(message)
            case AudioPacket():
                self._writer.write_audio(message)
            case SourceEnded():
                self._end = message
            case _:
                pass
        if self._end is not None and self._next == self._end.frames:
            yield from self._finish(self._end)

    def close(self) -> None:
        """Leave an unfinished file as it is; the supervisor removes it."""

    def _write(self, frame: AnonymizedFrame) -> FrameWritten:
        if frame.number != self._next:
            raise ValueError(f"frame {frame.number} came instead of frame {self._next}")
        self._writer.write(self._ring.planes(frame), frame.pts, frame.duration)
        self._next += 1
        return FrameWritten(stream=frame.stream, number=frame.number, slot=frame.slot)

    def _finish(self, end: SourceEnded) -> Iterator[Message]:
        written = self._writer.close()
        notes = verify_output(self._temporary, frames=end.frames, opened=self._opened, plan=self._plan, written=written)
        yield SinkFinished(stream=end.stream, frames=written.frames, notes=notes)
        self._end = None

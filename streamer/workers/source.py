"""Decodes a file into the raw ring, one picture for each slot that it is given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from streamer.budget import decoder_threads
from streamer.cuts import CutDetector
from streamer.effort import ThoroughPace
from streamer.encoders import OutputPlan
from streamer.messages import AudioPacket, Message, RawFrame, SlotFree, SourceEnded, SourceSetup, StreamReady
from streamer.reading import DecodedFrame, VideoReader
from streamer.rings import RingWriter, SlotState
from streamer.workers import RingHandles


class SourceWorker:
    """Reads one file. Free slots pull pictures out of it, so that it never decodes ahead of the memory it was given."""

    _stream: int
    _ring: RingWriter
    _pace: ThoroughPace

    def __init__(self, rings: RingHandles) -> None:
        self._handle = rings["raw"]
        self._reader: VideoReader | None = None
        self._media: Iterator[DecodedFrame | AudioPacket] = iter(())
        self._cuts = CutDetector()
        self._frames = 0

    def process(self, message: Message) -> Iterable[Message]:
        match message:
            case SourceSetup():
                self._stream = message.stream
                plan = msgspec.msgpack.decode(message.plan, type=OutputPlan)
                self._reader = VideoReader(Path(message.path), plan, threads=decoder_threads())
                self._media = iter(self._reader)
                yield self._reader.opened(message.stream)
            case StreamReady():
                self._pace = ThoroughPace(message.interval_frames)
                self._ring = self._handle.writer(message.opened.layout, message.raw_slots, SlotState.RAW)
            case SlotFree() if self._reader is not None:
                yield from self._fill(message)
            case _:
                pass

    def close(self) -> None:
        self._reader, self._media = None, iter(())

    def _fill(self, free: SlotFree) -> Iterator[Message]:
        """Everything up to and including the next picture, or the end."""
        for item in self._media:
            if isinstance(item, DecodedFrame):
                yield self._write(item, free)
                return
            yield item
        reader = self._reader
        assert reader is not None
        yield SourceEnded(stream=self._stream, frames=self._frames, notes=list(reader.notes), is_damaged=reader.is_damaged)
        self.close()

    def _write(self, decoded: DecodedFrame, free: SlotFree) -> RawFrame:
        number = self._frames
        self._frames += 1
        with self._ring.writing(stream=self._stream, number=number, slot=free.slot, generation=free.generation) as planes:
            decoded.write_into(planes)
            is_cut = self._cuts.is_cut(planes[0]) or number == 0
        is_thorough = self._pace.is_due(number, decoded.time_s, is_cut=is_cut)
        return RawFrame(
            stream=self._stream,
            number=number,
            slot=free.slot,
            generation=free.generation,
            pts=decoded.pts,
            duration=decoded.duration,
            time_s=decoded.time_s,
            is_corrupt=decoded.is_corrupt,
            is_cut=is_cut,
            effort="thorough" if is_thorough else "quick",
        )

"""Reads a camera for as long as it sends: every picture that there is a free slot for goes into the raw ring."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator

from streamer.cuts import CutDetector
from streamer.effort import ThoroughPace
from streamer.live.messages import CameraLost, CameraSetup, FramesSkipped, SessionReady
from streamer.live.reading import CameraLostError, FileEndError, LiveFrame, LiveReader
from streamer.messages import AudioPacket, Message, RawFrame, SlotFree
from streamer.redaction import register_url
from streamer.rings import RingWriter, SlotState
from streamer.workers import RingHandles

_EARLY = 0.9
"""Part of the interval of `max_fps` after which a picture is taken, so that a camera of that very rate loses none."""

_WAIT_S = 0.05


class CameraWorker:
    """One session with one camera. It never waits for anybody: what finds no free slot is dropped."""

    _setup: CameraSetup
    _reader: LiveReader

    def __init__(self, rings: RingHandles) -> None:
        self._handle = rings["raw"]
        self._ring: RingWriter | None = None
        self._media: Iterator[LiveFrame | AudioPacket | None] = iter(())
        self._free: deque[SlotFree] = deque()
        self._cuts = CutDetector()
        self._number = 0
        self._is_lost = False
        self._last_used_s: float | None = None

    def process(self, message: Message) -> Iterable[Message]:
        match message:
            case CameraSetup():
                self._setup = message
                register_url(message.url)
                self._pace = ThoroughPace(None, message.thorough_every_s)
                yield from self._connect()
            case SessionReady():
                self._ring = self._handle.writer(message.layout, message.raw_slots, SlotState.RAW)
            case SlotFree():
                self._free.append(message)
            case _:
                pass

    def step(self) -> Iterable[Message]:
        if self._is_lost:
            time.sleep(_WAIT_S)  # for the supervisor to notice
            return
        try:
            item = next(self._media, None)
            if isinstance(item, AudioPacket):
                yield item
            elif item is not None:
                yield from self._take(item)
        except CameraLostError as error:
            yield self._lose(error)

    def close(self) -> None:
        if not self._is_lost:
            self._reader.close()

    def _connect(self) -> Iterator[Message]:
        try:
            self._reader = LiveReader(self._setup)
            yield self._reader.opened()
            self._media = self._reader.media()
        except CameraLostError as error:
            yield self._lose(error)

    def _lose(self, error: CameraLostError) -> Message:
        self._is_lost = True
        return CameraLost(session=self._setup.session, reason=str(error), is_end=isinstance(error, FileEndError))

    def _take(self, frame: LiveFrame) -> Iterator[Message]:
        if self._ring is None:
            return
        if self._is_too_early(frame):
            yield FramesSkipped(session=self._setup.session, reason="rate", frames=1)
            return
        if not self._free:
            yield FramesSkipped(session=self._setup.session, reason="no_slot", frames=1)
            return
        yield self._write(frame, self._ring, self._free.popleft())

    def _is_too_early(self, frame: LiveFrame) -> bool:
        most = self._setup.max_fps
        last_s = self._last_used_s
        if most is not None and last_s is not None and frame.time_s - last_s < _EARLY / most:
            return True
        # Counted from when it was due, so that the average is the rate that was asked for.
        due_s = frame.time_s if most is None or last_s is None else max(last_s + 1 / most, frame.time_s - 1 / most)
        self._last_used_s = due_s
        return False

    def _write(self, frame: LiveFrame, ring: RingWriter, free: SlotFree) -> RawFrame:
        number, session = self._number, self._setup.session
        self._number += 1
        with ring.writing(stream=session, number=number, slot=free.slot, generation=free.generation) as planes:
            self._reader.write_into(frame, planes)
            is_cut = self._cuts.is_cut(planes[0]) or number == 0
        is_thorough = self._pace.is_due(number, frame.time_s, is_cut=is_cut)
        return RawFrame(
            stream=session,
            number=number,
            slot=free.slot,
            generation=free.generation,
            pts=frame.pts,
            duration=frame.duration,
            time_s=frame.time_s,
            is_corrupt=frame.is_corrupt,
            is_cut=is_cut,
            effort="thorough" if is_thorough else "quick",
            captured_s=frame.captured_s,
        )

"""The rings of one session as its processes see them, in one process."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from streamer.messages import AnonymizedFrame, RawFrame
from streamer.pictures import PictureLayout, Plane
from streamer.rings import Access, RingHandle, RingInbox, RingMemory, RingOutbox, RingReader, RingWriter, SlotState
from tests.live.frames import LAYOUT, raw_frame, ready

SLOTS = 8
SQUARE = 12
WHITE = 235
BRIGHT = 150
"""Nothing in a picture is so bright but its face."""
READY = ready(raw_slots=SLOTS, safe_slots=SLOTS, window_frames=3)


class SessionRings:
    """Owner of the memory."""

    def __init__(self, layout: PictureLayout = LAYOUT, slots: int = SLOTS) -> None:
        self.layout, self.slots = layout, slots
        self.memories = {name: RingMemory(name) for name in ("raw", "safe")}
        for memory in self.memories.values():
            memory.resize(layout, slots)

    def close(self) -> None:
        for memory in self.memories.values():
            memory.close()

    def reader(self, name: str, state: SlotState) -> RingReader:
        return RingHandle(self.memories[name].descriptor("read")).reader(self.layout, self.slots, state)

    def writer(self, name: str, state: SlotState) -> RingWriter:
        return RingHandle(self.memories[name].descriptor("write")).writer(self.layout, self.slots, state)

    def film(self, frame: RawFrame) -> tuple[float, float, float, float]:
        """Noise with a white square, the face, at a place of this very frame; returns its box."""
        x, y = face_at(frame.number)
        random = np.random.default_rng(frame.number)
        writer = self.writer("raw", SlotState.RAW)
        with writer.writing(stream=frame.stream, number=frame.number, slot=frame.slot, generation=frame.generation) as planes:
            planes[0][...] = random.integers(40, 90, planes[0].shape)
            for plane in planes[1:]:
                plane.fill(128)
            planes[0][y : y + SQUARE, x : x + SQUARE] = WHITE
        return x, y, x + SQUARE, y + SQUARE

    def safe_picture(self, frame: AnonymizedFrame) -> tuple[Plane, ...]:
        """Raises SlotMismatchError."""
        return tuple(plane.copy() for plane in self.reader("safe", SlotState.SAFE).planes(frame))


def face_at(number: int) -> tuple[int, int]:
    """Left and upper edge; faces of frames near each other do not overlap."""
    return 4 + 16 * (number % 3), 4 + 20 * (number // 3 % 2)


class Postbox:
    """A process's inboxes, and the supervisor's way to them."""

    def __init__(self, rights: Mapping[str, Access]) -> None:
        self._rights = rights
        self._outboxes = {name: RingOutbox() for name in rights}
        self.inboxes = {name: RingInbox(os.dup(outbox.inbox)) for name, outbox in self._outboxes.items()}
        for outbox in self._outboxes.values():
            outbox.started()

    def hand_over(self, rings: SessionRings) -> None:
        for name in self._rights:
            self.hand_over_one(rings.memories[name])

    def hand_over_one(self, ring: RingMemory) -> None:
        self._outboxes[ring.name].hand_over(ring, self._rights[ring.name])

    def close(self) -> None:
        for outbox in self._outboxes.values():
            outbox.close()
        for inbox in self.inboxes.values():
            inbox.close()


def frame(number: int, **changes: Any) -> RawFrame:
    """One that is new, in the slot whose turn it is."""
    now = {"captured_s": time.monotonic(), "slot": number % SLOTS, "is_cut": number == 0, "effort": "thorough"}
    return raw_frame(number, **{**now, **changes})

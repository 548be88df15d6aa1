"""The process of a camera in one process, with the supervisor's part."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import numpy as np

from streamer.live.messages import CameraLost, CameraOpened, CameraSetup, SessionReady
from streamer.messages import Message, RawFrame, SlotFree
from streamer.rings import RingHandle, RingMemory, RingReader, SlotState
from streamer.workers.camera import CameraWorker
from tests.live.frames import SESSION, ready
from tests.live.rings import Postbox

SLOTS = 6
DEADLINE_S = 20.0


class CameraBench:
    """A camera's process and the supervisor's part, which gives every slot back at once, unless it `keeps` them."""

    def __init__(self, url: str, *, keeps: bool = False, **changes: Any) -> None:
        setup = CameraSetup(
            session=SESSION,
            url=url,
            transport="tcp",
            loop=False,
            read_timeout_s=1.5,
            audio="copy",
            max_fps=None,
            origin_s=time.monotonic(),
            thorough_every_s=0.3,
        )
        self.setup = msgspec.structs.replace(setup, **changes)
        self.keeps = keeps
        self.ring = RingMemory("raw")
        self.opened: CameraOpened | None = None
        self.reader: RingReader | None = None
        self.said: list[Message] = []
        self.at_s: list[float] = []
        """When each of them was said."""
        self.luma: dict[int, np.ndarray[Any, Any]] = {}
        self.generations = [1] * SLOTS
        self.postbox = Postbox({"raw": "write"})
        self.worker = CameraWorker(self.postbox.inboxes)
        for message in self.worker.process(self.setup):
            self.hear(message)

    def hear(self, message: Message) -> None:
        self.said.append(message)
        self.at_s.append(time.monotonic())
        if isinstance(message, CameraOpened):
            self.begin(message)
        elif isinstance(message, RawFrame):
            assert self.reader is not None
            self.luma[message.number] = self.reader.planes(message)[0].copy()
            if not self.keeps:
                self.generations[message.slot] += 1
                self.grant(message.slot)

    def begin(self, opened: CameraOpened) -> None:
        self.opened = opened
        self.ring.resize(opened.layout, SLOTS)
        self.postbox.hand_over_one(self.ring)
        told: SessionReady = ready(layout=opened.layout, raw_slots=SLOTS)
        assert list(self.worker.process(told)) == []
        self.reader = RingHandle(self.ring.descriptor("read")).reader(opened.layout, SLOTS, SlotState.RAW)
        for slot in range(SLOTS):
            self.grant(slot)

    def grant(self, slot: int) -> None:
        assert list(self.worker.process(SlotFree(stream=SESSION, slot=slot, generation=self.generations[slot]))) == []

    def run(self, *, frames: int = 10**9, until: type[Message] = CameraLost, deadline_s: float = DEADLINE_S) -> None:
        """Until so many frames have come, or a message of this kind. Raises TimeoutError."""
        end_s = time.monotonic() + deadline_s
        while len(self.frames) < frames and not self.of(until):
            if time.monotonic() > end_s:
                raise TimeoutError(f"{len(self.frames)} frames, {[type(message).__name__ for message in self.said[-5:]]}")
            for message in self.worker.step():
                self.hear(message)

    def of(self, kind: type[Message]) -> list[Any]:
        return [message for message in self.said if isinstance(message, kind)]

    @property
    def frames(self) -> list[RawFrame]:
        return self.of(RawFrame)

    @property
    def reason(self) -> str:
        lost: CameraLost
        (lost,) = self.of(CameraLost)
        assert lost.session == SESSION
        assert self.said[-1] is lost, "it went on"
        return str(lost.reason)

    def close(self) -> None:
        self.worker.close()
        self.postbox.close()
        self.ring.close()

"""The sink of a live stream in one process, with its rings, and how what it sends looks."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import av
from numpy.typing import NDArray

from streamer.config import StreamDetectorSettings
from streamer.live.config import LiveVideoSettings
from streamer.live.messages import (
    EncodedPacket,
    EncodingOpened,
    LiveSinkSetup,
    SessionReady,
)
from streamer.messages import AnonymizedFrame, Message
from streamer.pictures import PIXEL_FORMATS, PictureLayout
from streamer.rings import RingHandle, RingMemory, SlotState
from streamer.workers.live_sink import LiveSinkWorker
from tests.live.encoded import LAYOUT, TICKS, numbered_planes
from tests.workers import answers

SLOTS = 4


class Rings:
    """Hands the sink the next ring with each session, as the supervisor does."""

    def __init__(self) -> None:
        self.memories: list[RingMemory] = []

    def begin(self, layout: PictureLayout) -> None:
        memory = RingMemory("safe")
        memory.resize(layout, SLOTS)
        self.memories.append(memory)

    def reader(self, layout: PictureLayout, slots: int, state: SlotState) -> Any:
        return RingHandle(self.memories[-1].descriptor("read")).reader(layout, slots, state)

    def writer(self, layout: PictureLayout, slots: int, state: SlotState) -> Any:
        return RingHandle(self.memories[-1].descriptor("write")).writer(layout, slots, state)


class Stream:
    """A sink with its ring, and all that it has said."""

    def __init__(self, *, max_fps: float | None = None, **video: Any) -> None:
        self.rings = Rings()
        self.worker = LiveSinkWorker({"safe": self.rings})
        self.layout = LAYOUT
        self.session = 0
        self.said: list[Message] = []
        self.give(LiveSinkSetup(name="front-door", video=LiveVideoSettings(**video), max_fps=max_fps))

    def give(self, *messages: Message) -> list[Message]:
        given = answers(self.worker, *messages)
        self.said += given
        return given

    def begin(self, session: int, layout: PictureLayout = LAYOUT, aspect: tuple[int, int] = (1, 1)) -> None:
        self.rings.begin(layout)
        self.session, self.layout = session, layout
        ready = SessionReady(
            session=session,
            layout=layout,
            sample_aspect_ratio=aspect,
            raw_slots=SLOTS,
            safe_slots=SLOTS,
            window_frames=2,
            first_number=0,
            detector=StreamDetectorSettings(),
            needs_keypoints=False,
        )
        assert self.give(ready) == []

    def put(self, number: int, state: SlotState = SlotState.SAFE, generation: int = 1) -> None:
        writer = self.rings.writer(self.layout, SLOTS, state)
        with writer.writing(stream=self.session, number=number, slot=number % SLOTS, generation=generation) as planes:
            eight_bits = PictureLayout(width=self.layout.width, height=self.layout.height, pixel_format="yuv420p")
            scale = 1 << (PIXEL_FORMATS[self.layout.pixel_format].bits - 8)
            planes[0][...] = numbered_planes(number, eight_bits)[0].astype(planes[0].dtype) * scale
            for plane in planes[1:]:
                plane.fill(128 * scale)

    def promise(self, number: int, pts: int | None = None, generation: int = 1) -> list[Message]:
        pts = number * TICKS if pts is None else pts
        frame = AnonymizedFrame(
            stream=self.session, number=number, slot=number % SLOTS, generation=generation, pts=pts, duration=TICKS
        )
        return self.give(frame)

    def frames(self, *numbers: int) -> list[Message]:
        given: list[Message] = []
        for number in numbers:
            self.put(number)
            given += self.promise(number)
        return given

    @property
    def packets(self) -> list[EncodedPacket]:
        return [message for message in self.said if isinstance(message, EncodedPacket)]

    @property
    def openings(self) -> list[EncodingOpened]:
        return [message for message in self.said if isinstance(message, EncodingOpened)]


def decoded(messages: list[Message]) -> list[av.VideoFrame]:
    """The pictures, decoded with the parameters that came before them alone."""
    frames: list[av.VideoFrame] = []
    for message in messages:
        if isinstance(message, EncodingOpened):
            with av.open(BytesIO(message.video)) as small:
                stream = small.streams.video[0]
                assert (stream.codec_context.width, stream.codec_context.height) == (message.width, message.height)
                decoder = av.CodecContext.create("h264", "r")
                decoder.extradata = stream.codec_context.extradata
                decoder.flags |= av.codec.context.Flags.low_delay
                assert isinstance(decoder, av.VideoCodecContext)
        elif isinstance(message, EncodedPacket):
            packet = av.Packet(message.data)
            packet.pts, packet.dts = message.pts, message.dts
            frames += decoder.decode(packet)
    return frames


def luma(frame: av.VideoFrame) -> NDArray[Any]:
    return frame.to_ndarray(format="gray")

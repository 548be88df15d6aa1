"""A live stream as a publisher gets it, made to order: numbered pictures, and sound beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from streamer.live.config import LiveVideoSettings
from streamer.live.encoding import LiveEncoder, frame_to_encode, shape_of
from streamer.live.messages import CLOCK, EncodedPacket, EncodingOpened, OutputNote, Published, SoundOpened
from streamer.messages import AudioPacket, Message
from streamer.pictures import PictureLayout

RATE = 25
TICKS = CLOCK // RATE
LAYOUT = PictureLayout(width=160, height=96, pixel_format="yuv420p")
_BITS = 16


def numbered_planes(number: int, layout: PictureLayout = LAYOUT) -> tuple[NDArray[np.uint8], ...]:
    """A grey picture, with the bits of its number as black and white columns."""
    bits = [number >> bit & 1 for bit in range(_BITS)]
    columns = np.array(bits)[np.arange(layout.width) * _BITS // layout.width]
    luma = np.broadcast_to(np.where(columns, 220, 30).astype(np.uint8), (layout.height, layout.width)).copy()
    return (luma, *(np.full(shape, 128, np.uint8) for shape in layout.plane_shapes[1:]))


def number_of(luma: NDArray[Any]) -> int:
    """The number that a decoded picture shows."""
    width = luma.shape[1]
    middles = [(2 * bit + 1) * width // (2 * _BITS) for bit in range(_BITS)]
    return sum((int(luma[luma.shape[0] // 2, x]) > 125) << bit for bit, x in enumerate(middles))


def encoded(
    numbers: Sequence[int], *, layout: PictureLayout = LAYOUT, keyframe_s: float = 0.4, first_pts: int = 0
) -> tuple[EncodingOpened, list[EncodedPacket]]:
    """Pictures of these numbers, 25 a second; the time of each is its number's."""
    settings = LiveVideoSettings(keyframe_s=keyframe_s, quality=18)
    shape = shape_of(layout, (1, 1))
    encoder = LiveEncoder(settings, shape, before_pts=first_pts + numbers[0] * TICKS)
    packets: list[EncodedPacket] = []
    for number in numbers:
        frame = frame_to_encode(numbered_planes(number, layout), layout)
        packets += encoder.encode(frame, first_pts + number * TICKS, TICKS, wants_keyframe=False)
    return EncodingOpened(video=encoder.parameters, width=shape.width, height=shape.height), packets


@lru_cache
def sounding(codec: str, rate: int, seconds: float, *, first_s: float = 0.0) -> tuple[SoundOpened, tuple[AudioPacket, ...]]:
    """A tone that begins at `first_s`; the parameters are carried as a camera's are."""
    memory = BytesIO()
    packets = []
    with av.open(memory, "w", format="nut") as small:
        stream = small.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.layout = "mono"
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout="mono", rate=rate)
        for start in range(0, round(seconds * rate), 160):
            tone = (np.sin(np.arange(start, start + 160) / rate * 2 * np.pi * 440) * 9000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None, :], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            for resampled in resampler.resample(frame):
                packets += stream.encode(resampled)
        packets += stream.encode(None)
        name = stream.codec_context.codec.canonical_name
        made = tuple(_sound(packet, round(first_s * rate), rate) for packet in packets)
        packets[0].pts = packets[0].dts = 0
        small.mux(packets[0])
    return SoundOpened(audio=memory.getvalue(), codec=name), made


def _sound(packet: av.Packet[av.AudioStream], shift: int, rate: int) -> AudioPacket:
    assert packet.pts is not None
    pts = round(packet.pts * packet.time_base * rate) + shift
    duration = packet.duration or 0
    return AudioPacket(
        stream=0, track=0, pts=pts, dts=pts, duration=duration, time_base=(1, rate), is_keyframe=True, data=bytes(packet)
    )


def mixed(pictures: Iterable[EncodedPacket], sound: Iterable[AudioPacket], *, delay_s: float) -> list[EncodedPacket | AudioPacket]:
    """In the order of arrival, the pictures later than the sound by what anonymizing takes."""
    timed: list[tuple[float, EncodedPacket | AudioPacket]] = [(packet.pts / CLOCK + delay_s, packet) for packet in pictures]
    timed += [((packet.pts or 0) * packet.time_base[0] / packet.time_base[1], packet) for packet in sound]
    return [packet for _, packet in sorted(timed, key=lambda pair: pair[0])]


def acknowledged(given: Iterable[Message]) -> tuple[int, int]:
    """Packets, and those of them that were dropped."""
    published = [message for message in given if isinstance(message, Published)]
    return sum(message.packets for message in published), sum(message.dropped for message in published)


def notes(given: Iterable[Message]) -> list[str]:
    return [message.text for message in given if isinstance(message, OutputNote)]


def read_numbers(source: str, *, format: str | None = None) -> list[tuple[int, float]]:
    """Number and time in seconds of each picture of a file or playlist."""
    return list(_numbers(source, format))


def _numbers(source: str, form: str | None) -> Iterator[tuple[int, float]]:
    with av.open(source, format=form) as container:
        for frame in container.decode(video=0):
            assert frame.time is not None
            yield number_of(frame.to_ndarray(format="gray")), frame.time


def read_sound(source: str) -> list[tuple[float, bytes]]:
    """Time in seconds and contents of each packet of sound."""
    with av.open(source) as container:
        packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.size and packet.pts is not None]
        return [(float((packet.pts or 0) * packet.time_base), bytes(packet)) for packet in packets]

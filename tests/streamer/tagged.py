"""Sound with tags in and beside it, as tools leave them."""

from __future__ import annotations

import struct
from collections.abc import Collection
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tests.media import Clip, Sound, write_clip

PICTURE = b"\x89PNG\r\n" + np.random.default_rng(5).bytes(20000)
"""Stands for one of a face: bytes like these look like the beginnings of frames now and then."""

EXPERIMENTAL = {"strict": "-2"}
"""FFmpeg's own encoder of Vorbis wants to be asked like this."""


def id3(content: bytes = PICTURE) -> bytes:
    frame = b"APIC" + struct.pack(">I", len(content)) + b"\0\0" + content
    size = len(frame)
    return b"ID3\3\0\0" + bytes((size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127)) + frame


def id3v1() -> bytes:
    return b"TAG" + b"Some title".ljust(30, b"\0") + b"Some place".ljust(94, b" ") + b"\0"


def ape(content: bytes = PICTURE, *, has_header: bool = True) -> bytes:
    item = struct.pack("<II", len(content), 2) + b"Cover Art (Front)\0" + content

    def mark(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 32, 1, flags) + bytes(8)

    return (mark(0xA0000000) if has_header else b"") + item + mark(0x80000000 if has_header else 0)


def adts(packet: bytes) -> bytes:
    """A packet of AAC-LC, 48 kHz, stereo, with its header."""
    size = len(packet) + 7
    return bytes((0xFF, 0xF1, 0x4C, 0x80 | size >> 11, size >> 3 & 255, (size & 7) << 5 | 0x1F, 0xFC)) + packet


def xiph(identification: bytes, comments: bytes, setup: bytes) -> bytes:
    """Three headers as FFmpeg packs them."""

    def lace(data: bytes) -> bytes:
        return b"\xff" * (len(data) // 255) + bytes((len(data) % 255,))

    return b"\x02" + lace(identification) + lace(comments) + identification + comments + setup


def vorbis_comments(*comments: bytes) -> bytes:
    listed = b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    return b"\x03vorbis" + struct.pack("<I", 4) + b"test" + struct.pack("<I", len(comments)) + listed + b"\x01"


def encoded(codec: str, *, rate: int = 48000, layout: str = "stereo", bit_rate: int = 0, frames: int = 12) -> list[bytes]:
    """The packets of a tone with noise."""
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout = rate, layout
    encoder.format = (av.Codec(codec, "w").audio_formats or [av.AudioFormat("s16")])[0]
    if bit_rate:
        encoder.bit_rate = bit_rate
    encoder.options = EXPERIMENTAL
    encoder.open()
    size = encoder.frame_size or 1024
    resampler = av.AudioResampler(format=encoder.format, layout=layout, rate=rate)
    noise = np.random.default_rng(1)
    packets = []
    for number in range(frames):
        times = np.arange(number * size, (number + 1) * size) / rate
        wave = np.sin(times * 2000) * 0.3 + noise.normal(0, 0.05, size)
        frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="flt", layout="mono")
        frame.sample_rate, frame.pts = rate, number * size
        packets += [bytes(packet) for resampled in resampler.resample(frame) for packet in encoder.encode(resampled)]
    return packets + [bytes(packet) for packet in encoder.encode(None) if packet.size]


def tagged_clip(
    path: Path,
    codec: str,
    *,
    before: bytes = b"",
    after: bytes = b"",
    at: Collection[int] = (0, 5),
    parameters: bytes | None = None,
) -> Path:
    """A short video in the container of the suffix, with bytes around some packets of its sound, or other parameters of it.

    MPEG streams put their own ADTS header around what they are given.
    """
    clip = Clip(codec="mpeg2video", pts=range(20), time_base=Fraction(1, 25), sounds=(Sound(codec=codec, options=EXPERIMENTAL),))
    plain = write_clip(path.with_name("plain.mp4" if codec == "aac" else "plain.mkv"), clip)
    with av.open(str(plain)) as source, av.open(str(path), "w") as output:
        copies: dict[int, Any] = {stream.index: output.add_stream_from_template(stream, opaque=True) for stream in source.streams}
        sound = source.streams.audio[0].index
        if parameters is not None:
            copies[sound].codec_context.extradata = parameters
        number = 0
        for packet in source.demux():
            if not packet.size:
                continue
            copy: Any = packet
            if packet.stream_index == sound:
                if number in at:
                    copy = av.Packet(before + bytes(packet) + after)
                    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                    copy.duration, copy.is_keyframe = packet.duration, True
                number += 1
            copy.stream = copies[packet.stream_index]
            output.mux(copy)
    return path


def parameters_of(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return bytes(container.streams.audio[0].codec_context.extradata or b"")


def samples(path: Path) -> NDArray[Any]:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


def pieces_in(content: bytes, picture: bytes = PICTURE) -> int:
    """How many of the picture's pieces a file or packet holds; a few bytes are enough for one."""
    return sum(picture[at : at + 12] in content for at in range(0, len(picture) - 12, 24))

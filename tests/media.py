"""Small media files, made to order for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.audio
import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.config import MetadataKind, VideoSettings
from streamer.encoders import OutputPlan, plan_output
from streamer.probe import probe
from streamer.reading import DecodedFrame, VideoReader
from streamer.verification import verify_output
from streamer.writing import VideoWriter, Written

CORNERS = {"top left": (220, 40, 40), "top right": (40, 200, 40), "bottom left": (50, 60, 220), "bottom right": (235, 235, 235)}
"""The colours of the four quarters of each test picture."""

SOUND_RATE = 48000


def picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """RGB: four coloured quarters, and a dark bar at the middle that moves to the right with the number."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2] = CORNERS["top left"]
    rgb[: height // 2, width // 2 :] = CORNERS["top right"]
    rgb[height // 2 :, : width // 2] = CORNERS["bottom left"]
    rgb[height // 2 :, width // 2 :] = CORNERS["bottom right"]
    left = number * 4 % max(width - 4, 1)
    rgb[height // 2 - 2 : height // 2 + 2, left : left + 4] = 20
    return rgb


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A sound track of a test file: a tone in the given codec."""

    codec: str = "aac"
    language: str | None = None
    rate: int = SOUND_RATE
    layout: str = "stereo"
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What a test video is made of; every field has a plain default."""

    width: int = 64
    height: int = 48
    pts: Sequence[int] = tuple(range(0, 10 * 512, 512))
    """In units of `time_base`."""
    time_base: Fraction = Fraction(1, 12800)
    rate: int = 25
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    format: str | None = None
    """FFmpeg's muxer; by the suffix where it is None."""
    container_options: dict[str, str] = field(default_factory=dict)
    sounds: Sequence[Sound] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    chapters: Sequence[dict[str, Any]] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    """Set on the video's codec context: color_range, sample_aspect_ratio, field_order and the like."""
    turn: tuple[float, bool, bool] | None = None
    """Degrees counter-clockwise, mirrored left to right, mirrored top to bottom: written as display matrix."""
    pictures: Sequence[NDArray[Any]] | None = None
    """RGB (or RGBA) pictures instead of the usual ones."""
    frame_filter: tuple[str, str] | None = None
    """A filter of FFmpeg for each frame, e.g. ("setfield", "tff")."""
    last_duration: int | None = None


def write_clip(path: Path, clip: Clip | None = None) -> Path:
    """Write the file and return its path."""
    clip = clip or Clip()
    with av.open(str(path), "w", format=clip.format, container_options=clip.container_options) as output:
        output.metadata.update(clip.metadata)
        stream = output.add_stream(clip.codec, rate=clip.rate, options=clip.options)
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = clip.width, clip.height, clip.pixel_format
        context.time_base = clip.time_base
        context.thread_count = 1
        for name, value in clip.attributes.items():
            setattr(context, name, value)
        if clip.turn is not None:
            stream.set_display_rotation(clip.turn[0], hflip=clip.turn[1], vflip=clip.turn[2])
        sounds = [_add_sound(output, sound) for sound in clip.sounds]
        if clip.chapters:
            output.set_chapters(cast(Any, list(clip.chapters)))
        _write_sounds(output, sounds, _seconds(clip))
        _write_pictures(output, stream, clip)
    return path


def _seconds(clip: Clip) -> float:
    return float((clip.pts[-1] - clip.pts[0]) * clip.time_base) + 1 / clip.rate


def _write_pictures(output: av.container.OutputContainer, stream: av.VideoStream, clip: Clip) -> None:
    graph = None
    for number, pts in enumerate(clip.pts):
        array = clip.pictures[number] if clip.pictures is not None else picture(number, clip.width, clip.height)
        frame = av.VideoFrame.from_ndarray(array, format="rgba" if array.shape[2] == 4 else "rgb24")
        if not clip.pixel_format.startswith(("rgb", "gbr", "bgr")):
            full = clip.attributes.get("color_range") == 2 or clip.pixel_format.startswith("yuvj")
            matrix = clip.attributes.get("colorspace", 1)
            frame = frame.reformat(format=clip.pixel_format, dst_colorspace=matrix, dst_color_range=2 if full else 1)
        frame.pts, frame.time_base = pts, clip.time_base
        if clip.frame_filter is not None:
            graph = graph or _graph(frame, clip)
            graph.push(frame)
            filtered = graph.pull()
            assert isinstance(filtered, av.VideoFrame)
            frame = filtered
        _mux_pictures(output, stream.encode(frame), clip)
    _mux_pictures(output, stream.encode(None), clip)


def _mux_pictures(output: av.container.OutputContainer, packets: list[Any], clip: Clip) -> None:
    for packet in packets:
        if clip.last_duration is not None and packet.pts == clip.pts[-1]:
            packet.duration = clip.last_duration
        output.mux(packet)


def _graph(frame: av.VideoFrame, clip: Clip) -> av.filter.Graph:
    assert clip.frame_filter is not None
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=clip.time_base)
    marker = graph.add(*clip.frame_filter)
    sink = graph.add("buffersink")
    source.link_to(marker)
    marker.link_to(sink)
    graph.configure()
    return graph


def _add_sound(output: av.container.OutputContainer, sound: Sound) -> av.AudioStream:
    stream = output.add_stream(sound.codec, rate=sound.rate, options=sound.options)
    assert isinstance(stream, av.AudioStream)
    stream.codec_context.layout = sound.layout
    if sound.language is not None:
        stream.metadata["language"] = sound.language
    return stream


def _write_sounds(output: av.container.OutputContainer, streams: Sequence[av.AudioStream], seconds: float) -> None:
    for number, stream in enumerate(streams):
        context = stream.codec_context
        resampler = av.AudioResampler(format=context.format.name, layout=context.layout.name, rate=context.sample_rate)
        total = int(seconds * context.sample_rate)
        for start in range(0, total, 1024):
            times = np.arange(start, min(start + 1024, total)) / context.sample_rate
            tone = (np.sin(times * 2 * np.pi * (330 + 110 * number)) * 9000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None, :], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = context.sample_rate, start, Fraction(1, context.sample_rate)
            for resampled in resampler.resample(frame):
                output.mux(stream.encode(resampled))
        output.mux(stream.encode(None))


def picture_times(path: Path) -> list[Fraction]:
    """When each decoded picture is shown, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        return [frame.pts * stream.time_base for frame in container.decode(stream) if frame.pts is not None]


def sound_packets(path: Path, track: int = 0) -> list[bytes]:
    """The packets of a sound track as they are."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[track]) if packet.size]


def decoded_pictures(path: Path) -> list[NDArray[np.uint8]]:
    """All pictures as RGB, turned as players turn them."""
    with av.open(str(path)) as container:
        return [np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in container.decode(video=0)]


def corner_colors(rgb: NDArray[np.uint8]) -> dict[str, tuple[int, ...]]:
    """The mean colours in the middle of the four quarters."""
    height, width = rgb.shape[:2]
    centres = {
        "top left": (height // 4, width // 4),
        "top right": (height // 4, width * 3 // 4),
        "bottom left": (height * 3 // 4, width // 4),
        "bottom right": (height * 3 // 4, width * 3 // 4),
    }
    return {name: tuple(int(v) for v in rgb[y - 2 : y + 3, x - 2 : x + 3].mean(axis=(0, 1))) for name, (y, x) in centres.items()}


def most_like(color: tuple[int, ...]) -> str:
    """Which quarter of a test picture has a colour like this."""
    return min(CORNERS, key=lambda name: sum(abs(a - b) for a, b in zip(CORNERS[name], color, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Copy:
    """What came of reading a file and writing its pictures again, uncovered."""

    path: Path
    plan: OutputPlan
    reader: VideoReader
    frames: list[DecodedFrame]
    written: Written


def copy_clip(source: Path, target: Path, settings: VideoSettings | None = None, keep: tuple[MetadataKind, ...] = ()) -> Copy:
    """Send a file through plan, reader, writer and verification as the processes do, and give it its final name."""
    plan = plan_output(probe(source), settings or VideoSettings(), keep, target)
    reader = VideoReader(source, msgspec.msgpack.decode(msgspec.msgpack.encode(plan), type=OutputPlan), threads=1)
    opened = reader.opened(1)
    temporary = target.parent / f".{target.name}.part"
    writer = VideoWriter(temporary, opened, plan, threads=1)
    planes = opened.layout.planes(np.zeros(opened.layout.nbytes, np.uint8))
    frames = []
    for item in reader:
        if isinstance(item, DecodedFrame):
            item.write_into(planes)
            writer.write(planes, item.pts, item.duration)
            frames.append(replace(item, picture=av.VideoFrame()))
        else:
            writer.write_audio(item)
    written = writer.close()
    verify_output(temporary, frames=len(frames), opened=opened, plan=plan, written=written)
    path = Path(plan.path)
    temporary.rename(path)
    return Copy(path=path, plan=plan, reader=reader, frames=frames, written=written)

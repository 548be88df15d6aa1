"""What a media file holds, found by opening it and decoding its first picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import av
import av.container
import av.packet
import av.stream
import av.video
import msgspec
import numpy as np

from models.orientation import Orientation
from streamer import frames
from streamer.aperture import Aperture, aperture_of
from streamer.budget import GREATEST_RATE
from streamer.errors import InputError
from streamer.frame_facts import color_of, field_order_of, orientation_of, side_data
from streamer.hdr import HdrMetadata, hdr_of_side_data
from streamer.opening import Packet, check_readable, open_input, read_packets
from streamer.pictures import PictureLayout
from streamer.stills import refuse_still

MADE_BY_VEIL = "Anonymized by Veil"
"""How the comment of every output begins."""

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts", ".mxf", ".wmv"}
    | {".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".vob", ".dv", ".gif", ".y4m"}
)
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff"})
MEDIA_SUFFIXES: dict[str, Literal["video", "image"]] = {
    **dict.fromkeys(VIDEO_SUFFIXES, "video"),
    **dict.fromkeys(IMAGE_SUFFIXES, "image"),
}
"""The suffixes, in lower case, that a walk through a folder takes; a file named on its own may have any."""

_MOST_PACKETS_WITHOUT_PICTURE = 2000
_ENCODER_SETTINGS = (bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef"), bytes.fromhex("2ca2de09b51747dbbb55a4fe7fc2fc4e"))
"""The marks of the texts in which x264 and x265 note their settings."""
_JUMPING_FORMATS = frozenset({"mpegts", "mpeg", "dv", "rm"})


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """A track beside the pictures that may be copied."""

    index: int
    """Number of the stream in the input."""
    kind: Literal["audio", "subtitle"]
    codec: str
    """FFmpeg's name of the codec; empty where it does not know it, or what the track is."""
    channels: int = 0
    rate: int = 0
    language: str | None = None
    is_default: bool = False


class MediaInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A video file as far as it matters for its anonymized copy."""

    path: Path
    container: str
    """FFmpeg's names of the demuxer, e.g. mov,mp4,m4a,3gp,3g2,mj2."""
    video_index: int
    codec: str
    layout: PictureLayout
    """The pictures upright, of even size where chroma is subsampled."""
    orientation: Orientation
    source_size: tuple[int, int]
    """Width and height as stored."""
    shown: Aperture
    """The part of it that players show."""
    source_format: str
    """Pixel format of the decoder."""
    source_bits: int
    time_base: Fraction
    average_rate: Fraction | None
    peak_rate: Fraction | None
    """Most frames in a second; None where nothing is known."""
    sample_aspect_ratio: Fraction
    """Of the upright picture; 1 where it is not said."""
    field_order: Literal["progressive", "tff", "bff"]
    hdr: HdrMetadata | None
    frames_estimated: int | None
    duration_s: float | None
    start: Fraction
    """Seconds at which the clock of the file begins; 0 unless it is one that starts anywhere (MPEG streams)."""
    clock_jumps: bool
    packets_expected: int | None
    """Packets of the picture track that an undamaged file has; None where the container does not say."""
    end_pts: int | None
    """Where the container says that the last picture ends, in units of `time_base`; None where it does not say."""
    tracks: tuple[Track, ...]
    tags: dict[str, str]
    chapters: tuple[dict[str, Any], ...]
    dropped: tuple[str, ...]
    """A sentence for each thing that no output will hold."""
    made_by_veil: bool

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise by which players turn the stored picture; 0 for a picture that is only mirrored."""
        if not self.orientation.transposes:
            return 180 if self.orientation.flips_x and self.orientation.flips_y else 0
        return 90 if self.orientation.flips_y else 270

    @property
    def is_interlaced(self) -> bool:
        return self.field_order != "progressive"

    @property
    def audio(self) -> tuple[Track, ...]:
        return tuple(track for track in self.tracks if track.kind == "audio")


def probe(path: Path) -> MediaInfo:
    """Raises InputError where the file is missing, unreadable, empty, no media, a still picture, or cannot be kept intact."""
    check_readable(path)
    with open_input(path) as container:
        refuse_still(path, container)
        stream = _picture_stream(path, container)
        # MPEG streams may grow tracks while they are read; later openings find only those that are there from the first.
        tracks = _tracks(container)
        frame = _first_frame(path, container, stream)
        return _describe(path, container, stream, frame, tracks)


def _picture_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    streams = [stream for stream in container.streams.video if not is_attached_picture(stream)]
    if not streams:
        if container.streams.audio:
            raise InputError(f"{path}: has sound but no video")
        raise InputError(f"{path}: has no video track")
    best = container.streams.best("video")
    stream = best if isinstance(best, av.VideoStream) and best in streams else streams[0]
    if stream.codec_context is None:
        raise InputError(f"{path}: its video codec is not known")
    return stream


def is_attached_picture(stream: av.stream.Stream) -> bool:
    pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails | av.stream.Disposition.still_image
    return bool(stream.disposition & pictures)


def _first_frame(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> av.VideoFrame:
    stream.thread_type = "SLICE"
    count = 0
    try:
        for packet in read_packets(container):
            if packet.stream_index != stream.index:
                continue
            count += 1
            decoded = _decoded(stream, packet)
            if decoded:
                return decoded[0]
            if count > _MOST_PACKETS_WITHOUT_PICTURE:
                break
    except av.FFmpegError as error:
        raise InputError(f"{path}: no picture can be decoded: {error.strerror}") from error
    decoded = _decoded(stream, None)
    if decoded:
        return decoded[0]
    raise InputError(f"{path}: has a video track, but no picture can be decoded from it")


def _decoded(stream: av.VideoStream, packet: Packet | None) -> list[av.VideoFrame]:
    try:
        return stream.codec_context.decode(cast("av.packet.Packet[av.VideoStream] | None", packet))
    except av.FFmpegError:
        # Later packets may be whole.
        return []


def _peak_rate(stream: av.VideoStream, average: Fraction) -> Fraction:
    """Most frames in a second: by the container's index, and by the rate at which all times can be told where that is one."""
    told = Fraction(stream.base_rate or 0)
    rates = [average, told if told <= GREATEST_RATE else average]
    if stream.time_base is not None:
        times = np.sort([entry.timestamp for entry in stream.index_entries])
        within = np.searchsorted(times, times + float(1 / stream.time_base)) - np.arange(len(times))
        rates.append(Fraction(min(int(within.max(initial=0)), GREATEST_RATE)))
    return max(rates)


def _describe(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, frame: av.VideoFrame, tracks: tuple[Track, ...]
) -> MediaInfo:
    form = frame.format
    if stream.metadata.get("alpha_mode") == "1" or not frames.is_opaque(frame):
        raise InputError(
            f"{path}: has transparent pictures (alpha channel), which cannot be kept: flatten it onto a background first"
        )
    orientation = orientation_of(frame)
    if stream.time_base is None:
        raise InputError(f"{path}: its video track has no clock")
    name = frames.ring_format(form, orientation)
    field_order = field_order_of(frame)
    shown = aperture_of(stream, (frame.width, frame.height), is_interlaced=field_order != "progressive")
    width, height = frames.padded_size(*orientation.size(shown.width, shown.height), name)
    rate = stream.average_rate or stream.guessed_rate
    aspect = stream.sample_aspect_ratio or Fraction(1)
    is_mov = container.format.name.startswith("mov,")
    clock_jumps = container.format.name in _JUMPING_FORMATS
    start = Fraction(container.start_time, av.time_base) if clock_jumps and container.start_time is not None else Fraction(0)
    duration_s = _duration_s(container, stream)
    return MediaInfo(
        path=path,
        container=container.format.name,
        video_index=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        layout=PictureLayout(width=width, height=height, pixel_format=name, color=color_of(frame, stream)),
        orientation=orientation,
        source_size=(frame.width, frame.height),
        shown=shown,
        source_format=form.name,
        source_bits=frames.sample_bits(form),
        time_base=stream.time_base,
        average_rate=rate or None,
        peak_rate=_peak_rate(stream, rate) if rate else None,
        sample_aspect_ratio=1 / aspect if orientation.transposes else aspect,
        field_order=field_order,
        hdr=hdr_of_side_data(side_data(frame)),
        frames_estimated=stream.frames or (round(duration_s * rate) if duration_s and rate else None),
        duration_s=duration_s,
        start=start,
        clock_jumps=clock_jumps,
        packets_expected=len(stream.index_entries) if stream.frames and is_mov else None,
        end_pts=(stream.start_time or 0) + stream.duration if stream.duration and is_mov else None,
        tracks=tracks,
        tags=_clean_tags(container.metadata),
        chapters=tuple(cast(list[dict[str, Any]], container.chapters())),
        dropped=tuple(_dropped(container, stream, frame)),
        made_by_veil=is_veil_comment(container.metadata),
    )


def is_veil_comment(tags: dict[str, str]) -> bool:
    return any(key.lower() == "comment" and value.startswith(MADE_BY_VEIL) for key, value in tags.items())


def _duration_s(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    if stream.duration and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _tracks(container: av.container.InputContainer) -> tuple[Track, ...]:
    tracks = []
    for stream in (*container.streams.audio, *container.streams.subtitles):
        context = stream.codec_context
        tracks.append(
            Track(
                index=stream.index,
                kind="audio" if isinstance(stream, av.AudioStream) else "subtitle",
                codec=context.codec.canonical_name if context is not None and _is_complete(context) else "",
                channels=context.channels if isinstance(context, av.AudioCodecContext) else 0,
                rate=context.sample_rate if isinstance(context, av.AudioCodecContext) else 0,
                language=stream.language,
                is_default=bool(stream.disposition & av.stream.Disposition.default),
            )
        )
    return tuple(sorted(tracks, key=lambda track: track.index))


def _is_complete(context: av.CodecContext) -> bool:
    return not isinstance(context, av.AudioCodecContext) or (context.channels > 0 and context.sample_rate > 0)


def _clean_tags(tags: dict[str, str]) -> dict[str, str]:
    technical = {"major_brand", "minor_version", "compatible_brands", "encoder"}
    return {key: value for key, value in tags.items() if key.lower() not in technical}


def _dropped(container: av.container.InputContainer, stream: av.VideoStream, frame: av.VideoFrame) -> list[str]:
    sentences = []
    for other in container.streams:
        name = f"track {other.index}"
        if other.type == "video" and is_attached_picture(other):
            sentences.append(f"The attached picture of {name} is dropped.")
        elif other.type == "video" and other.index != stream.index:
            sentences.append(f"The further video of {name} is dropped.")
        elif other.type in ("data", "unknown"):
            kind = other.metadata.get("handler_name", "").strip() or getattr(other, "name", None) or "unknown content"
            sentences.append(f"The data of {name} ({kind}) is dropped.")
        elif other.type == "attachment":
            sentences.append(f"The attached file of {name} is dropped.")
    attached = side_data(frame)
    if attached.get("SEI_UNREGISTERED", b"")[:16] in _ENCODER_SETTINGS:
        del attached["SEI_UNREGISTERED"]
    losses = {
        "A53_CC": "Closed captions inside the pictures are dropped.",
        "SEI_UNREGISTERED": "User data inside the video stream is dropped.",
        "DYNAMIC_HDR_PLUS": "HDR10+ dynamic metadata is dropped.",
        "DOVI_METADATA": "Dolby Vision metadata is dropped.",
        "DYNAMIC_HDR_VIVID": "HDR Vivid metadata is dropped.",
        "SPHERICAL": "The mark that says that this is a 360 degree video is dropped.",
        "STEREO3D": "The mark that says that this is a stereoscopic video is dropped.",
        "GOP_TIMECODE": "The time code is dropped.",
        "S12M_TIMECODE": "The time code is dropped.",
    }
    sentences += sorted({sentence for kind, sentence in losses.items() if kind in attached})
    return sentences

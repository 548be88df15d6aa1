"""The encoders, and the plan of an output: everything that is decided about it before its first byte is written."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import msgspec

from streamer.config import MetadataKind, VideoSettings
from streamer.errors import OutputError, UsageError
from streamer.hdr import encoder_parameters
from streamer.kept import Chapter, choose_metadata, choose_tracks
from streamer.pictures import PIXEL_FORMATS
from streamer.probe import MediaInfo
from streamer.tracks import obstacle

CodecName = Literal["h264", "hevc", "av1", "h264_nvenc", "hevc_nvenc", "av1_nvenc"]
Container = Literal["mp4", "mov", "mkv", "webm"]

# The library prints its settings to stderr at each opening unless it is told before its first one to report errors only.
os.environ.setdefault("SVT_LOG", "1")

MUXERS: dict[Container, str] = {"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm"}
"""FFmpeg's name of each container."""

_SUFFIXES: dict[str, Container] = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".qt": "mov",
    ".mkv": "mkv",
    ".webm": "webm",
}


_X26X_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_PRESETS: dict[str, tuple[str, ...]] = {
    "libx264": _X26X_PRESETS,
    "libx265": _X26X_PRESETS,
    "libsvtav1": tuple(str(number) for number in range(-1, 14)),
}


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """One row of ENCODERS."""

    name: str
    """FFmpeg's name."""
    codec: Literal["h264", "hevc", "av1"]
    quality_option: str
    default_quality: int
    worst_quality: int
    default_preset: str

    @property
    def presets(self) -> tuple[str, ...]:
        return _PRESETS.get(self.name, tuple(f"p{number}" for number in range(1, 8)))


ENCODERS: dict[CodecName, Encoder] = {
    "h264": Encoder(
        name="libx264", codec="h264", quality_option="crf", default_quality=18, worst_quality=51, default_preset="veryfast"
    ),
    "hevc": Encoder(
        name="libx265", codec="hevc", quality_option="crf", default_quality=20, worst_quality=51, default_preset="fast"
    ),
    "av1": Encoder(name="libsvtav1", codec="av1", quality_option="crf", default_quality=24, worst_quality=63, default_preset="9"),
    "h264_nvenc": Encoder(
        name="h264_nvenc", codec="h264", quality_option="cq", default_quality=18, worst_quality=51, default_preset="p5"
    ),
    "hevc_nvenc": Encoder(
        name="hevc_nvenc", codec="hevc", quality_option="cq", default_quality=20, worst_quality=51, default_preset="p5"
    ),
    "av1_nvenc": Encoder(
        name="av1_nvenc", codec="av1", quality_option="cq", default_quality=24, worst_quality=63, default_preset="p5"
    ),
}
"""The values of `video.codec`."""

_HELD_CODECS: dict[Container, tuple[Literal["h264", "hevc", "av1"], ...]] = {
    "mp4": ("h264", "hevc", "av1"),
    "mov": ("h264", "hevc"),
    "mkv": ("h264", "hevc", "av1"),
    "webm": ("av1",),
}
_FALLBACKS: tuple[Container, ...] = ("mkv", "mov")
"""Where sound may go that the wanted container cannot hold."""

_EQUIVALENTS = {"yuv420p": ("nv12",), "yuv420p10le": ("p010le",), "yuv422p10le": ("p210le",)}
"""Formats with the same samples in another order."""


@dataclass(frozen=True, kw_only=True)
class _ContainerChoice:
    container: Container
    reencoded: tuple[int, ...] = ()
    """Sound tracks that it can hold only as FLAC."""
    warnings: list[str] = field(default_factory=list)


class OutputPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How an output is written. Travels to the sink, which knows nothing else of the input but `StreamOpened`."""

    path: str
    """The final name, with the suffix of its container."""
    container: Container
    encoder: str
    """FFmpeg's name of the video encoder."""
    options: dict[str, str]
    """Options of the encoder."""
    pixel_format: str
    """Of the encoder; the layout's where it can take it."""
    codec_tag: str | None
    field_order: Literal["progressive", "tff", "bff"]
    tracks: tuple[int, ...]
    """Streams of the input whose packets are copied; their order is that of `AudioPacket.track`."""
    reencoded: tuple[int, ...]
    """Those of them that are encoded again without loss, because their codec fits nowhere."""
    metadata: dict[str, str]
    chapters: tuple[Chapter, ...]
    dropped: tuple[str, ...]
    """A sentence for each thing of the input that the output will not hold, for the report."""
    warnings: tuple[str, ...]
    """What the user should know before anything is written, a sentence each."""

    @property
    def muxer(self) -> str:
        return MUXERS[self.container]


def check_preset(settings: VideoSettings) -> None:
    """Raises UsageError where no encoder that the settings may stand for knows the preset."""
    names: tuple[CodecName, ...] = ("h264", "hevc", "av1") if settings.codec == "auto" else (settings.codec,)
    known = dict.fromkeys(preset for name in names for preset in ENCODERS[name].presets)
    if settings.preset is not None and settings.preset not in known:
        raise UsageError(f"video.preset: must be one of {', '.join(known)}, is {settings.preset}")


def default_suffix(info: MediaInfo, settings: VideoSettings) -> str:
    """The suffix of an output whose name the user did not choose: the input's where its container can be written and can hold
    the sound, else .mkv."""
    container = _choose_container(info, settings, "").container
    own = info.path.suffix
    return own if _SUFFIXES.get(own.lower()) == container else f".{container}"


def plan_output(info: MediaInfo, settings: VideoSettings, keep: tuple[MetadataKind, ...], target: Path) -> OutputPlan:
    """Decide everything about an output.

    target: where it shall go. A suffix that names a container demands that container; without one (or with another) the container
    is chosen and its suffix takes the place of the target's.
    Raises UsageError where settings contradict each other or the input, OutputError where the encoder cannot be opened.
    """
    choice = _choose_container(info, settings, target.suffix)
    container, warnings = choice.container, list(choice.warnings)
    row, encoder = _choose_encoder(info, settings, container)
    pixel_format, losses = _encoder_format(info, encoder)
    warnings += losses
    if info.source_bits > 10:
        warnings.append(f"The input has {info.source_bits} bits a sample; the output has 10.")
    options = _encoder_options(encoder, settings, row)
    if info.hdr is not None:
        described = encoder_parameters(info.hdr, encoder.name)
        options |= {key: _joined(options.get(key), value) for key, value in described.options.items()}
        warnings += described.losses
    tracks, dropped, lost = choose_tracks(info, keep, MUXERS[container])
    warnings += lost
    metadata, chapters, more_dropped = choose_metadata(info, keep)
    if container in ("mkv", "webm") and info.time_base.denominator > 1000:
        warnings.append("Matroska stores times in milliseconds: each frame is shown up to half a millisecond earlier or later.")
    plan = OutputPlan(
        path=str(target if _SUFFIXES.get(target.suffix.lower()) == container else target.with_suffix(f".{container}")),
        container=container,
        encoder=encoder.name,
        options=options,
        pixel_format=pixel_format,
        codec_tag="hvc1" if encoder.codec == "hevc" and container in ("mp4", "mov") else None,
        field_order=info.field_order,
        tracks=tracks,
        reencoded=choice.reencoded,
        metadata=metadata,
        chapters=chapters,
        dropped=(*info.dropped, *dropped, *more_dropped),
        warnings=tuple(warnings),
    )
    reason = why_not_open(
        encoder.name,
        size=(info.layout.width, info.layout.height),
        pixel_format=pixel_format,
        options=encoder_options(plan, threads=1),
    )
    if reason:
        raise OutputError(f"{plan.path}: the encoder {encoder.name} cannot be used here: {reason}")
    return plan


def available_encoders() -> dict[str, str]:
    """For each value of `video.codec` why its encoder cannot be used on this machine; empty where it can. Each is opened."""
    return {
        name: why_not_open(
            encoder.name, size=(640, 480), pixel_format="yuv420p", options=_encoder_options(encoder, VideoSettings(), name)
        )
        for name, encoder in ENCODERS.items()
    }


def why_not_open(name: str, *, size: tuple[int, int], pixel_format: str, options: dict[str, str]) -> str:
    """Open an encoder and say what it objects to; empty where it opens."""
    try:
        context = av.CodecContext.create(name, "w")
    except ValueError:
        return "it is not part of this FFmpeg"
    if not isinstance(context, av.VideoCodecContext):
        return "it is no video encoder"
    context.width, context.height = size
    context.pix_fmt = pixel_format
    context.time_base = Fraction(1, 25)
    context.framerate = Fraction(25)
    context.options = dict(options)
    context.thread_count = 1
    try:
        context.open()
    except av.FFmpegError as error:
        if name.endswith("_nvenc"):
            return f"no NVIDIA GPU with an encoder answers ({error.strerror})"
        return error.strerror or str(error)
    unknown = set(context.options) & set(options)
    return f"it does not know {', '.join(sorted(unknown))}" if unknown else ""


def encoder_options(plan: OutputPlan, *, threads: int) -> dict[str, str]:
    """The plan's options with the number of threads, for the encoders that do not heed FFmpeg's own setting; 0 = one per core."""
    options = dict(plan.options)
    if threads and plan.encoder == "libx265":
        options["x265-params"] = _joined(options.get("x265-params"), f"pools={threads}")
    if threads and plan.encoder == "libsvtav1":
        options["svtav1-params"] = _joined(options.get("svtav1-params"), f"lp={threads}")
    return options


def _choose_container(info: MediaInfo, settings: VideoSettings, suffix: str) -> _ContainerChoice:
    named = _SUFFIXES.get(suffix.lower())
    if settings.container != "same":
        if named is not None and named != settings.container:
            raise UsageError(f"video.container: is {settings.container}, but the output's name ends in {suffix}")
        named = settings.container
    wanted = named or _SUFFIXES.get(info.path.suffix.lower()) or "mkv"
    sounds = [track for track in info.audio if track.codec]
    unfit = [track for track in sounds if obstacle(info.path, track.index, MUXERS[wanted])]
    if not unfit:
        return _ContainerChoice(container=wanted)
    described = " and ".join(f"track {track.index} ({track.codec})" for track in unfit)
    problem = f"the sound of {described} cannot be put into {wanted}"
    for other in _FALLBACKS:
        if other != wanted and not any(obstacle(info.path, track.index, MUXERS[other]) for track in sounds):
            if named is not None:
                raise UsageError(f"{info.path}: {problem}: use {other} for the output")
            return _ContainerChoice(container=other, warnings=[f"The output is {other}, because {problem}."])
    if wanted == "webm":
        raise UsageError(f"{info.path}: {problem}: use mkv for the output")
    return _ContainerChoice(
        container=wanted,
        reencoded=tuple(track.index for track in unfit),
        warnings=[f"The sound of {described} is encoded again without loss (FLAC), because no container can hold it as it is."],
    )


def _choose_encoder(info: MediaInfo, settings: VideoSettings, container: Container) -> tuple[str, Encoder]:
    bits = PIXEL_FORMATS[info.layout.pixel_format].bits
    name = settings.codec
    if name == "auto":
        usual: CodecName = "h264" if bits == 8 or info.is_interlaced else "hevc"
        name = "av1" if container == "webm" else usual
    encoder = ENCODERS[name]
    if encoder.codec not in _HELD_CODECS[container]:
        held = " or ".join(_HELD_CODECS[container])
        raise UsageError(f"video.codec: {name} cannot be put into {container}; use {held}, or another container")
    if info.is_interlaced and name != "h264":
        raise UsageError(f"{info.path}: is interlaced, which {name} cannot keep here; use the codec h264 (and not webm)")
    return name, encoder


def _encoder_format(info: MediaInfo, encoder: Encoder) -> tuple[str, list[str]]:
    """The encoder's nearest format to the layout's, and what is lost by it."""
    try:
        formats = {form.name for form in av.Codec(encoder.name, "w").video_formats or ()}
    except ValueError as error:
        raise OutputError(f"{info.path}: the encoder {encoder.name} is not part of this FFmpeg") from error
    wanted = info.layout.pixel_format
    for candidate in (wanted, *_EQUIVALENTS.get(wanted, ())):
        if candidate in formats:
            uncommon = PIXEL_FORMATS[wanted].chroma_y_shift == 0
            return candidate, ["The pictures are not 4:2:0; some players cannot show them."] if uncommon else []
    if PIXEL_FORMATS[wanted].bits > 8:
        for candidate in ("yuv420p10le", "p010le"):
            if candidate in formats:
                return candidate, [f"{encoder.name} reduces the colour resolution to 4:2:0."]
    return "yuv420p", [
        f"{encoder.name} reduces the pictures to 8 bits and 4:2:0."
        if PIXEL_FORMATS[wanted].bits > 8
        else f"{encoder.name} reduces the colour resolution to 4:2:0."
    ]


def _encoder_options(encoder: Encoder, settings: VideoSettings, name: str) -> dict[str, str]:
    quality = settings.quality if settings.quality is not None else encoder.default_quality
    if quality > encoder.worst_quality:
        raise UsageError(f"video.quality: must be at most {encoder.worst_quality} for {name}, is {quality}")
    preset = settings.preset or encoder.default_preset
    if preset not in encoder.presets:
        raise UsageError(f"video.preset: must be one of {', '.join(encoder.presets)} for {name}, is {preset}")
    options = {encoder.quality_option: str(quality), "preset": preset}
    if encoder.quality_option == "cq":
        options |= {"rc": "vbr", "b": "0"}
    if encoder.name == "libx265":
        options["x265-params"] = "log-level=error"
    return options


def _joined(existing: str | None, addition: str) -> str:
    return f"{existing}:{addition}" if existing else addition

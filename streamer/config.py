"""The settings of Veil: one frozen tree, defaults beside the fields, bounds in the types."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every group of settings shares: frozen, and an unknown key is an error that names its path."""


class DetectorSettings(Settings, frozen=True, kw_only=True):
    """How faces are found."""

    name: str = "centerface"
    """The detector, a row of the table in models/detectors.py."""
    size: Literal["default", "full"] | Annotated[int, msgspec.Meta(ge=128, le=8192)] = "default"
    """Working size: default finds faces from 20 px width at 720p, full from 12 px; a number is the longer side in pixels."""
    threshold: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.3
    """Score from which something counts as a face; lower finds more and covers more by mistake."""
    processes: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    """Detector processes; null chooses from the number of cores."""


class TrackerSettings(Settings, frozen=True, kw_only=True):
    """How detections become faces that stay covered."""

    look_ahead_s: Annotated[float, msgspec.Meta(ge=0.0, le=5.0)] = 0.5
    """Seconds that a face is covered before its first and after its last detection; also the longest gap that is bridged."""


class FilterSettings(Settings, frozen=True, kw_only=True):
    """What is put over a face."""

    name: str = "heavy-blur"
    """The filter, a row of the table in streamer/filters.py."""
    mask: Literal["ellipse", "box"] = "ellipse"
    """Shape of the mask; both hold the whole face box grown by the margin."""
    margin: Annotated[float, msgspec.Meta(ge=0.0, le=2.0)] = 0.05
    """Growth of the face box on every side, as a part of its width and height."""
    soft_edge: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.1
    """Width of the blend around the mask, always outside it, as a part of the face's width; 0 is a hard edge."""
    cells: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    """pixelate: cells across the face."""
    color: Annotated[str, msgspec.Meta(pattern="^#[0-9a-fA-F]{6}$")] = "#808080"
    """solid: the colour as #rrggbb."""
    image: str | None = None
    """image: path of the picture that is laid over each face."""


class VideoSettings(Settings, frozen=True, kw_only=True):
    """How videos are encoded."""

    codec: Literal["auto", "h264", "hevc", "av1", "h264_nvenc", "hevc_nvenc", "av1_nvenc"] = "auto"
    """Encoder; auto takes H.264, or HEVC where the input has more than 8 bits, or what the container demands."""
    quality: Annotated[int, msgspec.Meta(ge=0, le=63)] | None = None
    """Constant quality, lower is better; null is 18 for H.264, 20 for HEVC, 24 for AV1."""
    preset: str | None = None
    """The encoder's own preset; null is veryfast for H.264, fast for HEVC, 9 for AV1."""
    container: Literal["same", "mp4", "mkv", "mov", "webm"] = "same"
    """Output container; same keeps the input's where it can be written, else mkv."""


MetadataKind = Literal["tags", "chapters", "subtitles", "icc", "all"]


class AnonymizeSettings(Settings, frozen=True, kw_only=True):
    """Everything that `veil anonymize` can be told, on the command line or in a file."""

    detector: DetectorSettings = DetectorSettings()
    tracker: TrackerSettings = TrackerSettings()
    filter: FilterSettings = FilterSettings()
    video: VideoSettings = VideoSettings()
    keep_metadata: tuple[MetadataKind, ...] = ()
    """Metadata to keep; everything else that describes the recording, its place or its device is dropped."""
    overwrite: bool = False
    """Replace outputs that exist."""
    report: bool = False
    """Write a JSON report beside each output."""
    preview_detections: bool = False
    """Draw the boxes and their reasons on the anonymized picture."""
    ring_mebibytes: Annotated[int, msgspec.Meta(ge=16, le=65536)] = 512
    """Most memory for decoded pictures in flight; look-ahead shrinks where it would need more, and the program says so."""

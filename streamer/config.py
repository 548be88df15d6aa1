"""The settings of Veil: one frozen tree, defaults beside the fields, bounds in the types; and how files and flags become it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from streamer.errors import UsageError
from streamer.explaining import explain
from streamer.yaml_files import read_yaml

Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every group of settings shares: frozen, and an unknown key is an error that names its path."""


Group = TypeVar("Group", bound=Settings)


class StreamDetectorSettings(Settings, frozen=True, kw_only=True):
    """How faces are found in a stream."""

    name: str = "centerface"
    """The detector, a row of the table in models/detectors.py."""
    size: Literal["default", "full"] | Annotated[int, msgspec.Meta(ge=128, le=8192)] = "default"
    """Working size: default finds faces from 20 px width at 720p, full from 12 px; a number is the longer side in pixels."""
    threshold: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.2
    """Score from which something counts as a face; lower finds more and covers more by mistake."""
    keypoints: str = "network"
    """What finds eyes, nose, ears and shoulders, a row of the table in models/keypoints.py; only for filters that need them."""


class DetectorSettings(StreamDetectorSettings, frozen=True, kw_only=True):
    """How faces are found in files."""

    processes: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    """Detector processes; null chooses from the number of cores."""


class TrackerSettings(Settings, frozen=True, kw_only=True):
    """How detections become faces that stay covered."""

    look_ahead_s: Annotated[float, msgspec.Meta(ge=0.0, le=5.0)] = 0.5
    """Seconds that a face is covered before its first and after its last detection; also the longest gap that is bridged."""


class FilterSettings(Settings, frozen=True, kw_only=True):
    """What is put over a face."""

    name: str = "gan"
    """The filter, a row of the table in streamer/filters.py."""
    mask: Literal["auto", "ellipse", "box"] = "auto"
    """Shape of the mask; both hold the whole face box grown by the margin. auto: a box for gan, an ellipse for the others."""
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
    stabilize: bool = True
    """gan: what was painted before, moved along with the face, goes into what is painted now, so that it does not flicker."""
    identity_seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    """gan: with the same seed, the same faces are painted again; null draws new ones in every run, which nobody can repeat."""


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
    backend: Literal["auto", "cpu", "openvino", "torch", "tensorrt"] = "auto"
    """What runs the networks; auto is TensorRT on a GPU, else the processor with what is fastest there; see veil doctor."""
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


Values = Mapping[str, Any]
"""Settings as they come from a file or from flags: nested, unchecked, only what was said."""


def read_settings_file(path: Path) -> Values:
    """The values of a YAML file, checked as far as the file alone can be; raises UsageError with one line."""
    values = read_yaml(path)
    values = {} if values is None else values
    make_settings(values, name_key=name_in_file(path))
    return dict(values)


def name_in_file(path: Path) -> Callable[[str], str]:
    """How a key of this file is named in errors; the empty key is the whole file."""
    return lambda key: f"{path}: {key}" if key else str(path)


def merge_values(below: Values, above: Values) -> Values:
    """Both, group by group; `above` wins where both name a key."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge_values(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def make_settings(values: Values, *, name_key: Callable[[str], str], is_text: bool = False) -> AnonymizeSettings:
    """Checks every value against its type and bounds.

    name_key: how the user knows a key ("" is the whole): `detector.threshold` is `clip.yaml: detector.threshold` or `--threshold`.
    is_text: values may be texts that spell a number, as flags do.
    Raises UsageError with one line: the key, what it must be, and what it is.
    """
    return convert_settings(values, AnonymizeSettings, name_key=name_key, is_text=is_text)


def convert_settings(values: Any, kind: type[Group], *, name_key: Callable[[str], str], is_text: bool = False) -> Group:
    """As `make_settings`, for any tree of settings."""
    try:
        return msgspec.convert(values, kind, strict=not is_text)
    except msgspec.ValidationError as error:
        raise UsageError(explain(str(error), values, kind, name_key)) from None

"""The options that are settings: which flag sets which key, in one table, and what the two together give."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from streamer.config import AnonymizeSettings, Values, make_settings, merge_values, name_in_file, read_settings_file
from streamer.errors import UsageError


class Option(NamedTuple):
    """A row of the table."""

    flag: str
    key: str
    """The setting that the flag sets, as in the file: `detector.threshold`."""
    metavar: str | None
    """None where the flag takes no value and means true."""
    help: str


OPTIONS: dict[str, tuple[Option, ...]] = {
    "what covers a face": (
        Option("--filter", "filter.name", "NAME", "gan, heavy-blur, blur, pixelate, solid, blackout or image"),
        Option("--mask", "filter.mask", "SHAPE", "ellipse, box, or auto: what suits the filter"),
        Option("--margin", "filter.margin", "PART", "growth of the face box on every side, as a part of its size"),
        Option("--cells", "filter.cells", "N", "pixelate: cells across the face"),
        Option("--color", "filter.color", "#RRGGBB", "solid: the colour"),
        Option("--image", "filter.image", "FILE", "image: the picture that is laid over each face"),
        Option("--identity-seed", "filter.identity_seed", "N", "gan: paint the same new faces in every run with this number"),
    ),
    "how faces are found": (
        Option(
            "--detector-size",
            "detector.size",
            "SIZE",
            "default (faces from 20 px width at 720p and in any photo), full (from 12 px), or pixels of the longer side",
        ),
        Option("--threshold", "detector.threshold", "SCORE", "score from which something is a face; lower covers more"),
        Option("--detector-processes", "detector.processes", "N", "detector processes; left out, as many as the cores allow"),
        Option(
            "--look-ahead",
            "tracker.look_ahead_s",
            "SECONDS",
            "covers a face this long before its first and after its last detection",
        ),
    ),
    "what runs the networks": (
        Option("--backend", "backend", "NAME", "auto, tensorrt, cpu, openvino or torch; veil doctor shows which are usable here"),
    ),
    "how videos are written": (
        Option("--codec", "video.codec", "NAME", "auto, h264, hevc, av1, h264_nvenc, hevc_nvenc or av1_nvenc"),
        Option("--quality", "video.quality", "N", "constant quality, lower is better; left out: H.264 18, HEVC 20, AV1 24"),
        Option("--container", "video.container", "NAME", "same, mp4, mkv, mov or webm"),
    ),
    "what is written": (
        Option("--keep-metadata", "keep_metadata", "KINDS", "keep these, separated by commas: tags, chapters, subtitles, icc, all"),
        Option("--overwrite", "overwrite", None, "replace outputs that exist"),
        Option("--report", "report", None, "write OUTPUT.report.json beside each output: what was covered, when and why"),
        Option("--preview-detections", "preview_detections", None, "draw boxes and reasons on the anonymized picture"),
    ),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Every row of the table, with its default in the help, and `--config`."""
    defaults = msgspec.to_builtins(AnonymizeSettings())
    for title, rows in OPTIONS.items():
        group = parser.add_argument_group(title)
        for row in rows:
            if row.metavar is None:
                group.add_argument(row.flag, dest=row.key, action="store_const", const=True, help=row.help)
                continue
            default = _value_of(defaults, row.key)
            shown = "" if default in (None, (), []) else f" (default: {default})"
            group.add_argument(row.flag, dest=row.key, metavar=row.metavar, help=f"{row.help}{shown}")
    parser.add_argument_group("settings").add_argument(
        "--config", metavar="FILE", type=Path, help="YAML file with any of the settings; options win over it"
    )


def settings_from(arguments: argparse.Namespace) -> AnonymizeSettings:
    """The settings of the file, if one is named, under those of the flags. Raises UsageError."""
    flags = {row.key: row.flag for rows in OPTIONS.values() for row in rows}
    said: dict[str, Any] = {}
    for key in flags:
        value = getattr(arguments, key)
        if value is None:
            continue
        group, _, name = key.rpartition(".")
        place = said.setdefault(group, {}) if group else said
        place[name] = _kinds(value) if key == "keep_metadata" else value
    below: Values = read_settings_file(arguments.config) if arguments.config else {}
    return make_settings(merge_values(below, said), name_key=lambda key: flags.get(key, key), is_text=True)


@contextlib.contextmanager
def naming_settings(arguments: argparse.Namespace) -> Iterator[None]:
    """Errors that begin with the key of a setting name the flag or the file that it comes from, as those of `settings_from` do."""
    try:
        yield
    except UsageError as error:
        key, colon, rest = str(error).partition(": ")
        if not colon or not _is_key(key):
            raise
        raise UsageError(f"{_origin(key, arguments)}: {rest}") from None


def _is_key(text: str) -> bool:
    group, _, name = text.rpartition(".")
    values: Any = msgspec.to_builtins(AnonymizeSettings())
    return text in values if not group else isinstance(values.get(group), dict) and name in values[group]


def _origin(key: str, arguments: argparse.Namespace) -> str:
    """The flag where it was used, or the file where that holds the key, or else what one would use."""
    flag = next((row.flag for rows in OPTIONS.values() for row in rows if row.key == key), None)
    if arguments.config and getattr(arguments, key, None) is None and _holds(read_settings_file(arguments.config), key):
        return name_in_file(arguments.config)(key)
    return flag or key


def _holds(values: Values, key: str) -> bool:
    group, _, name = key.rpartition(".")
    return name in (values.get(group) or {}) if group else name in values


def _kinds(value: str) -> list[str]:
    return [kind.strip() for kind in value.split(",") if kind.strip()]


def _value_of(values: Values, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values

"""Which tracks, tags and chapters of an input reach its output: sound and nothing else, unless the user names more."""

from __future__ import annotations

import re

import msgspec

from streamer.config import MetadataKind
from streamer.probe import MADE_BY_VEIL, MediaInfo
from streamer.tracks import obstacle

_PICTURE_NAMES = re.compile("picture|cover|covr|thumb|artwork|image|photo|apic|poster|icon|logo", re.IGNORECASE)
_ENCODED = re.compile(r"(?:[\w+/=-]{60,}\s*){4,}", re.ASCII)
"""Words as long as these, several in a row, are a file written as text."""
_LONGEST_TEXT = 1000
_LONGEST_KEY = 60


class Chapter(msgspec.Struct, frozen=True, kw_only=True):
    """One chapter to keep: its times in units of `time_base`."""

    start: int
    end: int
    time_base: tuple[int, int]
    title: str


def choose_tracks(info: MediaInfo, keep: tuple[MetadataKind, ...], muxer: str) -> tuple[tuple[int, ...], list[str], list[str]]:
    """Indices of the tracks to copy, what is dropped by intent, and what is lost because the container cannot hold it."""
    copied = [track.index for track in info.audio if track.codec]
    dropped, lost = [], []
    for track in info.tracks:
        if track.kind != "subtitle":
            continue
        name = f"The subtitles of track {track.index}"
        if not {"subtitles", "all"} & set(keep):
            dropped.append(f"{name} are dropped.")
        elif not track.codec or obstacle(info.path, track.index, muxer):
            lost.append(f"{name} ({track.codec or 'unknown'}) are dropped: {muxer} cannot hold them.")
        else:
            copied.append(track.index)
    lost += [
        f"The sound of track {track.index} is dropped: its codec is not known, or it is damaged."
        for track in info.audio
        if not track.codec
    ]
    return tuple(copied), dropped + lost, lost


def choose_metadata(info: MediaInfo, keep: tuple[MetadataKind, ...]) -> tuple[dict[str, str], tuple[Chapter, ...], list[str]]:
    kept = set(keep)
    dropped = []
    metadata = {"comment": MADE_BY_VEIL}
    if {"tags", "all"} & kept:
        tags = {key: value for key, value in info.tags.items() if _is_text(key, value)}
        comment = next((value for key, value in tags.items() if key.lower() == "comment"), "")
        metadata = {key: value for key, value in tags.items() if key.lower() != "comment"}
        metadata["comment"] = f"{MADE_BY_VEIL}. {comment}" if comment else MADE_BY_VEIL
        others = sorted(key[:_LONGEST_KEY] for key in info.tags if key not in tags)
        if others:
            dropped.append(f"Tags are dropped, because they may hold a picture: {', '.join(others)}.")
    else:
        names = sorted(key for key in info.tags if not (key.lower() == "comment" and info.made_by_veil))
        if names:
            dropped.append(f"Tags are dropped: {', '.join(names)}.")
    chapters: tuple[Chapter, ...] = ()
    if info.chapters and {"chapters", "all"} & kept:
        chapters = tuple(
            Chapter(
                start=chapter["start"],
                end=chapter["end"],
                time_base=(chapter["time_base"].numerator, chapter["time_base"].denominator),
                title=_text(chapter["metadata"].get("title", "")),
            )
            for chapter in info.chapters
        )
    elif info.chapters:
        dropped.append(f"{len(info.chapters)} chapter marks are dropped.")
    return metadata, chapters, dropped


def _is_text(key: str, value: str) -> bool:
    """Whether a tag is words for people to read, and surely no picture in disguise."""
    return len(key) <= _LONGEST_KEY and _PICTURE_NAMES.search(key) is None and _text(value) == value


def _text(value: str) -> str:
    return "" if len(value) > _LONGEST_TEXT or _ENCODED.search(value) else value

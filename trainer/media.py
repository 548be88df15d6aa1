"""Anyone's own photos and videos as upright RGB pictures.

files, folders, patterns -> find_media -> open_media -> pictures of one file, in order
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainer.photos import PHOTO_SUFFIXES, Photo
from trainer.upright import MediaError, Picture
from trainer.videos import VIDEO_SUFFIXES, Video

_HASHED_BYTES = 1 << 20
"""Of the beginning and the end of a file, which with its length tell it from any other."""


class Media(Protocol):
    """One photo or video."""

    @property
    def damage(self) -> str:
        """After the iteration: a sentence about what could not be read; empty where all was read."""
        ...

    def __iter__(self) -> Iterator[Picture]:
        """The pictures in order; to be iterated once. Raises MediaError where there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the arguments of a command stand for."""

    files: tuple[Path, ...]
    """Each once, in a fixed order."""
    missing: tuple[str, ...]
    """A line for each argument that stands for nothing."""


def find_media(inputs: Sequence[str], *, outside: Path) -> Found:
    """Files as they are, folders with everything below them that has a suffix of photos or videos, and patterns.

    outside: folder from which nothing is taken. Hidden files and folders are passed over.
    """
    files: dict[Path, Path] = {}
    missing = []
    barred = outside.resolve()
    for text in inputs:
        names = [text] if os.path.lexists(text) else sorted(glob.glob(text, recursive=True))
        found = [file for name in names for file in _below(Path(name))]
        if not found:
            why = "no such file or folder" if not names else "holds no photos or videos"
            missing.append(f"{text}: {why}")
        for file in found:
            resolved = file.resolve()
            if not resolved.is_relative_to(barred):
                files.setdefault(resolved, file)
    return Found(files=tuple(files.values()), missing=tuple(missing))


def _below(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        yield place
        return
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in PHOTO_SUFFIXES | VIDEO_SUFFIXES:
                yield Path(folder, name)


def fingerprint(path: Path) -> str:
    """Of the content, 16 hexadecimal digits: the same wherever the file lies and whatever it is called. Raises MediaError."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(str(size).encode() + file.read(_HASHED_BYTES))
            file.seek(max(0, size - _HASHED_BYTES))
            digest.update(file.read(_HASHED_BYTES))
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror}") from error
    if not size:
        raise MediaError(f"{path}: is empty (zero bytes)")
    return digest.hexdigest()[:16]


def open_media(path: Path, every_s: float) -> Media:
    """every_s: seconds between the pictures that are taken of a video."""
    return Photo(path) if path.suffix.lower() in PHOTO_SUFFIXES else Video(path, every_s)

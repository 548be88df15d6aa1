"""The folder of a stream's recordings: names, what a crash has left, and the limits of age and size."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import av

from streamer.errors import OutputError

_LEAST_FREE_BYTES = 32 << 20
"""With less, a recording is not begun: it would end at once."""


class RecordingFolder:
    """Files `STREAM_YYYYmmdd-HHMMSS.SUFFIX` of one stream, hidden and with `.part` behind while they grow.

    No other file is touched. Errors of the disk are raised as OutputError that names the folder.
    """

    def __init__(self, folder: Path, stream: str, suffix: str, *, keep_bytes: float | None, keep_s: float | None) -> None:
        self._folder = folder
        self._stream = stream
        self._suffix = suffix
        self._keep_bytes = keep_bytes
        self._keep_s = keep_s
        self._growing: BinaryIO | None = None
        """Open and locked, so that another process that looks for leftovers leaves it alone."""
        self._finished = re.compile(rf"{re.escape(stream)}_\d{{8}}-\d{{6}}(_\d+)?\.(mp4|mkv)")

    def prepare(self) -> None:
        """Give what a crash has left its name, or remove it where nothing in it can be seen. Makes the folder if it is missing."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            leftovers = [path for path in self._folder.iterdir() if self._is_unfinished(path)]
            for path in sorted(leftovers):
                if _is_locked(path):
                    continue
                if _has_pictures(path):
                    self._rename(path)
                else:
                    path.unlink()
        except OSError as error:
            raise self._failed(error) from None

    def begin(self) -> Path:
        """The temporary name of a recording that begins now; the disk has room for a beginning at least."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self._folder).free < _LEAST_FREE_BYTES:
                raise OutputError(f"{self._folder}: no space left on the disk")
            stem = f"{self._stream}_{datetime.now().astimezone():%Y%m%d-%H%M%S}"
            for number in range(1, 1000):
                name = f"{stem}{self._suffix}" if number == 1 else f"{stem}_{number}{self._suffix}"
                temporary = self._temporary(name)
                if not (self._folder / name).exists() and not temporary.exists():
                    self._growing = temporary.open("xb")
                    fcntl.flock(self._growing, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return temporary
        except OSError as error:
            raise self._failed(error) from None
        raise OutputError(f"{self._folder}: {stem}{self._suffix} and all names like it are taken")

    def finish(self, temporary: Path) -> None:
        """Give the recording that was begun last its name: it is complete."""
        try:
            self._rename(temporary)
            if self._growing is not None:
                self._growing.close()
                self._growing = None
        except OSError as error:
            raise self._failed(error) from None

    def tidy(self) -> None:
        """Delete what is older than wished, and the oldest while all together take more than wished; one that grows counts."""
        try:
            entries = [(entry.stat(), Path(entry.path)) for entry in os.scandir(self._folder) if entry.is_file()]
            total = sum(found.st_size for found, path in entries if self._is_finished(path) or self._is_unfinished(path))
            ages = sorted((found.st_mtime, found.st_size, path) for found, path in entries if self._is_finished(path))
            for ended, size, path in ages:
                is_too_old = self._keep_s is not None and time.time() - ended > self._keep_s
                is_too_much = self._keep_bytes is not None and total > self._keep_bytes
                if is_too_old or is_too_much:
                    path.unlink(missing_ok=True)
                    total -= size
        except OSError as error:
            raise self._failed(error) from None

    def _rename(self, temporary: Path) -> None:
        """When it is safe on the disk, so that a power cut leaves no empty file."""
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.rename(self._folder / temporary.name[1:].removesuffix(".part"))

    def _temporary(self, name: str) -> Path:
        return self._folder / f".{name}.part"

    def _is_finished(self, path: Path) -> bool:
        return self._finished.fullmatch(path.name) is not None

    def _is_unfinished(self, path: Path) -> bool:
        name = path.name
        return name.startswith(".") and name.endswith(".part") and self._finished.fullmatch(name[1:-5]) is not None

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"{self._folder}: {error.strerror or 'cannot be written'}")


def _is_locked(path: Path) -> bool:
    """Whether a process records into it at this moment."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _has_pictures(path: Path) -> bool:
    """Whether at least one picture of an unfinished file can be decoded."""
    if path.stat().st_size == 0:
        return False
    try:
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
            return next(container.decode(video=0), None) is not None
    except (av.FFmpegError, IndexError):
        return False

"""An output that has its final name only when it is complete."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from streamer.errors import OutputError

_LONGEST_STEM_BYTES = 200
"""Leaves room in a file name (255 bytes) for what marks it as temporary."""

_TEMPORARY = re.compile(r"\.(?P<stem>.*)\.veil-[a-z0-9_]{8}\.part(?P<suffix>(\.[^.]*)?)", re.DOTALL)


class TemporaryOutput:
    """A file `.NAME.veil-XXXX.part.SUFFIX` beside the final one, on the same file system.

    While it is in use, this process holds a lock on it (flock), by which `remove_stale` knows what nobody needs any more.
    Raises OutputError where it cannot be made. `discard` is for every end; after `commit` there is nothing left to discard.
    """

    def __init__(self, final: Path, *, is_private: bool = False) -> None:
        """is_private: only its owner may read it, also under the final name."""
        self.final = final
        self._mode = 0o600 if is_private else 0o666
        try:
            self._descriptor, self.path = self._make()
            while not os.fstat(self._descriptor).st_nlink:  # removed before it was locked
                os.close(self._descriptor)
                self._descriptor, self.path = self._make()
        except OSError as error:
            raise OutputError(f"{final.parent}: cannot be written: {error.strerror}") from None
        self._is_locked = True

    def commit(self, *, overwrite: bool) -> None:
        """Give the file its final name. Raises OutputError, unless `overwrite`, if something has come to bear that name."""
        try:
            self._settle()
            if overwrite:
                os.replace(self.path, self.final)
            else:
                self._rename_to_new()
        except FileExistsError:
            raise OutputError(f"{self.final}: exists by now; use --overwrite to replace it") from None
        except OSError as error:
            raise OutputError(f"{self.final}: cannot be written: {error.strerror}") from None
        self._release()

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        self.path.unlink(missing_ok=True)
        self._release()

    def _make(self) -> tuple[int, Path]:
        """An open descriptor and the name of an empty file, locked where the file system knows locks."""
        stem, suffix = _stem(self.final), f".part{self.final.suffix}"
        descriptor, name = tempfile.mkstemp(prefix=f".{stem}.veil-", suffix=suffix, dir=self.final.parent)
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor, Path(name)

    def _release(self) -> None:
        if self._is_locked:
            os.close(self._descriptor)
            self._is_locked = False

    def _settle(self) -> None:
        """On the disk before it has the name, so that a power cut leaves no empty file; readable as any new file or private."""
        mask = os.umask(0)
        os.umask(mask)
        with self.path.open("rb") as written:
            os.fchmod(written.fileno(), self._mode & ~mask)
            os.fsync(written.fileno())

    def _rename_to_new(self) -> None:
        """A link, unlike a rename, never replaces; where there are no links, look first."""
        try:
            os.link(self.path, self.final)
        except FileExistsError:
            raise
        except OSError:
            if self.final.exists():
                raise FileExistsError(self.final) from None
            os.replace(self.path, self.final)
        else:
            self.path.unlink()


def remove_stale(outputs: Iterable[Path]) -> None:
    """Remove what runs that were killed have left of these outputs: temporary files of theirs on which nobody holds a lock."""
    wanted: defaultdict[Path, set[tuple[str, str]]] = defaultdict(set)
    for output in outputs:
        wanted[output.parent].add((_stem(output), output.suffix))
    for folder, names in wanted.items():
        # What cannot be looked at or removed stays; it is in nobody's way.
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                found = _TEMPORARY.fullmatch(name)
                if found and (found["stem"], found["suffix"]) in names:
                    _remove_unless_locked(folder / name)


def _remove_unless_locked(path: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)


def _stem(output: Path) -> str:
    """Of the name, as much as fits."""
    return os.fsencode(output.stem)[:_LONGEST_STEM_BYTES].decode(errors="ignore")

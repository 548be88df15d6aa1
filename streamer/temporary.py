"""An output that has its final name only when it is complete."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from streamer.errors import OutputError

_LONGEST_STEM_BYTES = 200
"""Leaves room in a file name (255 bytes) for what marks it as temporary."""


class TemporaryOutput:
    """A file `.NAME.veil-XXXX.part.SUFFIX` beside the final one, on the same file system.

    Raises OutputError where it cannot be made. `discard` is for every end; after `commit` there is nothing left to discard.
    """

    def __init__(self, final: Path, *, is_private: bool = False) -> None:
        """is_private: only its owner may read it, also under the final name."""
        self.final = final
        self._mode = 0o600 if is_private else 0o666
        stem = os.fsdecode(os.fsencode(final.stem)[:_LONGEST_STEM_BYTES])
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{stem}.veil-", suffix=f".part{final.suffix}", dir=final.parent)
        except OSError as error:
            raise OutputError(f"{final.parent}: cannot be written: {error.strerror}") from None
        os.close(descriptor)
        self.path = Path(name)

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

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        self.path.unlink(missing_ok=True)

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

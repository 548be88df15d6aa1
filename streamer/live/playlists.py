"""HLS playlists between runs: the end mark, and segments that nobody asks for any more."""

from __future__ import annotations

import os
import re
from pathlib import Path

_END = "#EXT-X-ENDLIST"


def end_playlist(playlist: Path) -> None:
    """Tell players that nothing follows. Raises OSError."""
    if playlist.exists():
        _replace(playlist, [*_lines(playlist), _END])


def reopen_playlist(playlist: Path) -> None:
    """Take the end mark back, so that what follows is taken as its continuation. Raises OSError."""
    if playlist.exists():
        _replace(playlist, _lines(playlist))


def remove_leftovers(playlist: Path) -> None:
    """Delete segments of this playlist that it does not name any more. Raises OSError."""
    named = set(_lines(playlist)) if playlist.exists() else set()
    own = re.compile(rf"{re.escape(playlist.stem)}-\d+\.ts(\.tmp)?")
    for path in playlist.parent.iterdir():
        if own.fullmatch(path.name) and path.name not in named:
            path.unlink(missing_ok=True)


def _lines(playlist: Path) -> list[str]:
    return [line for line in playlist.read_text(errors="replace").splitlines() if line != _END]


def _replace(playlist: Path, lines: list[str]) -> None:
    temporary = playlist.with_name(f"{playlist.name}.tmp")
    temporary.write_text("".join(f"{line}\n" for line in lines))
    os.replace(temporary, playlist)

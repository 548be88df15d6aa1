"""Whether a file bears the mark that every output of Veil has; names prove nothing."""

from __future__ import annotations

from pathlib import Path

from streamer.errors import InputError
from streamer.images import is_made_by_veil
from streamer.opening import check_readable, open_input
from streamer.probe import IMAGE_SUFFIXES, is_veil_comment


def bears_mark(path: Path) -> bool:
    """Whether Veil made this photo or video; False where it cannot be read as what its suffix says."""
    try:
        check_readable(path)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return is_made_by_veil(path)
        with open_input(path) as container:
            return is_veil_comment(container.metadata)
    except InputError:
        return False

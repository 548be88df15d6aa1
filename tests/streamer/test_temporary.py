"""Outputs that bear their final name only when they are complete."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from streamer.errors import OutputError
from streamer.temporary import TemporaryOutput


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_final_name_appears_with_the_commit(tmp_path: Path) -> None:
    temporary = TemporaryOutput(tmp_path / "clip.mp4")
    assert temporary.path.parent == tmp_path
    assert temporary.path.name.startswith(".clip.veil-")
    assert temporary.path.name.endswith(".part.mp4")
    temporary.path.write_bytes(b"done")
    temporary.commit(overwrite=False)
    assert names(tmp_path) == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == b"done"
    temporary.discard()
    assert names(tmp_path) == ["clip.mp4"]


def test_what_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    TemporaryOutput(tmp_path / "clip.mp4").discard()
    assert names(tmp_path) == []


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    temporary = TemporaryOutput(tmp_path / "clip.mp4")
    (tmp_path / "clip.mp4").write_bytes(b"somebody else's")
    with pytest.raises(OutputError, match=r"clip\.mp4: exists by now"):
        temporary.commit(overwrite=False)
    temporary.discard()
    assert (tmp_path / "clip.mp4").read_bytes() == b"somebody else's"
    assert names(tmp_path) == ["clip.mp4"]


def test_it_is_replaced_where_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"old")
    temporary = TemporaryOutput(tmp_path / "clip.mp4")
    temporary.path.write_bytes(b"new")
    temporary.commit(overwrite=True)
    assert (tmp_path / "clip.mp4").read_bytes() == b"new"
    assert names(tmp_path) == ["clip.mp4"]


def test_the_output_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        temporary = TemporaryOutput(tmp_path / "clip.mp4")
        temporary.commit(overwrite=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "clip.mp4").stat().st_mode) == 0o640


def test_a_private_output_is_for_its_owner(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        temporary = TemporaryOutput(tmp_path / "proof.html", is_private=True)
        temporary.commit(overwrite=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "proof.html").stat().st_mode) == 0o600


def test_a_long_name_leaves_room_for_the_mark(tmp_path: Path) -> None:
    name = "ö" * 124 + ".mp4"
    temporary = TemporaryOutput(tmp_path / name)
    temporary.commit(overwrite=False)
    assert names(tmp_path) == [name]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="none: cannot be written: No such file or directory"):
        TemporaryOutput(tmp_path / "none" / "clip.mp4")

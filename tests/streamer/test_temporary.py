"""Outputs that bear their final name only when they are complete."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.errors import OutputError
from streamer.temporary import TemporaryOutput, remove_stale


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


def test_a_long_name_is_not_cut_within_a_character(tmp_path: Path) -> None:
    name = "x" + "ö" * 123 + ".mp4"
    temporary = TemporaryOutput(tmp_path / name)
    str(temporary.path).encode()
    remove_stale([tmp_path / name])
    assert temporary.path.exists()
    temporary.commit(overwrite=False)
    assert names(tmp_path) == [name]


def leave_behind(final: Path) -> Path:
    """What a process leaves that is killed while it writes."""
    code = "import os, sys\nfrom pathlib import Path\nfrom streamer.temporary import TemporaryOutput\n"
    code += "print(TemporaryOutput(Path(sys.argv[1])).path, flush=True)\nos.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", code, final], capture_output=True, text=True, check=False)
    assert killed.returncode == -9
    return Path(killed.stdout.strip())


def test_what_a_killed_run_left_of_an_output_is_removed(tmp_path: Path) -> None:
    final, other = tmp_path / "clip.mp4", tmp_path / "clip.b.mp4"
    at_work, left, of_other = TemporaryOutput(final), leave_behind(final), leave_behind(other)
    assert left.exists()
    strangers = [
        tmp_path / ".clip.veil-abc.part.mp4",
        tmp_path / ".clip.veil-12345678.part.mkv",
        tmp_path / "clip.veil-12345678.part.mp4",
    ]
    for stranger in strangers:
        stranger.touch()
    (tmp_path / ".clip.veil-abcdefgh.part.mp4").symlink_to(strangers[0])

    remove_stale([final, tmp_path / "none" / "clip.mp4"])

    assert not left.exists()
    assert all(path.exists() for path in (at_work.path, of_other, *strangers))
    at_work.commit(overwrite=False)
    assert final.exists()
    remove_stale([other])
    assert not of_other.exists()


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(3):
        temporary = TemporaryOutput(tmp_path / f"{number}.mp4")
        if number:
            temporary.commit(overwrite=False)
        temporary.discard()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="none: cannot be written: No such file or directory"):
        TemporaryOutput(tmp_path / "none" / "clip.mp4")

"""What a terminal gets of names that would steer it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamer.escaping import is_encodable, printable
from tests.command import veil


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Müller's 写真 👩‍👧 .jpg", "Müller's 写真 👩‍👧 .jpg"),
        ("a\x1b[31m.mp4", r"a\x1b[31m.mp4"),
        ("a\nb\r\t\x7f\x9b", r"a\nb\r\t\x7f\x9b"),
        ("gpj.\u202eexe\u2028", r"gpj.\u202eexe\u2028"),
        (os.fsdecode(b"bad\xff.mp4"), r"bad\xff.mp4"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_steers_a_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_is_kept_stays() -> None:
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


def test_names_of_bytes_that_are_not_utf8_are_recognized() -> None:
    assert is_encodable("ö")
    assert not is_encodable(os.fsdecode(b"\xff"))


def test_no_control_character_of_a_name_reaches_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "a\x1b]0;title\x07\n.mp4").write_text("no video")
    bad = tmp_path / os.fsdecode(b"bad\xff.mp4")
    bad.write_text("no video")

    run = veil("anonymize", *sorted(tmp_path.iterdir()), "-o", tmp_path / "safe", cwd=tmp_path)

    assert run.returncode == 3, run.stderr
    assert not {"\x1b", "\x07"} & set(run.stderr)
    assert r"a\x1b]0;title\x07\n.mp4: is not a media file" in run.stderr
    assert r"bad\xff.mp4: its name is not UTF-8; rename it" in run.stderr
    assert "Traceback" not in run.stderr

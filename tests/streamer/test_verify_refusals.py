"""`veil verify` says in one line what it cannot compare or will not do, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from streamer.errors import ExitCode
from streamer.images import SOFTWARE
from streamer.probe import MADE_BY_VEIL
from tests.media import Clip, write_clip
from tests.streamer.portraits import (
    FRAMES,
    blackout,
    frame,
    nothing,
    verify,
    write_footage,
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_footage(tmp_path_factory.mktemp("original") / "clip.mp4", [nothing] * FRAMES)


def small(path: Path) -> None:
    write_footage(path, [blackout] * 2, width=200)


def text(path: Path) -> None:
    path.write_text("no video at all\n" * 20)


def photo(path: Path) -> None:
    Image.fromarray(frame(0)).save(path)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("missing.mp4", lambda path: None, "no such file"),
        ("small.mp4", small, "its pictures are 200x180, those of"),
        ("text.mp4", text, "is not a media file"),
        ("empty.mp4", Path.touch, "is empty"),
        ("photo.png", photo, "is a photo, but"),
        ("folder", Path.mkdir, "is a folder"),
    ],
)
def test_what_cannot_be_compared_gives_one_line_and_exit_code_3(
    original: Path, tmp_path: Path, name: str, make: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / name)
    before = sorted(tmp_path.iterdir())

    assert verify(original, tmp_path / name, "--report", tmp_path / "proof.json") == ExitCode.INPUT

    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.startswith(f"veil verify: {tmp_path / name}: ")
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--every", "0"], "argument --every: must be a whole number from 1, is 0"),
        (["--every", "x"], "argument --every: must be a whole number from 1, is x"),
        (["--max-exposed", "1.5"], "argument --max-exposed: must be a number from 0 to 1, is 1.5"),
        (["--threshold", "1"], "argument --threshold: must be a number above 0 and below 1, is 1"),
        (["--report", "clip.mp4"], "clip.mp4: would replace an input"),
        (["--report", "done.json"], "done.json exists; --overwrite replaces it"),
        (["--report", "a", "--page", "a"], "a: --report and --page need different names"),
        (["--page", "."], ".: is a folder"),
    ],
)
def test_wrong_arguments_give_one_line_and_exit_code_2(
    original: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("clip.mp4", "copy.mp4"):
        Path(name).write_bytes(original.read_bytes())
    Path("done.json").write_text("precious")

    assert verify("clip.mp4", "copy.mp4", *arguments) == ExitCode.USAGE

    assert capsys.readouterr().err.startswith(f"veil verify: {message}")
    assert Path("done.json").read_text() == "precious"


@pytest.mark.parametrize("name", ["safe.mp4", "safe.mkv", "safe.png", "safe.jpg"])
def test_what_veil_made_is_no_original(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / name, tmp_path / f"original{Path(name).suffix}"):
        if path.suffix in (".png", ".jpg"):
            exif = Image.Exif()
            exif[305] = SOFTWARE if path.stem == "safe" else "a camera"
            Image.fromarray(frame(0)).save(path, exif=exif)
        else:
            write_clip(path, Clip(metadata={"comment": f"{MADE_BY_VEIL} 1.0"} if path.stem == "safe" else {}))
    before = sorted(tmp_path.iterdir())

    assert verify(*before[::-1], "--page", tmp_path / "proof.html", "--report", tmp_path / "proof.json") == ExitCode.USAGE

    shown = capsys.readouterr()
    assert shown.err.startswith(f"veil verify: {tmp_path / name}: was made by Veil and is no original; name the original first")
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_against_itself_and_a_folder_that_is_not_there_are_refused(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(original, original) == ExitCode.INPUT
    assert "is the original itself" in capsys.readouterr().err
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(original.read_bytes())
    assert verify(original, copy, "--report", tmp_path / "nowhere" / "proof.json") == ExitCode.OUTPUT
    assert capsys.readouterr().err.count("\n") == 1

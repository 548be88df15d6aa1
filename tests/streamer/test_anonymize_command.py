"""What `veil anonymize` says at its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from streamer.cli import main
from streamer.errors import ExitCode
from streamer.images import SOFTWARE


@pytest.fixture
def trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, and in `safe` the outputs of all that it holds."""
    monkeypatch.chdir(tmp_path)
    for name in ("trip", "safe"):
        Path(name).mkdir()
    return Path("trip")


def add(folder: Path, name: str) -> None:
    """A photo and its output."""
    Image.new("RGB", (16, 16)).save(folder / name)
    exif = Image.Exif()
    exif[305] = SOFTWARE
    Image.new("RGB", (16, 16)).save(Path("safe") / name, exif=exif)


def said(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    with pytest.raises(SystemExit) as left:
        main(["anonymize", "trip", "-o", "safe", "--filter", "blackout", *options])
    assert left.value.code == ExitCode.DONE
    return capsys.readouterr().err.splitlines()


def test_a_single_file_that_is_skipped_is_named(trip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(trip, "a.png")

    assert said(capsys) == ["skipped trip/a.png: its output exists: safe/a.png"]
    assert said(capsys, "-q") == []


def test_few_files_that_are_skipped_are_named_and_many_counted(trip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        add(trip, f"{number}.png")
    names = [f"skipped trip/{number}.png: its output exists: safe/{number}.png" for number in range(6)]

    assert said(capsys) == [*names[:5], "0 files done, 5 files skipped"]

    add(trip, "5.png")
    assert said(capsys) == [
        "skipped 6 files, whose outputs exist or which Veil has made (-v names them)",
        "0 files done, 6 files skipped",
    ]
    assert said(capsys, "-v") == [*names, "0 files done, 6 files skipped"]


def test_what_a_folder_holds_beside_is_counted_or_named(trip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(trip, "a.png")
    for name in ("b.heic", "c.heic"):
        (trip / name).touch()

    assert said(capsys)[1:] == [
        "passed over 2 files of other kinds: 2 .heic (-v names them; Veil reads photos as JPEG, PNG, WebP and TIFF)"
    ]
    assert said(capsys, "-v")[1:] == ["passed over trip/b.heic", "passed over trip/c.heic"]
    assert said(capsys, "-q") == []

"""What goes wrong around a run: each is one clear line and an exit code, and nothing is overwritten."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import msgspec
import pytest
from loguru import logger

from tests.trainer.test_import_export import veil_train
from trainer.checkpoint import CheckpointError, list_checkpoints, load_newest, save_checkpoint
from trainer.config import Settings, TrainSettings, to_yaml
from trainer.loop import Run

Usage = namedtuple("Usage", "total used free")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def configured(settings: TrainSettings, folder: Path, group: str, **values: object) -> Path:
    part: Settings = msgspec.structs.replace(getattr(settings, group), **values)
    path = folder / "config.yaml"
    path.write_text(to_yaml(msgspec.structs.replace(settings, **{group: part})), "utf-8")
    return path


def test_too_little_disk_is_one_line_and_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, 100, {"weights": 1}, kept=1)
    before = contents(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 90, 10))
    with pytest.raises(CheckpointError, match=r"0 MiB are free, .* are needed; make room") as error:
        save_checkpoint(tmp_path, 200, {"weights": 2}, kept=1)
    assert "checkpoint-000000200.pt" in str(error.value)
    assert contents(tmp_path) == before
    assert load_newest(tmp_path)["weights"] == 1


def test_a_full_disk_ends_the_command_with_a_line(
    tmp_path: Path, small_settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configured(small_settings, tmp_path, "run", total_images=8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 90, 10))
    assert veil_train(monkeypatch, "fit", path, "-o", tmp_path / "run") == 5
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("veil-train fit: ")
    assert "are needed" in last
    assert not list_checkpoints(tmp_path / "run" / "checkpoints")
    assert not (tmp_path / "run" / "generator.safetensors").exists()


def test_a_folder_that_cannot_be_made_ends_the_command_with_a_line(
    tmp_path: Path, small_settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configured(small_settings, tmp_path, "run", total_images=8)
    (tmp_path / "file").write_text("in the way")
    assert veil_train(monkeypatch, "fit", path, "-o", tmp_path / "file" / "run") == 5
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("veil-train fit: ")
    assert "cannot be read or written: Not a directory" in last
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("group", "values", "exit_code", "message"),
    [
        ("run", {"precision": "float16"}, 2, "run.precision: float16 needs a GPU"),
        ("run", {"initial_weights": "none.safetensors"}, 2, "none.safetensors: no such file"),
        ("data", {"root": "nowhere"}, 3, "labels.csv: cannot be read"),
        ("data", {"min_score": 1.0}, 3, "no face to train on"),
    ],
)
def test_what_a_configuration_asks_in_vain_is_one_line(
    tmp_path: Path,
    small_settings: TrainSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    group: str,
    values: dict[str, object],
    exit_code: int,
    message: str,
) -> None:
    path = configured(small_settings, tmp_path, group, **values)
    assert veil_train(monkeypatch, "fit", path, "-o", tmp_path / "run") == exit_code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("veil-train fit: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "run").exists()


def test_resuming_with_another_architecture_is_one_line_that_names_the_difference(
    tmp_path: Path, small_settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.remove()
    Run(small_settings, tmp_path / "run").train(lambda run: run.stop())
    before = contents(tmp_path / "run")
    path = configured(small_settings, tmp_path, "network", generator_widths=(12, 16, 8))
    assert veil_train(monkeypatch, "fit", path, "-o", tmp_path / "run", "--resume") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "its generator has widths (12, 12), the configuration asks for (12, 16)" in last
    assert contents(tmp_path / "run") == before


def test_damaged_pictures_among_others_are_counted_and_named_at_the_end(
    tmp_path: Path, faces_folder: Path, small_settings: TrainSettings
) -> None:
    shutil.copytree(faces_folder, tmp_path / "faces")
    damaged = sorted((tmp_path / "faces").glob("*.jpg"))[::5]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:900])
    lines: list[str] = []
    logger.remove()
    logger.add(lambda line: lines.append(str(line)), format="{message}")
    settings = msgspec.structs.replace(
        small_settings,
        data=msgspec.structs.replace(small_settings.data, root=str(tmp_path / "faces"), validation_share=0.01),
        run=msgspec.structs.replace(small_settings.run, total_images=32),
    )
    run = Run(settings, tmp_path / "run")
    assert run.train()
    logger.remove()
    assert len(run.source.unreadable) == len(damaged) == 4
    (summary,) = [line for line in lines if "4 pictures could not be read" in line]
    assert all(str(path) in summary for path in damaged)

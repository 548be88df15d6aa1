"""The commands around weights: import of published checkpoints, export to ONNX, and their errors."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
import torch

from models.generator import Generator, GeneratorArchitecture, paper_architecture
from models.generator_weights import Provenance, load_generator, save_generator
from tests.models.test_generator_weights import version_2_names
from trainer.cli import main


def veil_train(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["veil-train", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_importing_prints_and_stores_the_terms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = Generator(paper_architecture(32, resolution=16))
    torch.save({"running_average_generator": version_2_names(network)}, tmp_path / "published.ckpt")
    arguments = ("import-deepprivacy", tmp_path / "published.ckpt", "-o", tmp_path / "imported.safetensors")
    assert veil_train(monkeypatch, *arguments) == 0
    assert "non-commercial" in capsys.readouterr().out
    loaded, provenance = load_generator(tmp_path / "imported.safetensors")
    assert "non-commercial" in provenance.terms
    assert loaded.state_dict()["to_rgb.weight"].equal(network.state_dict()["to_rgb.weight"])
    assert veil_train(monkeypatch, *arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert veil_train(monkeypatch, *arguments, "--overwrite") == 0


def test_importing_something_else_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photo.ckpt").write_bytes(b"not a checkpoint")
    assert veil_train(monkeypatch, "import-deepprivacy", tmp_path / "photo.ckpt", "-o", tmp_path / "out.safetensors") == 3
    error = capsys.readouterr().err
    assert "photo.ckpt" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.safetensors").exists()


def test_exporting_writes_a_model_that_names_its_terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Generator(GeneratorArchitecture(resolution=8, widths=(8, 8), epsilon=1e-6, has_mask=True))
    save_generator(tmp_path / "g.safetensors", network, Provenance(training_data="none", terms="for tests", images_seen=0))
    assert veil_train(monkeypatch, "export", tmp_path / "g.safetensors", "-o", tmp_path / "g.onnx") == 0
    model = onnx.load(tmp_path / "g.onnx")
    assert [node.name for node in model.graph.input] == ["image", "keypoints", "noise", "mask"]
    assert any("for tests" in entry.value for entry in model.metadata_props)
    assert veil_train(monkeypatch, "export", tmp_path / "g.onnx", "-o", tmp_path / "again.onnx") == 3

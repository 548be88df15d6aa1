"""A backend runs only weights that are what the manifest says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.backends import BACKENDS, open_backend
from models.weights import MANIFEST, PRETRAINED, WeightsError, read_manifest, read_weights

WEIGHTS = "centerface.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped weights that a test may damage."""
    for name in (WEIGHTS, MANIFEST):
        shutil.copy(PRETRAINED / name, tmp_path / name)
    return tmp_path


def assert_one_line(error: WeightsError, path: Path) -> None:
    message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_every_shipped_file_is_what_the_manifest_says() -> None:
    manifest = read_manifest()
    assert set(manifest) == {path.name for path in PRETRAINED.iterdir() if path.suffix not in {".md", ".json", ".jpg"}}
    for name in manifest:
        assert read_weights(name)


def test_one_changed_byte_is_noticed(folder: Path) -> None:
    path = folder / WEIGHTS
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged") as caught:
        read_weights(WEIGHTS, folder)
    assert_one_line(caught.value, path)


def test_truncated_weights_are_noticed(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="install the package again"):
        read_weights(WEIGHTS, folder)


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(WeightsError, match="cannot be read") as caught:
        read_weights(WEIGHTS, folder)
    assert_one_line(caught.value, folder / WEIGHTS)


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_manifest_is_named(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content)
    with pytest.raises(WeightsError) as caught:
        read_weights(WEIGHTS, folder)
    assert_one_line(caught.value, folder / MANIFEST)


def test_weights_that_nobody_vouches_for_are_refused(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps({}))
    with pytest.raises(WeightsError, match="not in manifest"):
        read_weights(WEIGHTS, folder)


def test_an_unknown_backend_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown backend 'abacus', use one of: cpu"):
        open_backend("abacus", WEIGHTS)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_takes_any_batch_and_any_multiple_of_32(name: str) -> None:
    backend = open_backend(name, WEIGHTS)
    assert backend.name == name
    assert backend.providers
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    (maps,) = backend.run([pictures])
    assert maps.shape == (3, 15, 16, 24)
    for picture, expected in zip(pictures, maps, strict=True):
        np.testing.assert_allclose(backend.run([picture[None]])[0][0], expected, atol=1e-4)
    assert backend.run([np.zeros((1, 32, 160, 3), np.uint8)])[0].shape == (1, 15, 8, 40)


def test_detection_needs_no_torch() -> None:
    code = "import sys, models.detectors, models.keypoints as k; k.open_keypoint_estimator('detector'); \
models.detectors.open_detector('centerface'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

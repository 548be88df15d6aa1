"""The Fréchet distance against its closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.features import FeatureError
from trainer.frechet import InceptionFeatures, frechet_distance


def test_a_set_has_no_distance_from_itself() -> None:
    values = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    assert frechet_distance(values, values[::-1]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("count", [5, 200])
def test_it_is_that_of_the_two_normal_distributions(count: int) -> None:
    """Fewer pictures than features too; the matrix root is taken by eigenvalues here."""
    random = np.random.default_rng(1)
    real, fake = random.standard_normal((count, 12)), random.standard_normal((count, 12)) * 1.7 + 0.3
    first, second = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = vectors @ np.diag(np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * shared
    distance = frechet_distance(real.astype(np.float32), fake.astype(np.float32))
    assert distance == pytest.approx(expected, rel=1e-4)


def test_a_shift_is_the_squared_length_of_the_shift() -> None:
    values = np.random.default_rng(2).standard_normal((30, 3)).astype(np.float32)
    assert frechet_distance(values, values + np.array([3, 4, 0], np.float32)) == pytest.approx(25, rel=1e-4)


def test_one_picture_has_no_distance() -> None:
    with pytest.raises(ValueError, match="at least 2 pictures"):
        frechet_distance(np.zeros((1, 3), np.float32), np.zeros((2, 3), np.float32))


@pytest.mark.parametrize("content", [None, b"", b"not a network"])
def test_a_file_that_is_no_network_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "inception.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FeatureError, match=r"inception\.pt: ") as caught:
        InceptionFeatures(path)
    assert "\n" not in str(caught.value)


class Means(torch.nn.Module):
    """Answers with the mean colour of each picture."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((2, 3))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_of_the_users_looks_at_bytes_at_its_own_size(tmp_path: Path) -> None:
    torch.jit.script(Means()).save(str(tmp_path / "inception.pt"))
    network = InceptionFeatures(tmp_path / "inception.pt")
    seen = network.look_at([np.full((20, 20, 3), 7, np.uint8), np.full((300, 300, 3), 9, np.uint8)])
    assert seen.tolist() == [[7.0] * 3, [9.0] * 3]

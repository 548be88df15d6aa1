"""The refiner: enlarges before it has learned anything, keeps what is known, and never sees what is hidden."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from models.generator import Generator, GeneratorArchitecture
from models.generator_weights import Provenance, parameter_count
from models.refiner import FACTOR, RefinedGenerator, Refiner, RefinerArchitecture, enlarge, load_refiner, save_refiner
from models.weights import WeightsError

PROVENANCE = Provenance(training_data="eight faces", terms="none", images_seen=8)
MASKED = GeneratorArchitecture(resolution=16, widths=(16, 12, 8), epsilon=1e-6, has_mask=True)


@pytest.fixture
def refiner() -> Refiner:
    torch.manual_seed(0)
    network = Refiner(RefinerArchitecture(width=8, blocks=2)).eval()
    nn.init.normal_(network.leave.weight)
    return network


@pytest.fixture
def given() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A coarse face, a crop and its mask."""
    random = torch.Generator().manual_seed(1)
    mask = torch.zeros((2, 1, 32, 32))
    mask[:, :, 7:25, 9:20] = 1
    return torch.rand((2, 3, 16, 16), generator=random) * 2 - 1, torch.rand((2, 3, 32, 32), generator=random) * 2 - 1, mask


def test_the_first_convolution_sees_the_sharp_pixels_behind_each_coarse_one(
    refiner: Refiner, given: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> None:
    coarse, image, mask = given
    nn.init.normal_(refiner.enter.bias)
    sharp = torch.cat((image, mask), 1)
    with torch.no_grad():
        entered = refiner._enter(coarse, sharp)
        expected = refiner.enter(torch.cat((coarse, functional.pixel_unshuffle(sharp, FACTOR)), 1))
    torch.testing.assert_close(entered, expected)


def test_an_untrained_refiner_enlarges_smoothly(given: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    coarse, image, mask = given
    refined = Refiner(RefinerArchitecture(width=8, blocks=1))(coarse, image, mask)
    assert torch.equal(refined, torch.where(mask > 0, enlarge(coarse), image))


@torch.no_grad()
def test_known_pixels_stay_and_hidden_ones_are_not_looked_at(
    refiner: Refiner, given: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> None:
    coarse, image, mask = given
    refined = refiner(coarse, image, mask)
    other = refiner(coarse, torch.where(mask > 0, -image, image), mask)
    assert torch.equal(refined, other)
    assert torch.equal(torch.where(mask > 0, 0.0, refined), torch.where(mask > 0, 0.0, image))
    assert (refined - enlarge(coarse))[mask.expand_as(refined) > 0].abs().mean() > 0.01


@torch.no_grad()
def test_a_refined_generator_never_sees_what_is_hidden(refiner: Refiner) -> None:
    """The hidden area is odd, so that coarse pixels lie across its edge."""
    network = RefinedGenerator(Generator(MASKED).eval(), refiner)
    random = torch.Generator().manual_seed(2)
    image = torch.rand((1, 3, 32, 32), generator=random) * 2 - 1
    mask = torch.zeros((1, 1, 32, 32))
    mask[:, :, 7:24, 9:20] = 1
    keypoints, noise = torch.rand((1, 14), generator=random), torch.randn((1, 32, 4, 4), generator=random)
    changed = torch.where(mask > 0, torch.rand((1, 3, 32, 32), generator=random) * 2 - 1, image)
    assert torch.equal(network(image, keypoints, noise, mask), network(changed, keypoints, noise, mask))


def test_only_a_generator_with_a_mask_is_refined(refiner: Refiner) -> None:
    with pytest.raises(ValueError, match="mask channel"):
        RefinedGenerator(Generator(GeneratorArchitecture(resolution=16, widths=(16, 12, 8))), refiner)


@pytest.mark.parametrize("shape", [{"width": 0}, {"blocks": 0}])
def test_a_refiner_without_channels_or_blocks_is_refused(shape: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        RefinerArchitecture(**shape)


def test_weights_are_read_back_as_written(refiner: Refiner, tmp_path: Path) -> None:
    save_refiner(tmp_path / "r.safetensors", refiner, PROVENANCE)
    loaded, provenance = load_refiner(tmp_path / "r.safetensors")
    assert (loaded.architecture, provenance) == (refiner.architecture, PROVENANCE)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in refiner.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "another"}, "not the weights of a refiner"),
        ({"sha256": "0"}, "do not match their checksum"),
        ({"architecture": "{}x"}, "its description cannot be read"),
        ({"architecture": '{"width": 4, "blocks": 2}'}, "do not fit the architecture"),
    ],
)
def test_damaged_weights_are_one_clear_error(refiner: Refiner, tmp_path: Path, change: dict[str, str], message: str) -> None:
    from safetensors import safe_open

    path = tmp_path / "r.safetensors"
    save_refiner(path, refiner, PROVENANCE)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, {**metadata, **change})
    with pytest.raises(WeightsError, match=message):
        load_refiner(path)


def test_the_default_refiner_fits_the_budget() -> None:
    """A few percent of the size of the generator that ships, 1.98 million."""
    assert parameter_count(Refiner(RefinerArchitecture())) < 100_000

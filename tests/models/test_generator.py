"""The generator: equal to the published code, its sizes, its mask, its growth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.generator import SLIM_WIDTHS, Generator, GeneratorArchitecture, MergeBlock, paper_architecture
from models.generator_weights import parameter_count, rename_published
from models.layers import GeneratorBlock, double
from tests.models.parity import needs_recordings, recorded

if TYPE_CHECKING:
    from torch import Tensor

SMALL = GeneratorArchitecture(resolution=16, widths=(16, 12, 8), epsilon=1e-6)
MASKED = GeneratorArchitecture(resolution=16, widths=(16, 12, 8), epsilon=1e-6, has_mask=True)


def inputs(architecture: GeneratorArchitecture, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    size = architecture.resolution
    image = torch.rand((batch, 3, size, size), generator=random) * 2 - 1
    return (
        image,
        torch.rand((batch, 2 * architecture.keypoints), generator=random),
        torch.randn((batch, 32, 4, 4), generator=random),
    )


def test_merging_parts_is_a_block_over_all_of_them_doubled_and_concatenated() -> None:
    torch.manual_seed(5)
    merge, plain = MergeBlock(12, 8, 1e-6), GeneratorBlock(12, 8, 1, 1e-6)
    torch.nn.init.normal_(merge.conv.bias)
    plain.load_state_dict(merge.state_dict())
    below, skip, pose = torch.randn(2, 4, 4, 4), torch.randn(2, 5, 8, 8), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        merged, expected = merge([below, skip, pose]), plain(torch.cat((double(below), skip, pose), 1))
    torch.testing.assert_close(merged, expected)


@needs_recordings
@pytest.mark.parametrize(("name", "alpha"), [("zrand_a1", 1.0), ("z0_a1", 1.0), ("zrand_a03", 0.3)])
def test_outputs_equal_the_published_code(name: str, alpha: float) -> None:
    values = recorded("generator")
    network = Generator(paper_architecture(32), is_fading=True)
    network.load_state_dict(
        rename_published({key.removeprefix("G/"): value for key, value in values.items() if key.startswith("G/")})
    )
    noise = values["z"] if "zrand" in name else torch.zeros_like(values["z"])
    with torch.no_grad():
        painted = network(values["condition"], values["keypoints"], noise, alpha=alpha)
    assert (painted - values[f"G_out_{name}"]).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("channels", "keypoints", "is_fading", "count"),
    [
        (512, 7, True, 46_926_726),
        (512, 7, False, 46_924_931),
        (256, 7, True, 11_744_710),
        (256, 7, False, 11_743_811),
        (256, 1, True, 11_736_262),
        (32, 7, True, 186_366),
    ],
)
def test_the_papers_generators_have_their_published_size(channels: int, keypoints: int, is_fading: bool, count: int) -> None:
    with torch.device("meta"):
        network = Generator(paper_architecture(channels, keypoints=keypoints), is_fading=is_fading)
    assert parameter_count(network) == count


@pytest.mark.parametrize(
    ("name", "count", "gigaflop"),
    [
        ("tiny64", 1_717_011, 0.64),
        ("small64", 2_518_707, 1.89),
        ("tiny128", 1_722_827, 0.83),
        ("medium128", 7_950_299, 6.25),
        ("large128", 15_337_587, 11.29),
    ],
)
def test_slim_widths_have_their_size_and_cost(name: str, count: int, gigaflop: float) -> None:
    widths = SLIM_WIDTHS[name]
    with torch.device("meta"):
        network = Generator(GeneratorArchitecture(resolution=4 << len(widths) - 1, widths=widths))
        size = network.architecture.resolution
        assert name.endswith(str(size))
        assert parameter_count(network) == count
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, size, size), torch.zeros(1, 14), torch.zeros(1, 32, 4, 4))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gigaflop, abs=0.005)


def test_every_table_of_slim_widths_is_tested() -> None:
    assert set(SLIM_WIDTHS) == {"tiny64", "small64", "tiny128", "medium128", "large128"}


def test_a_masked_generator_never_sees_what_the_mask_marks() -> None:
    network = Generator(MASKED)
    image, keypoints, noise = inputs(MASKED)
    mask = torch.zeros(2, 1, 16, 16)
    mask[:, :, 4:12, 4:12] = 1
    other = torch.where(mask > 0, torch.rand_like(image) * 2 - 1, image)
    with torch.no_grad():
        first, second = network(image, keypoints, noise, mask), network(other, keypoints, noise, mask)
    assert torch.equal(first, second)


def test_a_masked_generator_returns_known_pixels_unchanged_and_replaces_the_hidden() -> None:
    network = Generator(MASKED)
    image, keypoints, noise = inputs(MASKED)
    mask = (torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    with torch.no_grad():
        painted = network(image, keypoints, noise, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(painted[known], image[known])
    assert (painted[~known] != image[~known]).all()


@pytest.mark.parametrize("architecture", [SMALL, MASKED])
def test_a_mask_is_given_exactly_where_it_is_needed(architecture: GeneratorArchitecture) -> None:
    mask = None if architecture.has_mask else torch.zeros(2, 1, 16, 16)
    with pytest.raises(ValueError, match="mask"):
        Generator(architecture)(*inputs(architecture), mask)


def test_a_grown_generator_begins_as_the_small_one_did() -> None:
    """At alpha 0 it paints what the small one paints, in twice the pixels, whatever its new layers do."""
    grown_to = GeneratorArchitecture(resolution=32, widths=(16, 12, 8, 8), epsilon=1e-6)
    network = Generator(SMALL)
    large, keypoints, noise = inputs(grown_to)
    with torch.no_grad():
        small_painted = network(torch.nn.functional.avg_pool2d(large, 2), keypoints, noise)
        painted = network.grown(grown_to)(large, keypoints, noise, alpha=0.0)
    assert torch.allclose(painted, torch.nn.functional.interpolate(small_painted, scale_factor=2.0), atol=1e-5)


def test_growth_that_changes_old_widths_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps its widths"):
        Generator(SMALL).grown(GeneratorArchitecture(resolution=32, widths=(16, 12, 16, 8), epsilon=1e-6))


def test_keypoints_and_noise_change_what_is_painted() -> None:
    network = Generator(SMALL)
    image, keypoints, noise = inputs(SMALL)
    with torch.no_grad():
        painted = network(image, keypoints, noise)
        assert not torch.allclose(painted, network(image, 1 - keypoints, noise))
        assert not torch.allclose(painted, network(image, keypoints, -noise))


def test_gradients_reach_every_parameter() -> None:
    network = Generator(SMALL, is_fading=True)
    network(*inputs(SMALL), alpha=0.5).square().sum().backward()
    without = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert not without

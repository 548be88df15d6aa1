"""The discriminator: equal to the published code, its sizes, its growth."""

from __future__ import annotations

import re

import pytest
import torch

from models.discriminator import Discriminator, DiscriminatorArchitecture, paper_discriminator
from models.generator_weights import parameter_count
from tests.models.parity import needs_recordings, recorded

SMALL = DiscriminatorArchitecture(resolution=16, widths=(16, 12, 8))


def renamed(name: str) -> str:
    """A published name as it is called here."""
    owner, _, kind = name.rpartition(".")
    owner = owner.removesuffix(".conv").removesuffix(".linear")
    whole = {"from_rgb_new.0": "from_rgb.conv", "from_rgb_old.1.0": "from_rgb_old.conv", "output_layer": "output"}
    if owner in whole:
        return f"{whole[owner]}.{kind}"
    owner = re.sub(r"^new_block\.", "blocks.128.", owner)
    owner = re.sub(r"^core_model\.(\d)\.", lambda found: f"blocks.{64 >> int(found[1])}.", owner)
    owner = re.sub(r"\.1\.conv\.(\d)\.0$", r".1.\1.conv", owner) if ".conv." in owner else owner.removesuffix(".0") + ".conv"
    return f"{owner}.{kind}"


@needs_recordings
@pytest.mark.parametrize(("kind", "prefix"), [("wide", "D"), ("deep", "DD")])
@pytest.mark.parametrize(("name", "alpha"), [("a1", 1.0), ("a03", 0.3)])
def test_scores_equal_the_published_code(kind: str, prefix: str, name: str, alpha: float) -> None:
    values, given = recorded("discriminators"), recorded("generator")
    network = Discriminator(paper_discriminator(32, kind="wide" if kind == "wide" else "deep"), is_fading=True)
    weights = {renamed(key.removeprefix(f"{prefix}/")): value for key, value in values.items() if key.startswith(f"{prefix}/")}
    network.load_state_dict({key: value.reshape(-1) if key.endswith("bias") else value for key, value in weights.items()})
    for image, scores in ((given["image"], "real"), (given[f"G_out_zrand_{name}"], "fake")):
        with torch.no_grad():
            found = network(image, given["condition"], given["keypoints"], alpha=alpha)
        assert (found - values[f"{prefix}_{scores}_{name}"]).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("channels", "kind", "is_fading", "count"),
    [
        (512, "wide", True, 45_528_881),
        (512, "wide", False, 45_526_361),
        (256, "wide", True, 11_409_753),
        (256, "wide", False, 11_408_521),
        (256, "deep", True, 11_170_753),
        (32, "wide", True, 148_393),
        (32, "deep", True, 176_441),
    ],
)
def test_the_papers_discriminators_have_their_published_size(channels: int, kind: str, is_fading: bool, count: int) -> None:
    with torch.device("meta"):
        network = Discriminator(paper_discriminator(channels, kind="wide" if kind == "wide" else "deep"), is_fading=is_fading)
    assert parameter_count(network) == count


@pytest.mark.parametrize("kind", ["wide", "deep"])
def test_a_grown_discriminator_begins_as_the_small_one_did(kind: str) -> None:
    small = DiscriminatorArchitecture(resolution=16, widths=(16, 12, 8), kind="wide" if kind == "wide" else "deep")
    large = DiscriminatorArchitecture(resolution=32, widths=(16, 12, 8, 8), kind=small.kind)
    network = Discriminator(small)
    images, keypoints = torch.randn(2, 2, 3, 32, 32), torch.rand(2, 14)
    halved = [torch.nn.functional.avg_pool2d(image, 2) for image in images]
    with torch.no_grad():
        expected = network(*halved, keypoints)
        assert torch.allclose(network.grown(large)(*images, keypoints, alpha=0.0), expected, atol=1e-5)


def test_a_mask_is_given_exactly_where_it_is_needed() -> None:
    image, keypoints = torch.zeros(1, 3, 16, 16), torch.zeros(1, 14)
    with pytest.raises(ValueError, match="mask"):
        Discriminator(SMALL)(image, image, keypoints, torch.zeros(1, 1, 16, 16))


def test_image_condition_and_keypoints_change_the_score() -> None:
    network = Discriminator(SMALL)
    image, condition, keypoints = torch.randn(1, 3, 16, 16), torch.randn(1, 3, 16, 16), torch.rand(1, 14)
    with torch.no_grad():
        score = network(image, condition, keypoints)
        assert score != network(-image, condition, keypoints)
        assert score != network(image, -condition, keypoints)
        assert score != network(image, condition, 1 - keypoints)


def test_gradients_reach_every_parameter() -> None:
    for kind in ("wide", "deep"):
        architecture = DiscriminatorArchitecture(resolution=16, widths=(16, 12, 8), kind="wide" if kind == "wide" else "deep")
        network = Discriminator(architecture, is_fading=True)
        images = torch.randn(2, 2, 3, 16, 16)
        network(*images, torch.rand(2, 14), alpha=0.5).square().sum().backward()
        assert not [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]

"""The feature network equals its definition, and nothing but the heads is trained or saved."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainer import features
from trainer.config import TrainSettings
from trainer.features import FeatureDiscriminator, FeatureError, load_backbone
from trainer.loop import Run

BLOCKS = (
    # kernel, stride, expansion, inputs, outputs
    (3, 1, 1, 32, 16),
    (3, 2, 6, 16, 24), (3, 1, 6, 24, 24),
    (5, 2, 6, 24, 40), (5, 1, 6, 40, 40),
    (3, 2, 6, 40, 80), (3, 1, 6, 80, 80), (3, 1, 6, 80, 80),
    (5, 1, 6, 80, 112), (5, 1, 6, 112, 112), (5, 1, 6, 112, 112),
    (5, 2, 6, 112, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192),
    (3, 1, 6, 192, 320),
)  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the published layout."""
    random = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}

    def add(conv: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        weights[f"{conv}.weight"] = (
            torch.randn((outputs, inputs, kernel, kernel), generator=random) * (2 / inputs / kernel**2) ** 0.5
        )
        weights[f"{norm}.weight"] = 0.5 + torch.rand(outputs, generator=random)
        weights[f"{norm}.bias"] = torch.randn(outputs, generator=random) * 0.1
        weights[f"{norm}.running_mean"] = torch.randn(outputs, generator=random) * 0.1
        weights[f"{norm}.running_var"] = 0.5 + torch.rand(outputs, generator=random)
        weights[f"{norm}.num_batches_tracked"] = torch.tensor(1)

    add("_conv_stem", "_bn0", 32, 3, 3)
    for number, (kernel, _, expansion, inputs, outputs) in enumerate(BLOCKS):
        block, wide = f"_blocks.{number}", inputs * expansion
        if expansion > 1:
            add(f"{block}._expand_conv", f"{block}._bn0", wide, inputs, 1)
        add(f"{block}._depthwise_conv", f"{block}._bn1", wide, 1, kernel)
        add(f"{block}._project_conv", f"{block}._bn2", outputs, wide, 1)
    add("_conv_head", "_bn1", 1280, 320, 1)
    weights |= {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    path = tmp_path_factory.mktemp("weights") / "lite0.pth"
    torch.save(weights, path)
    return path


def reference(weights: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """The network as it is defined, with its batch norms and with the padding of TensorFlow spelt out."""

    def layer(values: Tensor, conv: str, norm: str, stride: int, groups: int, *, is_linear: bool) -> Tensor:
        weight = weights[f"{conv}.weight"]
        kernel = weight.shape[-1]
        # All sizes here are even: stride 2 needs kernel - 2 pixels of padding, the odd one at the end.
        total = kernel - stride if stride == 2 else kernel - 1
        values = functional.pad(values, (total // 2, total - total // 2) * 2)
        values = functional.conv2d(values, weight, stride=stride, groups=groups)
        statistics = [weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        values = functional.batch_norm(values, *statistics, eps=1e-3)
        return values if is_linear else values.clamp(0, 6)

    pixels = (images + 1) * 127.5
    values = layer((pixels - 127) / 128, "_conv_stem", "_bn0", 2, 1, is_linear=False)
    outputs = []
    for number, (_, stride, expansion, inputs, width) in enumerate(BLOCKS):
        block, before = f"_blocks.{number}", values
        if expansion > 1:
            values = layer(values, f"{block}._expand_conv", f"{block}._bn0", 1, 1, is_linear=False)
        values = layer(values, f"{block}._depthwise_conv", f"{block}._bn1", stride, inputs * expansion, is_linear=False)
        values = layer(values, f"{block}._project_conv", f"{block}._bn2", 1, 1, is_linear=True)
        if stride == 1 and inputs == width:
            values = values + before
        outputs.append(values)
    return [outputs[number] for number in features.TAPPED]


def test_features_equal_the_definition_of_the_network(published: Path) -> None:
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    expected = reference(torch.load(published, weights_only=True), images)
    found = load_backbone(published)(images)
    assert [tuple(values.shape) for values in found] == [(2, 24, 16, 16), (2, 40, 8, 8), (2, 112, 4, 4), (2, 320, 2, 2)]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-3 * float(other.abs().max()))


def test_only_the_heads_are_trained_and_saved(published: Path) -> None:
    network = FeatureDiscriminator(load_backbone(published), keypoints=7, pixels=64)
    assert not any("backbone" in name or "blocks" in name for name in network.state_dict())
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    torch.stack([scores.mean() for scores in network(images, torch.rand(2, 14), torch.ones(2, 1, 32, 32))]).sum().backward()
    assert images.grad is not None
    assert images.grad.any()
    assert all(value.grad is not None for value in network.parameters())


def test_images_are_enlarged_at_most_to_twice_their_size(published: Path) -> None:
    network = FeatureDiscriminator(load_backbone(published), keypoints=7, pixels=96)
    sizes = []
    for size in (16, 64, 128):
        maps = network(torch.zeros(1, 3, size, size), torch.zeros(1, 14), torch.zeros(1, 1, size, size))
        sizes.append(maps[0].shape[-1] * 4)
    assert sizes == [32, 96, 128]


def test_a_run_with_features_resumes_exactly(tmp_path: Path, published: Path, small_settings: TrainSettings) -> None:
    loss = msgspec.structs.replace(small_settings.loss, features=1.0, feature_pixels=32, feature_weights=str(published))
    run = msgspec.structs.replace(small_settings.run, total_images=40)
    settings = msgspec.structs.replace(small_settings, loss=loss, run=run)
    whole = Run(settings, tmp_path / "whole")
    whole.train()
    Run(settings, tmp_path / "parts").train(lambda run: run.stop() if run.images_seen >= 24 else None)
    resumed = Run(settings, tmp_path / "parts", resume=True)
    resumed.train()
    for network in ("generator", "features"):
        for one, other in zip(whole.networks.state()[network].values(), resumed.networks.state()[network].values(), strict=True):
            assert one.equal(other)


def test_features_may_begin_in_the_middle_of_a_run(tmp_path: Path, published: Path, small_settings: TrainSettings) -> None:
    Run(small_settings, tmp_path).train(lambda run: run.stop())
    loss = msgspec.structs.replace(small_settings.loss, features=1.0, feature_pixels=32, feature_weights=str(published))
    run = Run(msgspec.structs.replace(small_settings, loss=loss), tmp_path, resume=True)
    run.train(lambda run: run.stop())
    assert run.images_seen == 16


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="damaged"):
        load_backbone(tmp_path / "none.pth")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(FeatureError, match="not the weights of EfficientNet-Lite0"):
        load_backbone(tmp_path / "other.pth")

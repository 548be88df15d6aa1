"""CenterFace: an anchor-free face detector of one small convolutional network (Xu et al., arXiv:1911.03599).

    picture -> MobileNetV2 backbone -> top-down neck -> one map at a quarter of the picture's size

Batch norm is folded into the convolutions: the network is for inference and for import and export of its weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

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
STEM_CHANNELS = 32
NECK_CHANNELS = 24
TAPS = (1, 2, 4, 6)
"""Groups of the backbone whose output the neck uses: strides 4, 8, 16, 32."""


class InvertedResidual(nn.Module):
    """Expand by a 1x1, filter each channel by a 3x3, project by a linear 1x1; added to the input where shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.is_residual = stride == 1 and in_channels == out_channels
        self.expand = nn.Conv2d(in_channels, hidden, 1) if expansion > 1 else None
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride=stride, padding=1, groups=hidden)
        self.project = nn.Conv2d(hidden, out_channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = x_BCHW if self.expand is None else torch.relu(self.expand(x_BCHW))
        y_BCHW = self.project(torch.relu(self.depthwise(y_BCHW)))
        return x_BCHW + y_BCHW if self.is_residual else y_BCHW


class CenterFace(nn.Module):
    """The network. forward: RGB 0 to 255, (B, 3, H, W), H and W multiples of 32 -> (B, 15, H/4, W/4), see MAP_CHANNELS."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM_CHANNELS, 3, stride=2, padding=1)
        self.groups = nn.ModuleList()
        channels = STEM_CHANNELS
        for row in BACKBONE:
            blocks: list[nn.Module] = []
            for index in range(row.repeats):
                stride = row.stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, row.channels, expansion=row.expansion, stride=stride))
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

    def backbone_convolutions(self) -> Iterator[nn.Conv2d]:
        """The convolutions of the backbone in the order in which they are computed."""
        yield self.stem
        for module in self.groups.modules():
            if isinstance(module, nn.Conv2d):
                yield module

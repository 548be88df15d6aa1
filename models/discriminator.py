"""The discriminator: tells real faces from generated ones, given the crop with the hidden face and the keypoints.

image + condition (+ mask) -> fromRGB -> blocks R ... 8 (+ pose, halved) -> block 4 (+ pose) -> one score
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from models.generator import BOTTOM, rename_for_growth
from models.layers import DiscriminatorBlock, EqualizedLinear, check_resolution, draw_keypoints, halve


@dataclass(frozen=True, kw_only=True)
class DiscriminatorArchitecture:
    """Everything that decides the shape of a discriminator.

    resolution, widths, keypoints, has_mask: as of the generator. widths are those of 4, 8, ... resolution pixels.
    kind: wide has two 3x3 convolutions a resolution; deep has a residual block of four between two 1x1 (the paper's ablation).
    Raises ValueError where these do not fit together.
    """

    resolution: int
    widths: tuple[int, ...]
    keypoints: int = 7
    has_mask: bool = False
    kind: Literal["wide", "deep"] = "wide"

    def __post_init__(self) -> None:
        check_resolution(self.resolution, self.widths)

    def at(self, resolution: int) -> DiscriminatorArchitecture:
        """The same network while it is trained at a lower resolution."""
        return replace(self, resolution=resolution, widths=self.widths[: resolution.bit_length() - 2])

    @property
    def resolutions(self) -> tuple[int, ...]:
        """4, 8, ... resolution."""
        return tuple(BOTTOM << step for step in range(len(self.widths)))

    def width(self, resolution: int) -> int:
        return self.widths[resolution.bit_length() - 3]


def paper_discriminator(
    start_channels: int, resolution: int = 128, *, kind: Literal["wide", "deep"] = "wide", keypoints: int = 7
) -> DiscriminatorArchitecture:
    """The paper's discriminator: the wide one has sqrt(2) times the generator's channels; all are multiples of 8."""
    start = int(start_channels * math.sqrt(2)) // 8 * 8 if kind == "wide" else start_channels
    widths = (start if size <= 32 else start * 32 // size // 8 * 8 for size in (4, 8, 16, 32, 64, 128, 256, 512))
    return DiscriminatorArchitecture(
        resolution=resolution, widths=tuple(itertools.islice(widths, resolution.bit_length() - 2)), keypoints=keypoints, kind=kind
    )


class WideBlock(nn.Sequential):
    """Two convolutions; the bottom's second one has no padding and reduces 4x4 to one pixel."""

    def __init__(self, inputs: int, here: int, below: int, *, is_bottom: bool) -> None:
        super().__init__(DiscriminatorBlock(inputs, here, 3), _closing_block(here, below, 3, is_bottom=is_bottom))


class DeepBlock(nn.Sequential):
    """A 1x1 block, a residual block of 3x3 (four, three at the bottom), and the closing block."""

    def __init__(self, inputs: int, here: int, below: int, *, is_bottom: bool) -> None:
        super().__init__(
            DiscriminatorBlock(inputs, here, 1),
            Residual(here, 3 if is_bottom else 4),
            _closing_block(here, below, 1, is_bottom=is_bottom),
        )


class Residual(nn.Sequential):
    """(x + f(x)) / 2, where f is `count` 3x3 blocks."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__(*(DiscriminatorBlock(channels, channels, 3) for _ in range(count)))

    def forward(self, values: Tensor) -> Tensor:
        changed = values
        for block in self:
            changed = block(changed)
        return (values + changed) / 2


def _closing_block(here: int, below: int, kernel: int, *, is_bottom: bool) -> DiscriminatorBlock:
    return DiscriminatorBlock(here, here, BOTTOM, padding=0) if is_bottom else DiscriminatorBlock(here, below, kernel)


BLOCKS: dict[str, type[WideBlock] | type[DeepBlock]] = {"wide": WideBlock, "deep": DeepBlock}


class Discriminator(nn.Module):
    """The critic at one resolution, with or without the layer that fades out the previous resolution."""

    def __init__(self, architecture: DiscriminatorArchitecture, *, is_fading: bool = False) -> None:
        """is_fading: also make `from_rgb_old`, so that `alpha` below 1 can be used."""
        super().__init__()
        self.architecture = a = architecture
        self.from_rgb = DiscriminatorBlock(self.image_channels, a.width(a.resolution), 1)
        self.blocks = nn.ModuleDict()
        for size in a.resolutions:
            here, below = a.width(size), a.width(max(size // 2, BOTTOM))
            self.blocks[str(size)] = BLOCKS[a.kind](here + a.keypoints, here, below, is_bottom=size == BOTTOM)
        self.output = EqualizedLinear(a.width(BOTTOM), 1)
        self.from_rgb_old: DiscriminatorBlock | None = None
        if is_fading:
            self.from_rgb_old = DiscriminatorBlock(self.image_channels, a.width(a.resolution // 2), 1)

    @property
    def image_channels(self) -> int:
        return 7 if self.architecture.has_mask else 6

    def forward(
        self, image: Tensor, condition: Tensor, keypoints: Tensor, mask: Tensor | None = None, alpha: float = 1.0
    ) -> Tensor:
        """Score images, higher = more real.

        image, condition: (B, 3, R, R) in [-1, 1]; the condition is what the generator saw. keypoints: (B, 2 K). mask: (B, 1, R,
        R), given exactly where the architecture has a mask channel. alpha: share of the newest resolution while growing.
        Returns (B, 1), not bounded.
        """
        if (mask is None) is self.architecture.has_mask:
            raise ValueError("a mask must be given exactly where the architecture has a mask channel")
        seen = torch.cat((image, condition) if mask is None else (image, condition, mask), 1)
        a = self.architecture
        values: Tensor = self.from_rgb(seen)
        for size in reversed(a.resolutions):
            values = self.blocks[str(size)](torch.cat((values, draw_keypoints(keypoints, size, values.dtype)), 1))
            if size > BOTTOM:
                values = halve(values)
            if size == a.resolution and alpha < 1.0 and self.from_rgb_old is not None:
                values = torch.lerp(self.from_rgb_old(halve(seen)), values, alpha)
        score: Tensor = self.output(values.flatten(1))
        return score

    def grown(self, architecture: DiscriminatorArchitecture) -> Discriminator:
        """This network at twice the resolution, with new layers to be faded in; the old layers' weights are copied.

        architecture: of the grown network; equal to this one's in all that exists already. Raises ValueError where it is not.
        """
        if (
            architecture.resolution != 2 * self.architecture.resolution
            or architecture.at(self.architecture.resolution) != self.architecture
        ):
            raise ValueError("a discriminator grows to twice its resolution and keeps its widths")
        network = Discriminator(architecture, is_fading=True)
        network.load_state_dict(rename_for_growth(self.state_dict()), strict=False)
        return network

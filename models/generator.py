"""The generator: a U-Net that paints a face into a crop whose face is hidden, given only keypoints of it and noise.

crop -> fromRGB -> encoder R ... 8, 4 -> + pose, z -> decoder 4, 8 ... R (+ skip, pose) -> toRGB -> crop with another face
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import PAPER_EPSILON, EqualizedConv2d, GeneratorBlock, check_resolution, double, draw_keypoints, halve

BOTTOM = 4
"""Pixels at the bottom of the U-Net."""


@dataclass(frozen=True, kw_only=True)
class GeneratorArchitecture:
    """Everything that decides the shape of a generator; stored with its weights.

    resolution: pixels of the square crop, a power of two from 8.
    widths: channels at 4, 8, ... resolution pixels.
    keypoints: number of pose planes.
    noise_planes: planes of z at 4x4.
    has_mask: the network is given the crop and a mask; it hides the marked pixels itself, sees the mask as fourth channel, and
    returns the other
        pixels unchanged. Without (the paper): it is given a crop in which the face is painted over and returns a whole new crop.
    epsilon: of the pixel norm.
    Raises ValueError where these do not fit together.
    """

    resolution: int
    widths: tuple[int, ...]
    keypoints: int = 7
    noise_planes: int = 32
    has_mask: bool = False
    epsilon: float = PAPER_EPSILON

    def __post_init__(self) -> None:
        check_resolution(self.resolution, self.widths)

    def at(self, resolution: int) -> GeneratorArchitecture:
        """The same network while it is trained at a lower resolution."""
        return replace(self, resolution=resolution, widths=self.widths[: resolution.bit_length() - 2])

    @property
    def resolutions(self) -> tuple[int, ...]:
        """4, 8, ... resolution."""
        return tuple(BOTTOM << step for step in range(len(self.widths)))

    def width(self, resolution: int) -> int:
        return self.widths[resolution.bit_length() - 3]


def paper_architecture(start_channels: int, resolution: int = 128, *, keypoints: int = 7) -> GeneratorArchitecture:
    """The paper's generator: 512 start channels have 46 million parameters, 256 have 12 million."""
    widths = (start_channels if size <= 32 else start_channels * 32 // size // 8 * 8 for size in (4, 8, 16, 32, 64, 128, 256, 512))
    return GeneratorArchitecture(
        resolution=resolution, widths=tuple(itertools.islice(widths, resolution.bit_length() - 2)), keypoints=keypoints
    )


SLIM_WIDTHS: dict[str, tuple[int, ...]] = {
    "tiny64": (128, 128, 64, 32, 16),
    "small64": (136, 136, 128, 64, 32),
    "tiny128": (128, 128, 64, 32, 16, 8),
    "medium128": (256, 256, 192, 96, 48, 24),
    "large128": (360, 360, 256, 128, 64, 32),
}
"""Widths at 4, 8, ... pixels that keep channels at low resolution, where they cost little; the name ends in the resolution."""


class EncoderBlock(nn.Module):
    """Two 3x3 blocks; its output, before it is halved, is the skip connection of its resolution."""

    def __init__(self, inputs: int, outputs: int, epsilon: float) -> None:
        super().__init__()
        self.first = GeneratorBlock(inputs, outputs, 3, epsilon)
        self.second = GeneratorBlock(outputs, outputs, 3, epsilon)

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.second(self.first(values))
        return result


class MergeBlock(GeneratorBlock):
    """A 1x1 block over parts that lie behind one another, as if they were concatenated; parts of half the size are doubled.

    Each part is convolved alone and the results are added: a 1x1 convolution of a doubled picture is the doubled convolution, at a
    quarter of the cost, and nothing is copied together.
    """

    def __init__(self, inputs: int, outputs: int, epsilon: float) -> None:
        super().__init__(inputs, outputs, 1, epsilon)

    def forward(self, parts: Sequence[Tensor]) -> Tensor:  # type: ignore[override]
        """parts: (B, C, S, S) or (B, C, S/2, S/2), the last of full size; together as many channels as the block has inputs."""
        weights = torch.split(self.conv.scaled_weight(), [part.shape[1] for part in parts], 1)
        biases = (self.conv.bias, *[None] * (len(parts) - 1))
        convolved = map(functional.conv2d, parts, weights, biases)
        size = parts[-1].shape[-1]
        first, *others = (part if part.shape[-1] == size else double(part) for part in convolved)
        return self.activate(sum(others, first))


class DecoderBlock(nn.Module):
    """A 1x1 block that merges what comes from below, the skip connection and the pose, then two 3x3 blocks."""

    def __init__(self, inputs: int, middle: int, outputs: int, epsilon: float) -> None:
        super().__init__()
        self.merge = MergeBlock(inputs, middle, epsilon)
        self.first = GeneratorBlock(middle, outputs, 3, epsilon)
        self.second = GeneratorBlock(outputs, outputs, 3, epsilon)

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        result: Tensor = self.second(self.first(self.merge(parts)))
        return result


class Generator(nn.Module):
    """The U-Net at one resolution, with or without the layers that fade out the previous resolution."""

    def __init__(self, architecture: GeneratorArchitecture, *, is_fading: bool = False) -> None:
        """is_fading: also make `from_rgb_old` and `to_rgb_old`, so that `alpha` below 1 can be used."""
        super().__init__()
        self.architecture = a = architecture
        top = a.width(a.resolution)
        self.from_rgb = GeneratorBlock(self.image_channels, top, 1, a.epsilon)
        self.to_rgb = EqualizedConv2d(top, 3, 1)
        self.encoder, self.decoder = nn.ModuleDict(), nn.ModuleDict()
        for size in a.resolutions:
            below, here = a.width(max(size // 2, BOTTOM)), a.width(size)
            added = below + a.noise_planes if size == BOTTOM else 2 * below
            self.encoder[str(size)] = EncoderBlock(here, below, a.epsilon)
            self.decoder[str(size)] = DecoderBlock(added + a.keypoints, below, here, a.epsilon)
        self.from_rgb_old: GeneratorBlock | None = None
        self.to_rgb_old: EqualizedConv2d | None = None
        if is_fading:
            before = a.width(a.resolution // 2)
            self.from_rgb_old = GeneratorBlock(self.image_channels, before, 1, a.epsilon)
            self.to_rgb_old = EqualizedConv2d(before, 3, 1)

    @property
    def image_channels(self) -> int:
        return 4 if self.architecture.has_mask else 3

    def forward(self, image: Tensor, keypoints: Tensor, noise: Tensor, mask: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """Paint a face.

        image: (B, 3, R, R) in [-1, 1]; without mask channel the face must be painted over already.
        keypoints: (B, 2 K), x0 y0 x1 y1 ... relative to the crop; outside [0, 1) means absent.
        noise: (B, noise planes, 4, 4), standard normal, or zeros for the mean face.
        mask: (B, 1, R, R), 1 = hidden, 0 = known; given exactly where the architecture has a mask channel.
        alpha: share of the newest resolution while growing (paper: fade of encoder input and decoder output).
        Returns (B, 3, R, R), not clamped.
        """
        if (mask is None) is self.architecture.has_mask:
            raise ValueError("a mask must be given exactly where the architecture has a mask channel")
        known = image if mask is None else image * (1.0 - mask)
        seen = known if mask is None else torch.cat((known, mask), 1)
        painted = self._paint(seen, keypoints, noise, alpha)
        return painted if mask is None else known + painted * mask

    def _paint(self, seen: Tensor, keypoints: Tensor, noise: Tensor, alpha: float) -> Tensor:
        a = self.architecture
        skips: dict[int, Tensor] = {}
        values: Tensor = self.from_rgb(seen)
        for size in reversed(a.resolutions):
            values = skips[size] = self.encoder[str(size)](values)
            if size > BOTTOM:
                values = halve(values)
            if size == a.resolution and alpha < 1.0 and self.from_rgb_old is not None:
                values = torch.lerp(self.from_rgb_old(halve(seen)), values, alpha)
        before = values
        for size in a.resolutions:
            pose = draw_keypoints(keypoints, size, values.dtype)
            if size == BOTTOM:
                values = self.decoder[str(size)]([values, pose, noise.to(values.dtype)])
            else:
                before = values
                values = self.decoder[str(size)]([before, skips[size], pose])
        painted: Tensor = self.to_rgb(values)
        if alpha < 1.0 and self.to_rgb_old is not None:
            painted = torch.lerp(double(self.to_rgb_old(before)), painted, alpha)
        return painted

    def grown(self, architecture: GeneratorArchitecture) -> Generator:
        """This network at twice the resolution, with new layers to be faded in; the old layers' weights are copied.

        architecture: of the grown network; equal to this one's in all that exists already. Raises ValueError where it is not.
        """
        if (
            architecture.resolution != 2 * self.architecture.resolution
            or architecture.at(self.architecture.resolution) != self.architecture
        ):
            raise ValueError("a generator grows to twice its resolution and keeps its widths")
        network = Generator(architecture, is_fading=True)
        network.load_state_dict(rename_for_growth(self.state_dict()), strict=False)
        return network


def rename_for_growth(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network as those that it keeps when it grows: fromRGB and toRGB become the old ones."""
    kept: dict[str, Tensor] = {}
    for name, value in weights.items():
        owner, _, rest = name.partition(".")
        if owner in ("from_rgb", "to_rgb"):
            kept[f"{owner}_old.{rest}"] = value
        elif not owner.endswith("_old"):
            kept[name] = value
    return kept

"""The refiner: doubles the resolution of a painted face, given it and its sharp surroundings alone.

crop, mask -> halved -> Generator -> painted, coarse;  painted + crop around it -> Refiner -> crop with a sharp face
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from torch.nn import functional

from models.generator import Generator
from models.generator_weights import Provenance, digest, load_generator, read_tensors, with_tensors, write_atomically
from models.layers import LEAKY_SLOPE, EqualizedConv2d, halve
from models.weights import WeightsError

FORMAT = "veil-refiner-1"

FACTOR = 2
"""Refined pixels to a coarse one along each side."""


@dataclass(frozen=True, kw_only=True)
class RefinerArchitecture:
    """width: channels. blocks: residual blocks. Raises ValueError unless both are positive."""

    width: int = 32
    blocks: int = 4

    def __post_init__(self) -> None:
        if min(self.width, self.blocks) < 1:
            raise ValueError(f"a refiner needs a positive width and number of blocks, not {self.width} and {self.blocks}")


class RefinerBlock(nn.Module):
    """Two 3x3 convolutions, added to what comes in; no norm, which would cost colours (Lim et al. 2017, EDSR)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = EqualizedConv2d(width, width, 3)
        self.second = EqualizedConv2d(width, width, 3)

    def forward(self, values: Tensor) -> Tensor:
        changed: Tensor = self.second(functional.leaky_relu(self.first(values), LEAKY_SLOPE))
        return values + changed * 0.2


class Refiner(nn.Module):
    """Adds detail to a face that was painted at half the resolution; computes at that resolution (Shi et al. 2016).

    Untrained it enlarges the face smoothly and adds nothing.
    """

    def __init__(self, architecture: RefinerArchitecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.enter = EqualizedConv2d(3 + 4 * FACTOR**2, a.width, 3)
        self.blocks = nn.ModuleList(RefinerBlock(a.width) for _ in range(a.blocks))
        self.leave = EqualizedConv2d(a.width, 3 * FACTOR**2, 3)
        nn.init.zeros_(self.leave.weight)

    def forward(self, coarse: Tensor, image: Tensor, mask: Tensor) -> Tensor:
        """Refine a face.

        coarse: (B, 3, R/2, R/2), the crop with a painted face. image: (B, 3, R, R), the crop; what the mask hides is not looked
        at. mask: (B, 1, R, R), 1 = hidden, 0 = known. All in [-1, 1].
        Returns (B, 3, R, R): the image, where it is hidden the refined face, not clamped.
        """
        known = image * (1.0 - mask)
        values = self._enter(coarse, torch.cat((known, mask), 1))
        for block in self.blocks:
            values = block(values)
        detail = functional.pixel_shuffle(self.leave(functional.leaky_relu(values, LEAKY_SLOPE)), FACTOR)
        return known + (enlarge(coarse) + detail) * mask

    def _enter(self, coarse: Tensor, sharp: Tensor) -> Tensor:
        """The first convolution, of the coarse picture and of FACTOR x FACTOR sharp pixels behind each of its pixels.

        The sharp picture is convolved as it is, in steps: the same sums, and no pixel is moved.
        """
        for_coarse, for_sharp = torch.split(self.enter.scaled_weight(), [3, 4 * FACTOR**2], 1)
        reach = self.enter.padding
        detail = functional.conv2d(
            sharp, functional.pixel_shuffle(for_sharp, FACTOR), self.enter.bias, stride=FACTOR, padding=FACTOR * reach
        )
        return functional.conv2d(coarse, for_coarse, padding=reach) + detail


def enlarge(coarse: Tensor) -> Tensor:
    """Pictures at the refined resolution, smoothly."""
    return functional.interpolate(coarse, scale_factor=float(FACTOR), mode="bilinear", align_corners=False)


class RefinedGenerator(nn.Module):
    """A generator with a mask channel and its refiner, as one network of twice the generator's resolution."""

    def __init__(self, generator: Generator, refiner: Refiner) -> None:
        """Raises ValueError where the generator has no mask channel."""
        super().__init__()
        if not generator.architecture.has_mask:
            raise ValueError("only a generator with a mask channel can be refined")
        self.generator = generator
        self.refiner = refiner

    def forward(self, image: Tensor, keypoints: Tensor, noise: Tensor, mask: Tensor) -> Tensor:
        """Paint a face; arguments and result as `Generator.forward` has them, at the refined resolution."""
        return self.refiner(self.paint_coarse(image, keypoints, noise, mask), image, mask)  # type: ignore[no-any-return]

    def paint_coarse(self, image: Tensor, keypoints: Tensor, noise: Tensor, mask: Tensor) -> Tensor:
        """The crop with a face at the generator's resolution; a coarse pixel with a hidden one in it is hidden."""
        hidden = functional.max_pool2d(mask, FACTOR)
        coarse: Tensor = self.generator(halve(image * (1.0 - mask)), keypoints, noise, hidden)
        return coarse


def load_refinable(path: Path) -> tuple[Generator, Provenance]:
    """As `load_generator`. Raises WeightsError also where the generator has no mask channel."""
    generator, provenance = load_generator(path)
    if not generator.architecture.has_mask:
        raise WeightsError(f"{path}: has no mask channel, and only a generator with one can be refined")
    return generator, provenance


def save_refiner(path: Path, refiner: Refiner, provenance: Provenance) -> None:
    """Write a refiner and where it comes from."""
    weights = {name: value.detach().cpu().contiguous() for name, value in refiner.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "architecture": json.dumps(asdict(refiner.architecture)),
        "provenance": json.dumps(asdict(provenance)),
        "sha256": digest(weights),
    }
    write_atomically(path, to_safetensors(weights, metadata))


def load_refiner(path: Path) -> tuple[Refiner, Provenance]:
    """Read what `save_refiner` wrote, ready for inference. Raises WeightsError unless every tensor is there and unchanged."""
    weights, metadata = read_tensors(path, FORMAT, "a refiner")
    architecture, provenance = _description(path, metadata)
    return with_tensors(path, Refiner(architecture), weights), provenance


def _description(path: Path, metadata: Mapping[str, str]) -> tuple[RefinerArchitecture, Provenance]:
    try:
        fields: dict[str, Any] = json.loads(metadata["architecture"])
        return RefinerArchitecture(**fields), Provenance(**json.loads(metadata["provenance"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its description cannot be read ({error})") from error

"""A batch as both networks see it, and how it comes to be. Shapes: B batch, R resolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from models.discriminator import Discriminator
from models.generator import Generator
from models.layers import double, halve
from trainer.adaptive import Variation
from trainer.dataset import Batch

PAINTED = 128 / 127.5 - 1
"""Value of a hidden pixel in the paper's condition."""

Critic = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A batch as both networks see it, on their device.

    real: (B, 3, R, R) in [-1, 1]. condition: the same with the face painted over (the paper) or set to 0 (networks with a mask).
    hidden: (B, 1, R, R), 1 where the face is. keypoints: (B, 2 K). alpha: share of the newest resolution.
    """

    real: Tensor
    condition: Tensor
    hidden: Tensor
    keypoints: Tensor
    alpha: float
    has_mask: bool
    joint_batch: int = 0
    """Images of the whole batch when several processes share it; 0 where this is all of it."""

    @property
    def mask(self) -> Tensor | None:
        """What a network with a mask channel is given."""
        return self.hidden if self.has_mask else None

    def generate(self, generator: Generator, noise: Tensor) -> Tensor:
        painted: Tensor = generator(self.condition, self.keypoints, noise, self.mask, self.alpha)
        return full_precision(painted)

    def critic(self, discriminator: Discriminator) -> Critic:
        def score(images: Tensor) -> Tensor:
            scores: Tensor = discriminator(images, self.condition, self.keypoints, self.mask, self.alpha)
            return full_precision(scores)

        return score

    def repeated_half(self) -> Task:
        """The first half of the batch, twice."""

        def twice(values: Tensor) -> Tensor:
            half = values[: len(values) // 2]
            return torch.cat((half, half))

        return self._map(twice)

    def part(self, number: int, count: int) -> Task:
        """Every `count`-th image from `number` on, still as a part of the joint batch."""
        return replace(self._map(lambda values: values[number::count]), joint_batch=self.joint_batch or len(self.real))

    def varied(self, variation: Variation | None) -> Task:
        """As the discriminators are given it under adaptive augmentation; None leaves it as it is."""
        if variation is None:
            return self
        hidden = variation.planes(self.hidden)
        condition = variation.pictures(self.condition)
        return replace(
            self,
            real=variation.pictures(self.real),
            condition=condition * (1 - hidden) if self.has_mask else condition,
            hidden=hidden,
            keypoints=variation.points(self.keypoints, self.real.shape[-1]),
        )

    def _map(self, change: Callable[[Tensor], Tensor]) -> Task:
        return replace(
            self,
            real=change(self.real),
            condition=change(self.condition),
            hidden=change(self.hidden),
            keypoints=change(self.keypoints),
        )

    def summed(self, values: Tensor) -> Tensor:
        """The sum over the joint batch, as far as it is known here: processes average their gradients."""
        return values.mean() * (self.joint_batch or len(self.real))


def make_task(batch: Batch, alpha: float, *, has_mask: bool, device: torch.device, joint_batch: int = 0) -> Task:
    """Bring a batch to the device and, while a resolution is faded in, make its pictures as coarse as the networks are."""
    pixels = batch.pictures.to(device, torch.float32)
    hidden = batch.masks.to(device, torch.float32)
    keypoints = batch.keypoints.to(device)
    real = to_values(faded(pixels, alpha))
    if has_mask:
        if alpha < 1.0:
            # A coarse pixel that holds a hidden one is hidden.
            hidden = double(functional.max_pool2d(hidden, 2))
        condition = real * (1 - hidden)
    else:
        condition = to_values(faded(torch.where(hidden > 0, 128.0, pixels), alpha))
    return Task(
        real=real, condition=condition, hidden=hidden, keypoints=keypoints, alpha=alpha, has_mask=has_mask, joint_batch=joint_batch
    )


def to_values(pixels: Tensor) -> Tensor:
    """Pixels 0 to 255 as the networks' -1 to 1."""
    return pixels / 255 * 2 - 1


def faded(pixels: Tensor, alpha: float) -> Tensor:
    """Pictures between half their resolution (alpha 0) and all of it (alpha 1); (B, C, R, R), 0 to 255."""
    if alpha >= 1.0:
        return pixels
    return torch.lerp(double(torch.floor(halve(pixels))), pixels, alpha)


def full_precision(values: Tensor) -> Tensor:
    """Losses are summed in float32 even where the networks compute with less."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values

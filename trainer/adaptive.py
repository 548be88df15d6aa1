"""Adaptive augmentation (Karras et al. 2020): the discriminators see varied pictures, the more the surer they are of real ones.

Everything a discriminator is given of one face is varied alike, real and generated. Mirroring is not among the variations: the
generator would take it up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ADJUSTED_EVERY = 4
"""Steps between adjustments of the probability, as published."""

MOST = 0.8
"""Above this probability the generator begins to paint the variations themselves (Karras et al. 2020, figure 4)."""

BRIGHTNESS = 0.2
"""Standard deviation of what is added to all colours, of their range -1 to 1."""
CONTRAST = 0.5
"""Colours are multiplied by 2 to the power of N(0, this)."""
SATURATION = 1.0
"""What is not gray is multiplied by 2 to the power of N(0, this)."""
TRANSLATION = 0.125
"""Largest shift to each side, of the picture's size; what comes in is gray."""
CUTOUT = 0.5
"""Side of the square that is made gray, of the picture's size; its centre may lie anywhere."""


@dataclass(frozen=True, kw_only=True)
class Variation:
    """How each picture of a batch is varied.

    matrix: (B, 3, 3) and offset: (B, 3), of colours. shift: (B, 2), to the right and down, pixels. cut: (B, 4), x1 y1 x2 y2 of the
    gray square, pixels, empty where there is none.
    """

    matrix: Tensor
    offset: Tensor
    shift: Tensor
    cut: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Variation:
        """The same with each tensor changed: brought to a device, or a part of the batch taken."""
        return Variation(matrix=change(self.matrix), offset=change(self.offset), shift=change(self.shift), cut=change(self.cut))

    def pictures(self, images: Tensor) -> Tensor:
        """Varied images, (B, 3, R, R) in about [-1, 1]; differentiable."""
        size = images.shape[-1]
        matrix, offset = self.matrix.to(images.dtype), self.offset.to(images.dtype)
        colored = torch.einsum("bij,bjhw->bihw", matrix, images) + offset[:, :, None, None]
        steps = torch.arange(size, device=images.device)
        across = (steps >= self.cut[:, 0, None]) & (steps < self.cut[:, 2, None])
        down = (steps >= self.cut[:, 1, None]) & (steps < self.cut[:, 3, None])
        is_cut = (down[:, None, :, None] & across[:, None, None, :]).to(images.dtype)
        return self.planes(colored) * (1 - is_cut)

    def planes(self, planes: Tensor) -> Tensor:
        """Shifted planes, (B, C, R, R), zeros where nothing was."""
        size = planes.shape[-1]
        steps = torch.arange(size, device=planes.device)
        columns, rows = (steps - self.shift[:, axis, None] for axis in (0, 1))
        inside = ((rows >= 0) & (rows < size))[:, None, :, None] & ((columns >= 0) & (columns < size))[:, None, None, :]
        batch = torch.arange(len(planes), device=planes.device)[:, None, None]
        moved = planes.permute(0, 2, 3, 1)[batch, rows.clamp(0, size - 1)[:, :, None], columns.clamp(0, size - 1)[:, None, :]]
        return moved.permute(0, 3, 1, 2) * inside.to(planes.dtype)

    def points(self, keypoints: Tensor, size: int) -> Tensor:
        """Shifted keypoints, (B, 2 K) relative to pictures of `size` pixels."""
        return keypoints + (self.shift / size).to(keypoints.dtype).repeat(1, keypoints.shape[1] // 2)


def draw_variation(batch: int, size: int, probability: float, random: torch.Generator) -> Variation:
    """Variations of a batch of pictures of `size` pixels, on the CPU; each kind is applied to a picture with this probability."""

    def chosen(values: Tensor, otherwise: float) -> Tensor:
        is_chosen = torch.rand(batch, generator=random) < probability
        return torch.where(is_chosen.view(-1, *[1] * (values.dim() - 1)), values, torch.tensor(otherwise, dtype=values.dtype))

    def normal() -> Tensor:
        return torch.randn(batch, generator=random)

    offset = chosen(normal() * BRIGHTNESS, 0.0)
    contrast = chosen(torch.exp2(normal() * CONTRAST), 1.0)
    saturation = chosen(torch.exp2(normal() * SATURATION), 1.0)
    gray = torch.full((3, 3), 1 / 3)
    matrix = contrast[:, None, None] * (gray + saturation[:, None, None] * (torch.eye(3) - gray))
    furthest = int(size * TRANSLATION)
    shift = chosen(torch.randint(-furthest, furthest + 1, (batch, 2), generator=random), 0)
    center = torch.randint(0, size, (batch, 2), generator=random)
    side = chosen(torch.full((batch, 1), int(size * CUTOUT)), 0)
    first = center - side // 2
    return Variation(matrix=matrix, offset=offset[:, None].expand(batch, 3), shift=shift, cut=torch.cat((first, first + side), 1))


class AdaptiveProbability:
    """The probability of each variation; it follows the discriminator."""

    def __init__(self, target: float, images: float) -> None:
        """target: mean sign of real scores that is aimed at. images: in which the probability moves by 1 at most."""
        self._target = target
        self._span = images
        self.value = 0.0
        self._signs = 0.0
        self._steps = 0
        self._images_noted = 0

    def observe(self, sign: float, batch: int) -> None:
        """Note the mean sign of the scores of a batch of real pictures; with every few, adjust the probability."""
        self._signs += sign
        self._steps += 1
        self._images_noted += batch
        if self._steps == ADJUSTED_EVERY:
            direction = (self._signs / self._steps > self._target) - (self._signs / self._steps < self._target)
            self.value = min(max(self.value + direction * self._images_noted / self._span, 0.0), MOST)
            self._signs, self._steps, self._images_noted = 0.0, 0, 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"value": self.value, "signs": self._signs, "steps": self._steps, "images": self._images_noted}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.value, self._signs = state["value"], state["signs"]
        self._steps, self._images_noted = state["steps"], state["images"]

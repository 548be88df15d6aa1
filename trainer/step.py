"""One iteration of training: both discriminators, then the generator, each with the gradients of the whole batch.

Numbers in brackets are the steps of the published training, as in `losses`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.adaptive import Variation
from trainer.config import LossSettings
from trainer.features import FeatureDiscriminator
from trainer.losses import discriminator_loss, feature_loss, generator_loss
from trainer.networks import Networks
from trainer.parallel import World
from trainer.precision import Arithmetic, Trained
from trainer.task import Task

Values = dict[str, Tensor]
"""Means over the images of an iteration, for the log."""

Losses = Iterator[tuple[Tensor, Values]]
"""The loss of each part of the batch, computed when it is asked for, and what to log."""


@dataclass(frozen=True, kw_only=True)
class Chance:
    """What was drawn for an iteration, for this process's images.

    noises: for the turns of discriminator and generator, (B, planes, 4, 4). share: (B, 1, 1, 1), of real images in the gradient
    penalty. variations: of what the discriminators see in each turn, None without adaptive augmentation. wobble: (B, WOBBLE), of
    what the attackers see, None without any.
    """

    noises: tuple[Tensor, Tensor]
    share: Tensor
    variations: tuple[Variation, Variation] | None = None
    wobble: Tensor | None = None

    def part(self, number: int, count: int) -> Chance:
        """That of every `count`-th image from `number` on."""

        def some(values: Tensor) -> Tensor:
            return values[number::count]

        variations = self.variations
        return Chance(
            noises=(some(self.noises[0]), some(self.noises[1])),
            share=some(self.share),
            variations=None if variations is None else (variations[0].map(some), variations[1].map(some)),
            wobble=None if self.wobble is None else some(self.wobble),
        )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Images that are computed at once. shown, fake: real and generated images as the discriminators learn from them."""

    task: Task
    shown: Task
    fake: Tensor
    chance: Chance


class Stepper:
    """Steps with the networks of a run, as its settings say."""

    def __init__(self, settings: LossSettings, arithmetic: Arithmetic, world: World, *, accumulate: int = 1) -> None:
        """accumulate: parts in which a batch is computed."""
        self._settings = settings
        self._arithmetic = arithmetic
        self._world = world
        self._accumulate = accumulate

    def iterate(
        self, networks: Networks, task: Task, chance: Chance, *, with_penalty: bool, with_generator: bool = True
    ) -> tuple[Values, bool]:
        """Step with each network, or with all but the generator.

        Returns values for the log and whether all gradients were finite; no step is made with others.
        """
        discriminator, features = networks.discriminator, networks.features
        parts = [self._part(networks, task, chance, number) for number in range(self._accumulate)]

        discriminator.requires_grad_(True)
        losses = self._discriminator_losses(networks, parts, with_penalty=with_penalty)
        values, is_finite = self._turn("discriminator", discriminator, networks.discriminator_optimizer, losses)
        discriminator.requires_grad_(False)

        if features is not None and networks.features_optimizer is not None:
            features.requires_grad_(True)
            more, was_finite = self._turn("features", features, networks.features_optimizer, self._feature_losses(features, parts))
            features.requires_grad_(False)
            values, is_finite = values | more, is_finite and was_finite

        if not with_generator:
            return values, is_finite
        losses = self._generator_losses(networks, parts)
        more, was_finite = self._turn("generator", networks.generator, networks.generator_optimizer, losses)
        return values | more, is_finite and was_finite

    def _part(self, networks: Networks, task: Task, chance: Chance, number: int) -> _Part:
        if self._accumulate > 1:
            task, chance = task.part(number, self._accumulate), chance.part(number, self._accumulate)
        with torch.no_grad(), self._arithmetic.autocast():
            fake = task.generate(networks.generator, chance.noises[0])  # [1]
        variation = None if chance.variations is None else chance.variations[0]
        return _Part(
            task=task,
            shown=task.varied(variation),
            fake=fake if variation is None else variation.pictures(fake),
            chance=chance,
        )

    def _discriminator_losses(self, networks: Networks, parts: list[_Part], *, with_penalty: bool) -> Losses:
        for part in parts:
            with self._arithmetic.autocast():
                loss, values = discriminator_loss(  # [2, 3, 4]
                    self._settings,
                    networks.discriminator,
                    part.shown,
                    part.fake,
                    part.chance.share,
                    with_penalty=with_penalty,
                    slope_scale=self._arithmetic.scale("discriminator"),
                )
            yield loss, {**values, "loss_discriminator": loss.detach()}

    def _feature_losses(self, features: FeatureDiscriminator, parts: list[_Part]) -> Losses:
        for part in parts:
            with self._arithmetic.autocast():
                result = feature_loss(features, part.shown, part.fake)
            yield result

    def _generator_losses(self, networks: Networks, parts: list[_Part]) -> Losses:
        for part in parts:
            noise, variations = part.chance.noises[1], part.chance.variations
            with self._arithmetic.autocast():
                loss, values = generator_loss(  # [5]
                    self._settings,
                    networks.generator,
                    networks.discriminator,
                    part.task,
                    noise,
                    networks.features,
                    None if variations is None else variations[1],
                    networks.attackers,
                    part.chance.wobble,
                )
            yield loss, {**values, "loss_generator": loss.detach()}

    def _turn(self, name: Trained, network: nn.Module, optimizer: torch.optim.Optimizer, losses: Losses) -> tuple[Values, bool]:
        """Add up the gradients of all parts and step; returns mean values and whether the gradients were finite."""
        optimizer.zero_grad(set_to_none=True)
        totals: Values = {}
        for loss, values in losses:
            # The loss of a part stands for the whole batch, sums included: it counts as a part of their mean.
            self._arithmetic.backward(name, loss / self._accumulate if self._accumulate > 1 else loss)
            totals = {key: value + totals[key] if totals else value for key, value in values.items()}
        means = {key: total / self._accumulate if self._accumulate > 1 else total for key, total in totals.items()}
        return means, self._arithmetic.step(name, network, optimizer, self._world)

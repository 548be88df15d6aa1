"""Whole iterations: the paper's, computed a second time in float64, and batches that are computed in parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import pytest
import torch
from torch import Tensor, nn

from trainer import losses
from trainer.adaptive import draw_variation
from trainer.config import LossSettings, NetworkSettings, OptimizerSettings, TrainSettings
from trainer.networks import Networks
from trainer.parallel import World
from trainer.precision import Arithmetic
from trainer.step import Chance, Stepper
from trainer.task import PAINTED, Task

BATCH = 4
SIZE = 16


def uniform(random: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=random, dtype=torch.float64)


def make_task(random: torch.Generator, *, has_mask: bool, alpha: float) -> Task:
    hidden = torch.zeros(BATCH, 1, SIZE, SIZE, dtype=torch.float64)
    hidden[:, :, 4:12, 5:13] = 1
    real = uniform(random, BATCH, 3, SIZE, SIZE) * 2 - 1
    condition = real * (1 - hidden) if has_mask else torch.where(hidden > 0, PAINTED, real)
    return Task(real=real, condition=condition, hidden=hidden, keypoints=uniform(random, BATCH, 14), alpha=alpha, has_mask=has_mask)


def make_chance(random: torch.Generator, *, is_varied: bool = False) -> Chance:
    first, second = (torch.randn((BATCH, 32, 4, 4), generator=random, dtype=torch.float64) for _ in range(2))
    variations = (draw_variation(BATCH, SIZE, 0.7, random), draw_variation(BATCH, SIZE, 0.7, random)) if is_varied else None
    return Chance(noises=(first, second), share=uniform(random, BATCH, 1, 1, 1), variations=variations)


def in_float64(settings: TrainSettings, *, has_mask: bool, is_fading: bool) -> Networks:
    widths = (10, 9, 8)
    network = NetworkSettings(generator_widths=widths, discriminator_widths=widths, has_mask=has_mask)
    networks = Networks(msgspec.structs.replace(settings, network=network), SIZE, torch.device("cpu"), is_fading=is_fading)
    random = torch.Generator().manual_seed(8)
    for each in (networks.generator, networks.average, networks.discriminator):
        each.double()
    for name, value in (*networks.generator.named_parameters(), *networks.discriminator.named_parameters()):
        if name.endswith("bias"):
            value.data.normal_(0, 0.1, generator=random)
    return networks


@dataclass
class PublishedAdam:
    """Adam with betas 0 and 0.99, written from its publication (Kingma and Ba 2015, algorithm 1)."""

    seconds: dict[str, Tensor]
    steps: int = 0

    def step(self, network: nn.Module, gradients: dict[str, Tensor]) -> None:
        self.steps += 1
        for name, value in network.named_parameters():
            gradient = gradients[name]
            second = 0.99 * self.seconds.get(name, torch.zeros_like(gradient)) + 0.01 * gradient**2
            self.seconds[name] = second
            corrected = second / (1 - 0.99**self.steps)
            # The first moment is the gradient itself: beta 1 is 0.
            value.data -= 0.00175 * gradient / (corrected.sqrt() + 1e-8)


def published_gradients(network: nn.Module, terms: list[Tensor]) -> dict[str, Tensor]:
    """The gradients of several terms, each with a backward pass of its own, added up."""
    total: dict[str, Tensor] = {}
    for term in terms:
        found = torch.autograd.grad(term, list(network.parameters()), allow_unused=True, retain_graph=True)
        for (name, value), gradient in zip(network.named_parameters(), found, strict=True):
            total[name] = total.get(name, torch.zeros_like(value)) + (0 if gradient is None else gradient)
    return total


def published_iteration(
    networks: Networks, adams: tuple[PublishedAdam, PublishedAdam], average: dict[str, Tensor], task: Task, chance: Chance
) -> None:
    """One iteration image by image; `average` is updated too."""
    generator, discriminator = networks.generator, networks.discriminator
    discriminator.requires_grad_(True)
    fakes, terms = [], []
    for i in range(BATCH):
        given = (task.condition[i : i + 1], task.keypoints[i : i + 1])
        with torch.no_grad():
            fakes.append(generator(*given, chance.noises[0][i : i + 1], alpha=task.alpha))
        real, fake = task.real[i : i + 1], fakes[i]
        between = (chance.share[i] * real + (1 - chance.share[i]) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(discriminator(between, *given, alpha=task.alpha).sum(), between, create_graph=True)
        score = discriminator(real, *given, alpha=task.alpha).sum()
        terms += [
            discriminator(fake, *given, alpha=task.alpha).sum() - score,
            10 * ((slope**2).sum().sqrt() - 1) ** 2,
            0.001 * score**2,
        ]
    adams[0].step(discriminator, published_gradients(discriminator, terms))
    terms = []
    for i in range(BATCH):
        given = (task.condition[i : i + 1], task.keypoints[i : i + 1])
        painted = generator(*given, chance.noises[1][i : i + 1], alpha=task.alpha)
        terms.append(-discriminator(painted, *given, alpha=task.alpha).sum())
    adams[1].step(generator, published_gradients(generator, terms))
    keep = 0.5 ** (BATCH / 1e4)
    for name, value in generator.named_parameters():
        average[name] = keep * average[name] + (1 - keep) * value.detach()


def test_two_iterations_are_the_published_ones(small_settings: TrainSettings) -> None:
    """Discriminator, generator, both Adams with their moments, and the running average."""
    settings = msgspec.structs.replace(small_settings, loss=LossSettings(), optimizer=OptimizerSettings())
    networks, reference = (in_float64(settings, has_mask=False, is_fading=True) for _ in range(2))
    random = torch.Generator().manual_seed(1)
    work = [(make_task(random, has_mask=False, alpha=0.4), make_chance(random)) for _ in range(2)]
    stepper = Stepper(settings.loss, Arithmetic("float32", torch.device("cpu")), World())
    average = {name: value.clone() for name, value in reference.average.named_parameters()}
    adams = (PublishedAdam({}), PublishedAdam({}))
    for number, (task, chance) in enumerate(work):
        _, is_finite = stepper.iterate(networks, task, chance, with_penalty=True)
        assert is_finite
        networks.update_average(BATCH, number * BATCH)
        published_iteration(reference, adams, average, task, chance)
    before = in_float64(settings, has_mask=False, is_fading=True)
    for found, expected, start in (
        (networks.discriminator, dict(reference.discriminator.named_parameters()), before.discriminator),
        (networks.generator, dict(reference.generator.named_parameters()), before.generator),
        (networks.average, average, before.average),
    ):
        moved = 0.0
        for (name, value), old in zip(found.named_parameters(), start.parameters(), strict=True):
            # Gradients of 1e-12 and less are rounding, which Adam makes steps of; weights have none such here.
            assert torch.allclose(value, expected[name], rtol=0, atol=1e-8), name
            moved = max(moved, float((value - old).detach().abs().max()))
        assert moved > 1e-7


KINDS = {
    "wasserstein": LossSettings(),
    "non-saturating": LossSettings(kind="non-saturating", penalty=1.0, reconstruction=2.0, diversity=1.0, diversity_target=9.0),
    "adaptive": LossSettings(kind="non-saturating", penalty=1.0, reconstruction=2.0, adaptive_target=0.6),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_in_two_parts_gives_the_step_of_the_whole(small_settings: TrainSettings, kind: str) -> None:
    settings = msgspec.structs.replace(small_settings, loss=KINDS[kind])
    has_mask = kind != "wasserstein"
    random = torch.Generator().manual_seed(2)
    task = make_task(random, has_mask=has_mask, alpha=0.4)
    chance = make_chance(random, is_varied=kind == "adaptive")
    results = []
    for accumulate in (1, 2):
        networks = in_float64(settings, has_mask=has_mask, is_fading=True)
        stepper = Stepper(settings.loss, Arithmetic("float32", torch.device("cpu")), World(), accumulate=accumulate)
        joint = replace(task, joint_batch=BATCH)
        values, _ = stepper.iterate(networks, joint, chance, with_penalty=True)
        gradients = {
            f"{network} {name}": value.grad
            for network in ("generator", "discriminator")
            for name, value in getattr(networks, network).named_parameters()
        }
        results.append((values, gradients))
    (whole, expected), (parts, found) = results
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.allclose(value, parts[name], rtol=1e-9, atol=1e-12), name
    for name, gradient in expected.items():
        other = found[name]
        assert gradient is not None
        assert other is not None
        assert torch.allclose(gradient, other, rtol=1e-7, atol=1e-10), name


def test_a_scale_of_slopes_changes_no_penalty(small_settings: TrainSettings) -> None:
    random = torch.Generator().manual_seed(3)
    task = make_task(random, has_mask=True, alpha=1.0)
    share = uniform(random, BATCH, 1, 1, 1)
    fake = torch.zeros_like(task.real)
    for kind in ("wasserstein", "non-saturating"):
        loss = KINDS[kind]
        networks = in_float64(msgspec.structs.replace(small_settings, loss=loss), has_mask=True, is_fading=False)
        found = [
            losses.discriminator_loss(loss, networks.discriminator, task, fake, share, with_penalty=True, slope_scale=scale)[
                0
            ].item()
            for scale in (1.0, 1000.0)
        ]
        assert found[0] == pytest.approx(found[1], rel=1e-9)

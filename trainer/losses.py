"""What both networks are trained for, as functions of the networks and one batch.

Shapes: B batch, R resolution. Numbers in brackets are the steps of one iteration of the published training (Hukkelås et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from models.discriminator import Discriminator
from models.generator import Generator
from trainer.adaptive import Variation
from trainer.config import LossSettings
from trainer.features import FeatureDiscriminator
from trainer.identity import Attacker, is_alignable
from trainer.task import Critic, Task, full_precision


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, share: Tensor, slope_scale: float = 1.0) -> Tensor:
    """(|gradient of the score| - 1)² on the line between real and fake images, (B,) [3].

    share: (B, 1, 1, 1), uniform in [0, 1): how much of the real image. slope_scale: see `discriminator_loss`.
    """
    between = (share * real + (1 - share) * fake).requires_grad_()
    slope = _slope(critic(between), between, slope_scale)
    norm: Tensor = slope.flatten(1).float().norm(dim=1) if slope.dtype != torch.float64 else slope.flatten(1).norm(dim=1)
    return (norm - 1) ** 2


def real_gradient(critic: Critic, real: Tensor, slope_scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Scores of real images, (B, 1), and the squared norm of their gradient, (B,) (R1, Mescheder et al. 2018)."""
    images = real.detach().requires_grad_()
    scores = critic(images)
    return scores, _slope(scores, images, slope_scale).flatten(1).square().sum(1)


def _slope(scores: Tensor, images: Tensor, scale: float) -> Tensor:
    """The gradient of each score by its image, computed from scores `scale` times as large."""
    if scale == 1.0:
        (slope,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
        return slope
    (slope,) = torch.autograd.grad(scores.sum() * scale, images, create_graph=True)
    return slope / scale


def discriminator_loss(
    settings: LossSettings,
    discriminator: Discriminator,
    task: Task,
    fake: Tensor,
    share: Tensor,
    *,
    with_penalty: bool,
    slope_scale: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss to minimise and its parts for the log.

    fake: made without gradient [1]. share: see `gradient_penalty`. with_penalty: this step bears the penalty of `penalty_every`
    steps. slope_scale: the gradients inside the penalty are computed so many times larger, so that float16 can hold them.
    """
    critic = task.critic(discriminator)
    weight = settings.penalty * settings.penalty_every
    if settings.kind == "wasserstein":
        # [2, 4]: summed over the batch, not averaged, as published.
        real_scores, fake_scores = critic(task.real), critic(fake)
        loss = task.summed(fake_scores - real_scores) + settings.drift * task.summed(real_scores.square())
        if with_penalty:
            loss = loss + weight * task.summed(gradient_penalty(critic, task.real, fake, share, slope_scale))
    else:
        fake_scores = critic(fake)
        if with_penalty:
            real_scores, squared_slope = real_gradient(critic, task.real, slope_scale)
            loss = weight / 2 * squared_slope.mean()
        else:
            real_scores = critic(task.real)
            loss = torch.zeros((), device=fake.device)
        loss = loss + functional.softplus(fake_scores).mean() + functional.softplus(-real_scores).mean()
    values = {"score_real": real_scores.detach().mean(), "score_fake": fake_scores.detach().mean()}
    if settings.adaptive_target is not None:
        values["sign_real"] = real_scores.detach().sign().mean()
    return loss, values


def feature_loss(features: FeatureDiscriminator, task: Task, fake: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What the heads of the feature discriminator minimise: the logistic loss, mean over scales and places."""
    real_maps = [full_precision(scores) for scores in features(task.real, task.keypoints, task.hidden)]
    fake_maps = [full_precision(scores) for scores in features(fake, task.keypoints, task.hidden)]
    scales = zip(real_maps, fake_maps, strict=True)
    loss = torch.stack([functional.softplus(-real).mean() + functional.softplus(fake).mean() for real, fake in scales]).mean()
    return loss, {"loss_features": loss.detach()}


def generator_loss(
    settings: LossSettings,
    generator: Generator,
    discriminator: Discriminator,
    task: Task,
    noise: Tensor,
    features: FeatureDiscriminator | None = None,
    variation: Variation | None = None,
    attackers: Sequence[Attacker] = (),
    wobble: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss to minimise [5] and its parts for the log; the discriminator's own gradients are not needed.

    variation: of what the discriminators and the frozen network see; the other terms compare the pictures as they are. wobble:
    (B, WOBBLE), of what the attackers see.
    """
    if settings.pairs_noises:
        task = task.repeated_half()
        noise = noise[: len(task.real)]
    half = len(task.real) // 2
    fake = task.generate(generator, noise)
    shown = task.varied(variation)
    fake_shown = fake if variation is None else variation.pictures(fake)
    scores = shown.critic(discriminator)(fake_shown)
    parts: dict[str, Tensor] = {}
    loss = -task.summed(scores) if settings.kind == "wasserstein" else functional.softplus(-scores).mean()
    parts["adversarial"] = loss.detach()
    likeness = torch.zeros(len(fake), device=fake.device)
    if features is not None:
        looked, likeness, values = seen_loss(settings, features, task, shown, fake, fake_shown)
        loss, parts = loss + looked, parts | values
    if settings.reconstruction > 0:
        distance = hidden_distance(fake, task.real, task.hidden, settings.reconstruction_pixels)
        parts["reconstruction"] = distance.detach().mean()
        likeness = likeness + settings.reconstruction * distance
    if settings.tone > 0:
        tone = hidden_distance(fake, task.real, task.hidden, settings.tone_pixels).mean()
        parts["tone"] = tone.detach()
        loss = loss + settings.tone * tone
    loss = loss + (torch.minimum(likeness[:half], likeness[half:]) if settings.nearest else likeness).mean()
    if settings.diversity > 0:
        spread = hidden_distance(fake[:half], fake[half:], task.hidden[:half], fake.shape[-1])
        parts["spread"] = spread.detach().mean()
        loss = loss + settings.diversity * functional.relu(settings.diversity_target - spread).mean()
    if attackers:
        unlike, values = identity_loss(settings, attackers, task, fake, wobble)
        loss, parts = loss + unlike, parts | values
    return loss, parts


def seen_loss(
    settings: LossSettings, features: FeatureDiscriminator, task: Task, shown: Task, fake: Tensor, fake_shown: Tensor
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """What faces cost by what the frozen network sees of them: the loss, how far each is from its original, (B,), and parts for
    the log.

    shown, fake_shown: task and faces as they are varied; the faces themselves where they are not.
    """
    parts: dict[str, Tensor] = {}
    loss, likeness = torch.zeros((), device=fake.device), torch.zeros(len(fake), device=fake.device)
    seen = features.look_at(fake_shown)
    if settings.features > 0:
        maps = [full_precision(scores) for scores in features.judge(seen, shown.keypoints, shown.hidden)]
        fooled = torch.stack([functional.softplus(-scores).mean() for scores in maps]).mean()
        parts["adversarial_features"] = fooled.detach()
        loss = loss + settings.features * fooled
    if settings.perceptual > 0:
        with torch.no_grad():
            wanted = features.look_at(shown.real)
        difference = feature_distance(seen, wanted, shown.hidden)
        parts["perceptual"] = difference.detach().mean()
        likeness = likeness + settings.perceptual * difference
    if settings.diversity_features > 0:
        plain = seen if fake_shown is fake else features.look_at(fake)
        half = len(fake) // 2
        pairs = feature_distance([scale[:half] for scale in plain], [scale[half:] for scale in plain], task.hidden[:half])
        parts["spread_features"] = pairs.detach().mean()
        short = functional.relu(settings.diversity_features_target - pairs)
        loss = loss + settings.diversity_features * short.mean()
    return loss, likeness, parts


def identity_loss(
    settings: LossSettings, attackers: Sequence[Attacker], task: Task, fake: Tensor, wobble: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """What a face costs that attackers find nearer to the original than to other people, or near to the other face of its pair.

    Both grow with the square of what is missing. Only being nearer than others costs: a face that resembles nobody would gain
    nothing. Faces whose eyes or nose are not known count for nothing, neither as faces nor as others. The mean over all attackers.
    """
    pictures = len(fake) // 2 if settings.pairs_noises else len(fake)
    looks = None if wobble is None else wobble[:pictures]
    alignable = is_alignable(task.keypoints).float()
    is_own = torch.eye(pictures, device=fake.device).repeat(len(fake) // pictures, 1)
    is_other = (1 - is_own) * alignable[:pictures]
    counts = alignable * (is_other.sum(1) > 0)
    loss = torch.zeros((), device=fake.device)
    values: dict[str, Tensor] = {}
    for attacker in attackers:
        with torch.no_grad():
            originals = attacker.embed(task.real[:pictures], task.keypoints[:pictures], looks)
        # Whoever misses the eyes of a face misses them by as much in what was painted over it.
        seen = attacker.embed(fake, task.keypoints, None if looks is None else looks.repeat(len(fake) // pictures, 1))
        squared = (seen[:, None] - originals[None]).square().sum(2)
        own = (squared * is_own).sum(1)
        others = (squared * is_other).sum(1) / is_other.sum(1).clamp_min(1)
        short = functional.relu(settings.identity_margin + others - own).square()
        loss = loss + settings.identity * _mean_of(short, counts)
        values[f"own_{attacker.name}"] = _mean_of(own.detach(), counts)
        values[f"others_{attacker.name}"] = _mean_of(others.detach(), counts)
        if settings.diversity_identity > 0:
            spread = (seen[:pictures] - seen[pictures:]).square().sum(1)
            missing = functional.relu(settings.diversity_identity_target - spread).square()
            loss = loss + settings.diversity_identity * _mean_of(missing, counts[:pictures])
            values[f"spread_{attacker.name}"] = _mean_of(spread.detach(), counts[:pictures])
    return loss / len(attackers), values


def _mean_of(values: Tensor, counts: Tensor) -> Tensor:
    """The mean of those values that count (1, not 0); 0 where none does."""
    return (values * counts).sum() / counts.sum().clamp_min(1)


def hidden_distance(first: Tensor, second: Tensor, hidden: Tensor, pixels: int) -> Tensor:
    """Mean absolute difference inside the hidden area, (B,), after both are reduced to `pixels` (never enlarged)."""
    weight = hidden
    difference = (first - second) * weight
    factor = first.shape[-1] // pixels
    if factor > 1:
        difference, weight = functional.avg_pool2d(difference, factor), functional.avg_pool2d(weight, factor)
    return difference.abs().mean(1).sum((1, 2)) / weight.sum((1, 2, 3)).clamp_min(1e-6)


def feature_distance(seen: Sequence[Tensor], wanted: Sequence[Tensor], hidden: Tensor) -> Tensor:
    """Mean absolute difference of features inside the hidden area, (B,), mean over the scales.

    The differences are relative to the mean size of the second pictures' features, through which no gradient flows.

    seen, wanted: (B, C, h, w) for each scale. hidden: (B, 1, R, R), 1 where the face is.
    """
    distances = []
    for one, other in zip(seen, wanted, strict=True):
        where = functional.interpolate(hidden, one.shape[-2:], mode="area")
        difference = (full_precision(one - other).abs() * where).sum((1, 2, 3))
        size = (full_precision(other).detach().abs() * where).sum((1, 2, 3))
        distances.append(difference / size.clamp_min(1e-6))
    return torch.stack(distances).mean(0)

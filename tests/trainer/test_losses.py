"""One training step against the published update, computed here a second time, image by image, in float64."""

from __future__ import annotations

import math

import msgspec
import pytest
import torch
from torch import Tensor

from models.discriminator import Discriminator, DiscriminatorArchitecture
from models.generator import Generator, GeneratorArchitecture
from trainer import losses
from trainer.config import LossSettings, OptimizerSettings
from trainer.dataset import Batch
from trainer.features import EfficientNetLite0, FeatureDiscriminator
from trainer.networks import adam
from trainer.task import PAINTED, Task, faded, make_task

BATCH = 3
PAPER = LossSettings()
ADAM = OptimizerSettings()


@pytest.fixture
def parts() -> tuple[Generator, Discriminator, Task, Tensor, Tensor]:
    """Both networks, a batch, noise and the shares of the penalty, in float64, with biases that are not zero."""
    random = torch.Generator().manual_seed(5)
    torch.manual_seed(5)
    generator = Generator(GeneratorArchitecture(resolution=16, widths=(10, 9, 8)), is_fading=True).double()
    discriminator = Discriminator(DiscriminatorArchitecture(resolution=16, widths=(10, 9, 8)), is_fading=True).double()
    for network in (generator, discriminator):
        for name, value in network.named_parameters():
            if name.endswith("bias"):
                value.data.normal_(0, 0.1, generator=random)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random, dtype=torch.float64)

    hidden = torch.zeros(BATCH, 1, 16, 16, dtype=torch.float64)
    hidden[:, :, 4:12, 5:13] = 1
    real = uniform(BATCH, 3, 16, 16) * 2 - 1
    condition = torch.where(hidden > 0, PAINTED, real)
    task = Task(real=real, condition=condition, hidden=hidden, keypoints=uniform(BATCH, 14), alpha=0.4, has_mask=False)
    noise = torch.randn((BATCH, 32, 4, 4), generator=random, dtype=torch.float64)
    return generator, discriminator, task, noise, uniform(BATCH, 1, 1, 1)


def stepped(value: Tensor, gradient: Tensor) -> Tensor:
    """A parameter after Adam's first step with betas 0 and 0.99: bias correction makes it lr g / (|g| + eps)."""
    first = (1 - 0.0) * gradient / (1 - 0.0)
    second = (1 - 0.99) * gradient**2 / (1 - 0.99)
    return value - 0.00175 * first / (second.sqrt() + 1e-8)


def test_the_discriminator_step_is_the_published_one(parts: tuple[Generator, Discriminator, Task, Tensor, Tensor]) -> None:
    generator, discriminator, task, noise, share = parts
    with torch.no_grad():
        fake = generator(task.condition, task.keypoints, noise, alpha=0.4)
    before = {name: value.detach().clone() for name, value in discriminator.named_parameters()}

    # Three separate backward passes, one image at a time, as the published code adds them up.
    discriminator.zero_grad()
    for i in range(BATCH):
        given = (task.condition[i : i + 1], task.keypoints[i : i + 1])

        def score(image: Tensor, given: tuple[Tensor, Tensor] = given) -> Tensor:
            result: Tensor = discriminator(image, *given, alpha=0.4)
            return result.sum()

        (score(fake[i : i + 1]) - score(task.real[i : i + 1])).backward()
        (0.001 * score(task.real[i : i + 1]) ** 2).backward()
        between = (share[i] * task.real[i : i + 1] + (1 - share[i]) * fake[i : i + 1]).detach().requires_grad_()
        (slope,) = torch.autograd.grad(score(between), between, create_graph=True)
        (10 * (torch.sqrt((slope**2).sum()) - 1) ** 2).backward()
    gradients = {name: value.grad.clone() for name, value in discriminator.named_parameters() if value.grad is not None}
    assert gradients.keys() == before.keys()

    optimizer = adam(discriminator, ADAM)
    optimizer.zero_grad()
    loss, _ = losses.discriminator_loss(PAPER, discriminator, task, fake, share, with_penalty=True)
    loss.backward()
    for name, value in discriminator.named_parameters():
        assert value.grad is not None
        assert torch.allclose(value.grad, gradients[name], rtol=1e-9, atol=1e-12), name
    optimizer.step()
    for name, value in discriminator.named_parameters():
        assert torch.allclose(value, stepped(before[name], gradients[name]), rtol=0, atol=1e-9), name


def test_the_generator_step_is_the_published_one(parts: tuple[Generator, Discriminator, Task, Tensor, Tensor]) -> None:
    generator, discriminator, task, noise, _ = parts
    before = {name: value.detach().clone() for name, value in generator.named_parameters()}
    generator.zero_grad()
    for i in range(BATCH):
        given = (task.condition[i : i + 1], task.keypoints[i : i + 1])
        fake = generator(*given, noise[i : i + 1], alpha=0.4)
        (-discriminator(fake, *given, alpha=0.4)).sum().backward()
    gradients = {name: value.grad.clone() for name, value in generator.named_parameters() if value.grad is not None}
    assert gradients.keys() == before.keys()

    optimizer = adam(generator, ADAM)
    optimizer.zero_grad()
    loss, _ = losses.generator_loss(PAPER, generator, discriminator, task, noise)
    loss.backward()
    optimizer.step()
    for name, value in generator.named_parameters():
        assert value.grad is not None
        assert torch.allclose(value.grad, gradients[name], rtol=1e-9, atol=1e-12), name
        assert torch.allclose(value, stepped(before[name], gradients[name]), rtol=0, atol=1e-9), name


def test_the_lazy_penalty_weighs_as_much_more_as_it_is_rarer(parts: tuple[Generator, Discriminator, Task, Tensor, Tensor]) -> None:
    _, discriminator, task, _, share = parts
    fake = torch.zeros_like(task.real)

    def loss(penalty_every: int, *, with_penalty: bool) -> float:
        settings = LossSettings(penalty_every=penalty_every)
        return float(losses.discriminator_loss(settings, discriminator, task, fake, share, with_penalty=with_penalty)[0].detach())

    without = loss(4, with_penalty=False)
    assert loss(4, with_penalty=True) - without == pytest.approx(4 * (loss(1, with_penalty=True) - without))


def test_the_non_saturating_loss_with_r1_is_its_formula(parts: tuple[Generator, Discriminator, Task, Tensor, Tensor]) -> None:
    generator, discriminator, task, noise, share = parts
    settings = LossSettings(kind="non-saturating", penalty=2.0)
    with torch.no_grad():
        fake = task.generate(generator, noise)
    real = task.real.clone().requires_grad_()
    scores_real = discriminator(real, task.condition, task.keypoints, alpha=0.4)
    scores_fake = discriminator(fake, task.condition, task.keypoints, alpha=0.4)
    (slope,) = torch.autograd.grad(scores_real.sum(), real)
    fake_values, real_values = scores_fake.detach().flatten().tolist(), scores_real.detach().flatten().tolist()
    expected = sum(math.log1p(math.exp(value)) for value in fake_values)
    expected += sum(math.log1p(math.exp(-value)) for value in real_values) + float((slope**2).sum())
    loss, _ = losses.discriminator_loss(settings, discriminator, task, fake, share, with_penalty=True)
    assert float(loss.detach()) == pytest.approx(expected / BATCH)
    loss, _ = losses.generator_loss(settings, generator, discriminator, task, noise)
    assert float(loss.detach()) == pytest.approx(sum(math.log1p(math.exp(-value)) for value in fake_values) / BATCH)


def test_hidden_distance_counts_only_hidden_pixels() -> None:
    first, second = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    hidden = torch.zeros(1, 1, 16, 16)
    hidden[:, :, :4, :4] = 1
    for pixels in (16, 4):
        assert losses.hidden_distance(first, second, hidden, pixels).tolist() == [1.0]
    second[:, :, :4, :4] = 0
    assert losses.hidden_distance(first, second, hidden, 16).tolist() == [0.0]


def test_a_reduced_reconstruction_ties_colour_but_not_detail() -> None:
    checkers = torch.ones(1, 3, 16, 16)
    checkers[:, :, ::2, ::2] = checkers[:, :, 1::2, 1::2] = -1
    hidden = torch.ones(1, 1, 16, 16)
    assert losses.hidden_distance(checkers, -checkers, hidden, 8).tolist() == [0.0]
    assert losses.hidden_distance(checkers, -checkers, hidden, 16).tolist() == [2.0]


def test_the_tone_of_both_faces_is_tied_to_the_original(parts: tuple[Generator, Discriminator, Task, Tensor, Tensor]) -> None:
    generator, discriminator, task, noise, _ = parts
    settings = LossSettings(kind="non-saturating", tone=5.0, tone_pixels=2, diversity=1e-12, diversity_target=0.0, nearest=True)
    loss, values = losses.generator_loss(settings, generator, discriminator, task, noise)
    pair = task.repeated_half()
    with torch.no_grad():
        fake = pair.generate(generator, noise[: len(pair.real)])
    expected = float(losses.hidden_distance(fake, pair.real, pair.hidden, 2).mean())
    assert expected > 0.01
    assert float(values["tone"]) == pytest.approx(expected, rel=1e-5)
    assert float(loss.detach() - values["adversarial"]) == pytest.approx(5.0 * expected, rel=1e-4)


def test_two_noises_that_give_one_face_are_punished(parts: tuple[Generator, Discriminator, Task, Tensor, Tensor]) -> None:
    generator, discriminator, task, noise, _ = parts
    settings = LossSettings(kind="non-saturating", diversity=3.0, diversity_target=0.5)
    same = noise[:1].expand_as(noise)
    loss, values = losses.generator_loss(settings, generator, discriminator, task, same)
    assert float(values["spread"]) == 0.0
    assert float(loss.detach() - values["adversarial"]) == pytest.approx(1.5)


def test_only_the_nearer_of_two_faces_is_tied_to_the_original(
    parts: tuple[Generator, Discriminator, Task, Tensor, Tensor],
) -> None:
    generator, discriminator, task, noise, _ = parts
    settings = LossSettings(
        kind="non-saturating", reconstruction=5.0, reconstruction_pixels=16, diversity=1e-12, diversity_target=0.0
    )
    pair = task.repeated_half()
    with torch.no_grad():
        fake = pair.generate(generator, noise[:2])
    distances = losses.hidden_distance(fake, pair.real, pair.hidden, 16).reshape(2, -1)
    tied = {}
    for nearest in (False, True):
        changed = msgspec.structs.replace(settings, nearest=nearest)
        loss, values = losses.generator_loss(changed, generator, discriminator, task, noise)
        tied[nearest] = float(loss.detach() - values["adversarial"])
    assert tied[True] == pytest.approx(5 * float(distances.min(0).values.mean()), rel=1e-5)
    assert tied[False] == pytest.approx(5 * float(distances.mean()), rel=1e-5)
    assert tied[True] < tied[False]


def test_feature_distance_is_relative_and_looks_only_where_the_face_is() -> None:
    hidden = torch.zeros(2, 1, 8, 8)
    hidden[:, :, :, :4] = 1
    wanted = [torch.full((2, 5, 8, 8), 2.0), torch.full((2, 3, 4, 4), -4.0)]
    seen = [wanted[0].clone(), wanted[1].clone()]
    seen[0][:, :, :, 4:] = 9.0
    seen[0][1, :, :, :4] += 1.0
    seen[1][1, :, :, :2] *= 2.0
    assert losses.feature_distance(seen, wanted, hidden).tolist() == pytest.approx([0.0, (0.5 + 1.0) / 2])


def test_two_faces_that_look_the_same_to_the_frozen_network_are_punished(
    parts: tuple[Generator, Discriminator, Task, Tensor, Tensor],
) -> None:
    generator, discriminator, task, noise, _ = parts
    features = FeatureDiscriminator(EfficientNetLite0().double().eval(), keypoints=7, pixels=32).double()
    settings = LossSettings(kind="non-saturating", diversity_features=3.0, diversity_features_target=0.5)
    loss, values = losses.generator_loss(settings, generator, discriminator, task, noise[:1].expand_as(noise), features)
    assert float(values["spread_features"]) == 0.0
    assert float(loss.detach() - values["adversarial"]) == pytest.approx(1.5)
    _, values = losses.generator_loss(settings, generator, discriminator, task, noise, features)
    assert float(values["spread_features"]) > 0.0


def make_batch(resolution: int) -> Batch:
    random = torch.Generator().manual_seed(1)
    masks = torch.zeros(2, 1, resolution, resolution, dtype=torch.bool)
    masks[:, :, 3:10, 5:9] = True
    pictures = torch.randint(0, 256, (2, 3, resolution, resolution), dtype=torch.uint8, generator=random)
    return Batch(pictures=pictures, masks=masks, keypoints=torch.rand((2, 14), generator=random))


def test_while_fading_pictures_go_from_half_resolution_to_whole() -> None:
    pixels = make_batch(16).pictures.double()
    coarse = faded(pixels, 0.0)
    mean = torch.floor(pixels.reshape(2, 3, 8, 2, 8, 2).mean((3, 5)))
    assert torch.equal(coarse, mean.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.equal(faded(pixels, 0.25), coarse * 0.75 + pixels * 0.25)
    assert torch.equal(faded(pixels, 1.0), pixels)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_a_task_with_mask_holds_nothing_of_the_hidden_pixels(alpha: float) -> None:
    batch = make_batch(16)
    noise = torch.randint(0, 256, batch.pictures.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(9))
    other = Batch(pictures=torch.where(batch.masks, noise, batch.pictures), masks=batch.masks, keypoints=batch.keypoints)
    tasks = [make_task(each, alpha, has_mask=True, device=torch.device("cpu")) for each in (batch, other)]
    assert torch.equal(tasks[0].condition, tasks[1].condition)
    assert torch.equal(tasks[0].hidden, tasks[1].hidden)
    assert not torch.equal(tasks[0].real, tasks[1].real)


def test_the_papers_condition_is_painted_128_before_it_is_faded() -> None:
    batch = make_batch(16)
    task = make_task(batch, 1.0, has_mask=False, device=torch.device("cpu"))
    painted = batch.masks.expand_as(task.real)
    assert torch.allclose(task.condition[painted], torch.tensor(0.0039216), atol=1e-6)
    assert torch.equal(task.condition[~painted], task.real[~painted])

"""Precision and the scales of float16, as far as a CPU can show it, and on a GPU where there is one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from torch import nn

from tests.trainer.test_loop import same
from trainer import loop
from trainer.config import ConfigError, LossSettings, TrainSettings
from trainer.loop import Run
from trainer.losses import discriminator_loss
from trainer.networks import Networks
from trainer.parallel import World
from trainer.precision import Arithmetic, choose_arithmetic
from trainer.task import Task

CPU = torch.device("cpu")


def linear() -> tuple[nn.Linear, torch.optim.Adam]:
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    return network, torch.optim.Adam(network.parameters(), lr=0.1)


def test_float16_on_a_cpu_is_refused_with_its_key(tmp_path: Path, small_settings: TrainSettings) -> None:
    run = msgspec.structs.replace(small_settings.run, precision="float16")
    with pytest.raises(ConfigError, match=r"run\.precision: float16 needs a GPU; use bfloat16 or float32"):
        Run(msgspec.structs.replace(small_settings, run=run), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_with_its_key(tmp_path: Path, small_settings: TrainSettings) -> None:
    run = msgspec.structs.replace(small_settings.run, device="cuda")
    with pytest.raises(ConfigError, match=r"run\.device: cuda, but PyTorch finds no GPU"):
        Run(msgspec.structs.replace(small_settings, run=run), tmp_path)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_scaled_step_is_the_step(precision: str) -> None:
    arithmetic = Arithmetic("float16" if precision == "float16" else "float32", CPU)
    network, optimizer = linear()
    other, plain = linear()
    for _ in range(3):
        for each, of in ((network, optimizer), (other, plain)):
            of.zero_grad()
            loss = (each(torch.tensor([[1.0, 2.0, 3.0]])) ** 2).sum()
            if each is other:
                loss.backward()
                of.step()
            else:
                arithmetic.backward("generator", loss)
                assert arithmetic.step("generator", each, of, World())
    assert same(dict(network.state_dict()), dict(other.state_dict()))


def test_an_overflow_halves_the_scale_of_its_network_alone_and_makes_no_step() -> None:
    arithmetic = Arithmetic("float16", CPU)
    network, optimizer = linear()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = arithmetic.scale("discriminator")
    arithmetic.backward("discriminator", (network(torch.full((1, 3), torch.inf)) * 0.5).sum())
    assert not arithmetic.step("discriminator", network, optimizer, World())
    assert same(before, dict(network.state_dict()))
    assert arithmetic.scale("discriminator") == first / 2
    assert arithmetic.scale("generator") == arithmetic.scale("features") == first


def test_the_scales_go_through_a_checkpoint_and_missing_ones_begin_anew() -> None:
    arithmetic = Arithmetic("float16", CPU)
    network, optimizer = linear()
    arithmetic.backward("features", (network(torch.full((1, 3), torch.inf))).sum())
    arithmetic.step("features", network, optimizer, World())
    restored = Arithmetic("float16", CPU)
    restored.restore({"features": arithmetic.state()["features"]})
    assert restored.scale("features") == arithmetic.scale("features") != arithmetic.scale("generator")
    assert restored.scale("generator") == arithmetic.scale("generator")
    assert Arithmetic("float32", CPU).state() == {}
    unscaled = Arithmetic("bfloat16", CPU)
    unscaled.restore(arithmetic.state())
    assert unscaled.scale("features") == 1.0


def half(settings: TrainSettings, *, kind: str) -> TrainSettings:
    loss = settings.loss if kind == "non-saturating" else LossSettings()
    return msgspec.structs.replace(
        settings,
        loss=loss,
        run=msgspec.structs.replace(settings.run, precision="float16", total_images=48),
        optimizer=msgspec.structs.replace(settings.optimizer, learning_rate=1e-4),
    )


@pytest.mark.parametrize("kind", ["wasserstein", "non-saturating"])
def test_a_run_in_float16_resumes_exactly(
    tmp_path: Path, small_settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Without the check that keeps it to GPUs: a CPU computes the same, slowly."""
    monkeypatch.setattr(loop, "choose_arithmetic", Arithmetic)
    settings = half(small_settings, kind=kind)
    whole = Run(settings, tmp_path / "whole")
    whole.train()
    assert whole.steps_skipped < 6  # the scale begins too high on purpose
    assert all(value.isfinite().all() for value in whole.networks.average.state_dict().values())
    Run(settings, tmp_path / "parts").train(lambda run: run.stop() if run.images_seen >= 36 else None)
    resumed = Run(settings, tmp_path / "parts", resume=True)
    resumed.train()
    assert same(whole.networks.state(), resumed.networks.state())
    assert resumed.arithmetic.state() == whole.arithmetic.state()


@pytest.mark.parametrize("kind", ["wasserstein", "non-saturating"])
def test_gradients_in_float16_are_those_of_float32(small_settings: TrainSettings, kind: str) -> None:
    settings = msgspec.structs.replace(small_settings, loss=half(small_settings, kind=kind).loss)
    networks = Networks(settings, 8, CPU)
    random = torch.Generator().manual_seed(0)
    hidden = torch.zeros(4, 1, 8, 8)
    hidden[:, :, 2:6, 2:6] = 1
    real, fake = (torch.rand((4, 3, 8, 8), generator=random) * 2 - 1 for _ in range(2))
    keypoints = torch.rand((4, 14), generator=random)
    task = Task(real=real, condition=real * (1 - hidden), hidden=hidden, keypoints=keypoints, alpha=1.0, has_mask=True)
    share = torch.rand((4, 1, 1, 1), generator=random)
    found = []
    for precision in ("float32", "float16"):
        arithmetic = Arithmetic("float16" if precision == "float16" else "float32", CPU)
        slope_scale = 256.0 if precision == "float16" else 1.0
        networks.discriminator.zero_grad()
        with arithmetic.autocast():
            loss, _ = discriminator_loss(
                settings.loss, networks.discriminator, task, fake, share, with_penalty=True, slope_scale=slope_scale
            )
        (loss * slope_scale).backward()
        found.append(torch.cat([value.grad.flatten() for value in networks.discriminator.parameters() if value.grad is not None]))
    exact, rounded = found[0], found[1] / 256
    assert float((exact - rounded).norm()) < 0.02 * float(exact.norm())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("kind", ["wasserstein", "non-saturating"])
def test_a_gpu_trains_in_float16(tmp_path: Path, small_settings: TrainSettings, kind: str) -> None:
    settings = half(small_settings, kind=kind)
    settings = msgspec.structs.replace(settings, run=msgspec.structs.replace(settings.run, device="cuda"))
    run = Run(settings, tmp_path)
    assert run.train()
    assert run.steps_skipped < 8
    assert all(value.isfinite().all() for value in run.networks.average.state_dict().values())
    again = Run(settings, tmp_path, resume=True)
    assert again.arithmetic.state() == run.arithmetic.state()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_other_precisions_are_not_scaled(precision: str) -> None:
    arithmetic = choose_arithmetic("float32" if precision == "float32" else "bfloat16", CPU)
    assert arithmetic.scale("discriminator") == 1.0
    with arithmetic.autocast():
        found = (torch.zeros(2, 2) @ torch.zeros(2, 2)).dtype
    assert found == getattr(torch, precision)

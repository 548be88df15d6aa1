"""Options of a run: with all of them off nothing changes, with any of them on a resumed run equals one that never stopped."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import msgspec
import pytest
import torch
from loguru import logger

from models.generator import Generator
from models.generator_weights import Provenance, load_generator, save_generator
from models.weights import WeightsError
from tests.trainer.test_loop import same
from trainer.checkpoint import list_checkpoints, load_checkpoint, load_newest
from trainer.config import AugmentSettings, ConfigError, LossSettings, OptimizerSettings, Settings, TrainSettings
from trainer.loop import Run
from trainer.networks import ArchitectureError
from trainer.parallel import World


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.remove()


def changed(settings: TrainSettings, group: str, **values: object) -> TrainSettings:
    part: Settings = msgspec.structs.replace(getattr(settings, group), **values)
    return msgspec.structs.replace(settings, **{group: part})


SEEDED = {
    "non-saturating": (
        LossSettings(kind="non-saturating", penalty=1.0, penalty_every=2, reconstruction=1.0, diversity=1.0),
        [(1.5347, 1.3992), (1.4844, 1.3834), (1.5310, 1.3449), (1.5077, 1.2899), (1.4911, 1.3396), (1.4449, 1.3806)],
    ),
    "wasserstein": (
        LossSettings(),
        [(61.8353, -0.3826), (61.6478, -0.7325), (60.4280, -0.8657), (63.1745, -0.5879), (37.3301, -0.3540), (36.2493, -0.3266)],
    ),
}
"""Losses of discriminator and generator in the first steps, from before there were options for occluders, parts of batches, scales,
adaptive augmentation and a first generator."""


@pytest.mark.parametrize("kind", SEEDED)
def test_options_that_are_off_leave_the_seeded_losses_as_they_were(
    tmp_path: Path, small_settings: TrainSettings, kind: str
) -> None:
    loss, expected = SEEDED[kind]
    settings = changed(msgspec.structs.replace(small_settings, loss=loss), "run", total_images=40, log_every_images=1)
    if kind == "wasserstein":
        settings = changed(changed(settings, "network", has_mask=False), "optimizer", reset_at_growth=True)
    Run(settings, tmp_path).train()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    found = [(line["loss_discriminator"], line["loss_generator"]) for line in lines]
    assert len(found) == len(expected) == 6
    # Other processors round differently, and Adam makes the most of it.
    assert found == [pytest.approx(pair, rel=0.01, abs=0.005) for pair in expected]


OPTIONS = {
    "occluder": ("augment", {"occluder": 0.7}),
    "accumulate": ("optimizer", {"accumulate": 2}),
    "tensorboard": ("run", {"tensorboard": True}),
    "bfloat16": ("run", {"precision": "bfloat16"}),
    "adaptive": ("loss", {"adaptive_target": 0.1, "adaptive_images": 50.0}),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_run_with_any_option_resumes_exactly(tmp_path: Path, small_settings: TrainSettings, option: str) -> None:
    group, values = OPTIONS[option]
    settings = changed(changed(small_settings, "run", total_images=64, samples_every_images=16), group, **values)
    whole = Run(settings, tmp_path / "whole")
    whole.train()
    Run(settings, tmp_path / "parts").train(lambda run: run.stop() if run.images_seen >= 44 else None)
    resumed = Run(settings, tmp_path / "parts", resume=True)
    resumed.train()
    assert resumed.images_seen == 64
    assert same(whole.networks.state(), resumed.networks.state())


def test_adaptive_augmentation_changes_the_run_once_its_probability_rises(tmp_path: Path, small_settings: TrainSettings) -> None:
    settings = changed(small_settings, "run", total_images=64, log_every_images=8)
    Run(settings, tmp_path / "off").train()
    on = Run(changed(settings, "loss", adaptive_target=0.01, adaptive_images=100.0), tmp_path / "on")
    on.train()
    assert on.probability is not None
    assert load_newest(tmp_path / "on" / "checkpoints")["adaptive"] == on.probability.state()
    logs = [[json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()] for run in ("off", "on")]
    values = [line["adaptive_probability"] for line in logs[1]]
    assert values[0] == 0.0
    assert max(values) > 0.0
    assert "adaptive_probability" not in logs[0][0]
    assert logs[0][0]["loss_discriminator"] == pytest.approx(logs[1][0]["loss_discriminator"], abs=1e-4)
    assert logs[0][-1]["loss_discriminator"] != logs[1][-1]["loss_discriminator"]


@pytest.mark.parametrize("option", OPTIONS)
def test_a_checkpoint_from_before_an_option_can_be_gone_on_from_with_it(
    tmp_path: Path, small_settings: TrainSettings, option: str
) -> None:
    Run(small_settings, tmp_path).train(lambda run: run.stop() if run.images_seen >= 16 else None)
    (path,) = list_checkpoints(tmp_path / "checkpoints")
    state = load_checkpoint(path)
    torch.save({name: value for name, value in state.items() if name not in ("scalers", "adaptive", "origin")}, path)
    group, values = OPTIONS[option]
    settings = changed(changed(small_settings, "run", total_images=32), group, **values)
    run = Run(settings, tmp_path, resume=True)
    assert run.images_seen == 16
    assert run.train()


@pytest.mark.parametrize(
    ("group", "values", "message"),
    [
        ("optimizer", {"accumulate": 3}, r"phases\[0\]\.batch: 8 cannot be computed in 3 parts"),
        ("loss", {"kind": "wasserstein", "adaptive_target": 0.6}, r"loss\.adaptive_target needs loss\.kind non-saturating"),
        ("loss", {"nearest": True, "diversity": 0.0}, r"loss\.nearest needs two noises for each picture"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    small_settings: TrainSettings, group: str, values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        changed(small_settings, group, **values)


def test_parts_of_pairs_are_needed_where_a_half_repeats_the_other(small_settings: TrainSettings) -> None:
    with pytest.raises(ValueError, match=r"phases\[1\]\.batch: 4 cannot be computed in 4 parts of pairs"):
        changed(changed(small_settings, "loss", diversity=1.0), "optimizer", accumulate=4)
    with pytest.raises(ValueError, match="parts of pairs"):
        changed(changed(small_settings, "loss", diversity=0.0, diversity_features=1.0), "optimizer", accumulate=4)


def save_first(path: Path, settings: TrainSettings, resolution: int, terms: str = "of nobody") -> Generator:
    generator = Generator(settings.network.generator(resolution))
    save_generator(path, generator, Provenance(training_data="dolls", terms=terms, images_seen=5))
    return generator


def test_a_run_can_begin_from_a_generator_and_keeps_its_terms(tmp_path: Path, small_settings: TrainSettings) -> None:
    first = save_first(tmp_path / "first.safetensors", small_settings, 8)
    settings = changed(small_settings, "run", initial_weights=str(tmp_path / "first.safetensors"), terms="ours", total_images=16)
    run = Run(settings, tmp_path / "run")
    for network in (run.networks.generator, run.networks.average):
        assert same(dict(network.state_dict()), dict(first.state_dict()))
    assert all(value.requires_grad for value in run.networks.generator.parameters())
    plain = Run(changed(small_settings, "run", total_images=16), tmp_path / "plain")
    assert same(dict(run.networks.discriminator.state_dict()), dict(plain.networks.discriminator.state_dict()))
    run.train(lambda run: run.stop())
    assert not same(dict(run.networks.generator.state_dict()), dict(first.state_dict()))
    (tmp_path / "first.safetensors").unlink()
    assert Run(settings, tmp_path / "run", resume=True).train()
    _, provenance = load_generator(tmp_path / "run" / "generator.safetensors")
    assert provenance.terms == "ours; those of the weights it began from: of nobody"
    assert "dolls" in provenance.training_data


def test_discriminators_can_have_a_head_start(tmp_path: Path, small_settings: TrainSettings) -> None:
    first = save_first(tmp_path / "first.safetensors", small_settings, 8)
    settings = changed(small_settings, "run", initial_weights=str(tmp_path / "first.safetensors"))
    run = Run(changed(settings, "optimizer", head_start_images=16), tmp_path / "run")
    before = copy.deepcopy(run.networks.discriminator.state_dict())
    run.train(lambda run: run.stop() if run.images_seen >= 16 else None)
    assert same(dict(run.networks.generator.state_dict()), dict(first.state_dict()))
    assert same(dict(run.networks.average.state_dict()), dict(first.state_dict()))
    assert not same(dict(run.networks.discriminator.state_dict()), dict(before))
    resumed = Run(changed(settings, "optimizer", head_start_images=16), tmp_path / "run", resume=True)
    resumed.train(lambda run: run.stop())
    assert not same(dict(resumed.networks.generator.state_dict()), dict(first.state_dict()))


def test_another_generator_is_refused_as_a_beginning(tmp_path: Path, small_settings: TrainSettings) -> None:
    path = tmp_path / "first.safetensors"
    settings = changed(small_settings, "run", initial_weights=str(path))
    with pytest.raises(WeightsError, match="no such file"):
        Run(settings, tmp_path / "run")
    save_first(path, small_settings, 16)
    with pytest.raises(ArchitectureError, match=r"first\.safetensors: .*initial_weights.* resolution 16, .* asks for 8"):
        Run(settings, tmp_path / "run")
    save_first(path, changed(small_settings, "network", generator_widths=(12, 16, 8)), 8)
    with pytest.raises(ArchitectureError, match=r"widths \(12, 16\), the configuration asks for \(12, 12\)"):
        Run(settings, tmp_path / "run")
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="damaged"):
        Run(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_defaults_are_all_off() -> None:
    assert AugmentSettings().occluder == 0.0
    assert OptimizerSettings().accumulate == 1
    assert LossSettings().adaptive_target is None


def test_parts_that_processes_cannot_share_are_refused(tmp_path: Path, small_settings: TrainSettings) -> None:
    settings = changed(changed(small_settings, "loss", diversity=0.0), "optimizer", accumulate=4)
    with pytest.raises(ConfigError, match=r"optimizer\.accumulate: the 2 images of a batch of 4 that each of 2 processes computes"):
        Run(settings, tmp_path, world=World(rank=0, size=2))

"""The loop: resumed is as if never stopped, growth keeps what was learned, failures are counted, signals save."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import msgspec
import pytest
import torch
from loguru import logger

from models.generator_weights import load_generator
from trainer.checkpoint import CheckpointError, list_checkpoints, load_checkpoint
from trainer.config import AugmentSettings, LossSettings, NetworkSettings, TrainSettings, to_yaml
from trainer.loop import MOST_FAILED_STEPS, DivergedError, Run
from trainer.losses import hidden_distance
from trainer.networks import ArchitectureError, Networks
from trainer.schedule import Phase, stage_at
from trainer.task import make_task


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.remove()


def same(first: object, second: object) -> bool:
    """Equal to the last bit, through containers."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return first.equal(second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@pytest.mark.parametrize("stop_at", [16, 32, 44, 80], ids=["low resolution", "at growth", "in the fade", "faded in"])
def test_a_resumed_run_equals_one_that_never_stopped(tmp_path: Path, small_settings: TrainSettings, stop_at: int) -> None:
    whole = Run(small_settings, tmp_path / "whole")
    assert whole.train()
    stopped = Run(small_settings, tmp_path / "parts")
    assert not stopped.train(lambda run: run.stop() if run.images_seen >= stop_at else None)
    assert stopped.images_seen == stop_at
    torch.manual_seed(12345)  # what happens between must not matter
    resumed = Run(small_settings, tmp_path / "parts", resume=True)
    assert resumed.train()
    assert same(whole.networks.state(), resumed.networks.state())


def test_no_weights_are_written_while_a_resolution_is_faded_in(tmp_path: Path, small_settings: TrainSettings) -> None:
    fading = Run(small_settings, tmp_path)
    fading.train(lambda run: run.stop() if run.images_seen >= 44 else None)
    assert list_checkpoints(tmp_path / "checkpoints")
    assert not (tmp_path / "generator.safetensors").exists()
    assert Run(small_settings, tmp_path, resume=True).train()
    assert load_generator(tmp_path / "generator.safetensors")[0].architecture.resolution == 16


def test_the_papers_loss_and_optimisers_resume_exactly_too(tmp_path: Path, small_settings: TrainSettings) -> None:
    optimizer = msgspec.structs.replace(small_settings.optimizer, reset_at_growth=True)
    network = msgspec.structs.replace(small_settings.network, has_mask=False)
    settings = msgspec.structs.replace(small_settings, loss=LossSettings(), optimizer=optimizer, network=network)
    whole = Run(settings, tmp_path / "whole")
    whole.train()
    Run(settings, tmp_path / "parts").train(lambda run: run.stop() if run.images_seen >= 40 else None)
    resumed = Run(settings, tmp_path / "parts", resume=True)
    resumed.train()
    assert same(whole.networks.state(), resumed.networks.state())


def test_another_seed_is_another_run(tmp_path: Path, small_settings: TrainSettings) -> None:
    runs = []
    for seed in (0, 1):
        run = msgspec.structs.replace(small_settings.run, seed=seed, total_images=8)
        settings = msgspec.structs.replace(small_settings, run=run)
        runs.append(Run(settings, tmp_path / str(seed)))
        runs[-1].train()
    assert not same(runs[0].networks.state()["generator"], runs[1].networks.state()["generator"])


def test_a_run_leaves_checkpoints_weights_samples_and_a_log(tmp_path: Path, small_settings: TrainSettings) -> None:
    settings = msgspec.structs.replace(
        small_settings,
        run=msgspec.structs.replace(small_settings.run, checkpoint_every_s=1e-9, checkpoints_kept=2, terms="of nobody"),
    )
    run = Run(settings, tmp_path)
    run.train()
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == [
        "checkpoint-000000092.pt",
        "checkpoint-000000096.pt",
    ]
    network, provenance = load_generator(tmp_path / "generator.safetensors")
    assert provenance.images_seen == 96
    assert provenance.terms == "of nobody"
    assert provenance.expansion == pytest.approx(0.225)
    assert network.architecture == settings.network.generator(16)
    assert cv2.imread(str(tmp_path / "samples" / "000000096.png")) is not None
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["images_seen"] for line in lines] == [16, 32, 48, 64, 80, 96]
    assert [line["resolution"] for line in lines] == [8, 8, 16, 16, 16, 16]
    assert all(line["images_per_s"] > 0 and line["steps_skipped"] == 0 for line in lines)


def test_samples_are_drawn_at_the_resolution_of_the_networks(tmp_path: Path, small_settings: TrainSettings) -> None:
    """Also when the next batch will be the first of a higher one."""
    run = msgspec.structs.replace(small_settings.run, total_images=40, samples_every_images=32)
    Run(msgspec.structs.replace(small_settings, run=run), tmp_path).train()
    assert cv2.imread(str(tmp_path / "samples" / "000000032.png")).shape[1] == 4 * 4 * 8


def test_growth_keeps_the_average_and_copies_new_layers_into_it(small_settings: TrainSettings) -> None:
    networks = Networks(small_settings, 8, torch.device("cpu"))
    for value in networks.average.parameters():
        value.data.add_(0.1)
    before = {name: value.clone() for name, value in networks.average.state_dict().items()}
    networks.grow()
    for name, value in networks.average.state_dict().items():
        if "_old." in name:
            assert value.equal(before[name.replace("_old", "")])
        elif name in before and not name.startswith(("from_rgb", "to_rgb")):
            assert value.equal(before[name])
        else:
            assert value.equal(networks.generator.state_dict()[name])


@pytest.mark.parametrize("reset_at_growth", [True, False])
def test_optimisers_are_reset_at_growth_only_when_wanted(
    tmp_path: Path, small_settings: TrainSettings, reset_at_growth: bool
) -> None:
    optimizer = msgspec.structs.replace(small_settings.optimizer, reset_at_growth=reset_at_growth)
    run = Run(msgspec.structs.replace(small_settings, optimizer=optimizer), tmp_path)
    run.train(lambda run: run.stop() if run.images_seen >= 32 else None)
    run.networks.grow()
    assert bool(run.networks.generator_optimizer.state) is not reset_at_growth


def test_the_average_forgets_half_in_its_half_life(small_settings: TrainSettings) -> None:
    networks = Networks(small_settings, 8, torch.device("cpu"))
    for value in networks.average.parameters():
        value.data.copy_(torch.ones_like(value))
    for value in networks.generator.parameters():
        value.data.zero_()
    for _ in range(100):
        networks.update_average(100, 0)
    for value in networks.average.parameters():
        assert torch.allclose(value, torch.full_like(value, 0.5), atol=1e-4)


def test_steps_that_are_not_finite_are_skipped_counted_and_end_the_run(tmp_path: Path, small_settings: TrainSettings) -> None:
    run = Run(small_settings, tmp_path)
    with torch.no_grad():
        run.networks.generator.to_rgb.bias.fill_(torch.nan)
    before = {name: value.clone() for name, value in run.networks.discriminator.state_dict().items()}
    stage = stage_at(small_settings.phases, 0)
    for _ in range(MOST_FAILED_STEPS - 1):
        run._step(stage)
    assert run.steps_skipped == MOST_FAILED_STEPS - 1
    assert same(before, dict(run.networks.discriminator.state_dict()))
    with pytest.raises(DivergedError, match="not been finite"):
        run._step(stage)


def test_another_architecture_is_refused_and_nothing_is_overwritten(tmp_path: Path, small_settings: TrainSettings) -> None:
    Run(small_settings, tmp_path).train(lambda run: run.stop())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    network = msgspec.structs.replace(small_settings.network, generator_widths=(12, 16, 8))
    with pytest.raises(ArchitectureError, match="16"):
        Run(msgspec.structs.replace(small_settings, network=network), tmp_path, resume=True)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_run_can_be_resumed_towards_a_higher_resolution(tmp_path: Path, small_settings: TrainSettings) -> None:
    Run(small_settings, tmp_path).train()
    taller = msgspec.structs.replace(
        small_settings,
        network=msgspec.structs.replace(
            small_settings.network, generator_widths=(12, 12, 8, 8), discriminator_widths=(12, 12, 8, 8)
        ),
        phases=(
            *small_settings.phases[:1],
            Phase(resolution=16, fade_images=32, stabilize_images=32, batch=4),
            Phase(resolution=32, fade_images=8, batch=4),
        ),
        run=msgspec.structs.replace(small_settings.run, total_images=104),
    )
    run = Run(taller, tmp_path, resume=True)
    assert run.train()
    assert run.networks.resolution == 32


def test_resuming_from_nothing_or_from_damage_is_one_clear_error(tmp_path: Path, small_settings: TrainSettings) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        Run(small_settings, tmp_path, resume=True)
    run = Run(small_settings, tmp_path)
    run.train(lambda run: run.stop())
    (path,) = list_checkpoints(tmp_path / "checkpoints")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="damaged"):
        Run(small_settings, tmp_path, resume=True)
    torch.save({"weights": 1}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        load_checkpoint(path)


def start(arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from trainer.cli import main; main()", "fit", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def test_sigterm_saves_and_exits_and_the_run_goes_on_from_there(tmp_path: Path, small_settings: TrainSettings) -> None:
    endless = msgspec.structs.replace(small_settings, run=msgspec.structs.replace(small_settings.run, total_images=10**9))
    (tmp_path / "config.yaml").write_text(to_yaml(endless), "utf-8")
    process = start(["config.yaml", "-o", "run"], tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if " images, " in line:
            break
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # as where torchrun passes on what its processes were sent already
    process.communicate(timeout=60)
    assert process.returncode == 130
    (path,) = list_checkpoints(tmp_path / "run" / "checkpoints")
    images_seen = load_checkpoint(path)["images_seen"]
    assert images_seen >= 16

    again = start(["config.yaml", "-o", "run"], tmp_path)
    _, text = again.communicate(timeout=60)
    assert again.returncode == 2
    assert "--resume" in text
    enough = msgspec.structs.replace(endless, run=msgspec.structs.replace(endless.run, total_images=images_seen + 8))
    (tmp_path / "config.yaml").write_text(to_yaml(enough), "utf-8")
    resumed = start(["config.yaml", "-o", "run", "--resume"], tmp_path)
    resumed.communicate(timeout=120)
    assert resumed.returncode == 0
    assert load_checkpoint(list_checkpoints(tmp_path / "run" / "checkpoints")[-1])["images_seen"] >= images_seen + 8


@pytest.mark.parametrize(
    ("text", "exit_code", "message"),
    [("data: {kind: labels", 2, "cannot be read"), (None, 3, "labels.csv")],
    ids=["configuration", "data"],
)
def test_errors_are_one_line_and_an_exit_code(
    tmp_path: Path, small_settings: TrainSettings, text: str | None, exit_code: int, message: str
) -> None:
    nowhere = msgspec.structs.replace(small_settings, data=msgspec.structs.replace(small_settings.data, root="nowhere"))
    (tmp_path / "config.yaml").write_text(text or to_yaml(nowhere), "utf-8")
    process = start(["config.yaml", "-o", "run"], tmp_path)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == exit_code
    assert message in errors
    assert "Traceback" not in errors


def test_a_young_average_follows_at_once(small_settings: TrainSettings) -> None:
    optimizer = msgspec.structs.replace(small_settings.optimizer, average_ramp=0.05)
    networks = Networks(msgspec.structs.replace(small_settings, optimizer=optimizer), 8, torch.device("cpu"))
    for value in networks.generator.parameters():
        value.data.add_(1.0)
    networks.update_average(8, 0)
    assert same(dict(networks.average.state_dict()), dict(networks.generator.state_dict()))


@pytest.mark.slow
def test_eight_faces_are_learned_by_heart_through_two_growths_and_a_restart(tmp_path: Path, small_settings: TrainSettings) -> None:
    """The reconstruction of eight faces becomes far better than the mean colour could be."""
    settings = msgspec.structs.replace(
        small_settings,
        data=msgspec.structs.replace(small_settings.data, validation_share=0.53),
        network=NetworkSettings(
            generator_widths=(32, 32, 24, 16), discriminator_widths=(8, 8, 8, 8), has_mask=True, epsilon=1e-6
        ),
        phases=(
            Phase(resolution=8, stabilize_images=400, batch=8),
            Phase(resolution=16, fade_images=160, stabilize_images=320, batch=8),
            Phase(resolution=32, fade_images=160, batch=8),
        ),
        augment=AugmentSettings(
            flip=0, box_jitter=0, crop_min=1.5, crop_max=1.5, shift=0, rotate_deg=0, color=0, gray=0, degrade=0, ellipse=0,
            neighbour=0, keypoint_drop=0, margin_max=0,
        ),
        loss=LossSettings(kind="non-saturating", penalty=0.05, penalty_every=16, reconstruction=20.0, reconstruction_pixels=32),
        optimizer=msgspec.structs.replace(small_settings.optimizer, learning_rate=0.01, average_half_life_images=200),
        run=msgspec.structs.replace(small_settings.run, total_images=3600),
    )  # fmt: skip
    assert not Run(settings, tmp_path).train(lambda run: run.stop() if run.images_seen >= 480 else None)
    run = Run(settings, tmp_path, resume=True)
    assert run.train()
    assert run.networks.resolution == 32
    stage = stage_at(settings.phases, run.images_seen)
    numbers = range(run.source.training)
    assert len(numbers) == 8
    task = make_task(run.source.batch(numbers, stage), 1.0, has_mask=True, device=torch.device("cpu"))
    with torch.no_grad():
        painted = task.generate(run.networks.average, torch.zeros(len(numbers), 32, 4, 4))
    mean = (task.real * task.hidden).sum((2, 3), keepdim=True) / task.hidden.sum((2, 3), keepdim=True)
    learned = hidden_distance(painted, task.real, task.hidden, 32).mean()
    flat = hidden_distance(mean.expand_as(task.real), task.real, task.hidden, 32).mean()
    assert learned < 0.5 * flat

"""Training of the keypoint network: learns a few faces, goes on exactly where it stopped, refuses what it cannot use."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from loguru import logger

from trainer.cli import build_parser
from trainer.config import DataSettings, to_yaml
from trainer.evaluate_keypoints import compare, locate, measure, network_answers, served_batch
from trainer.fit_keypoints import KeypointRun, keypoint_loss
from trainer.keypoint_config import KeypointAugmentSettings, KeypointNetworkSettings, KeypointRunSettings, KeypointTrainSettings
from trainer.keypoint_samples import KeypointBatch
from trainer.schedule import rate_at


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.remove()


@pytest.fixture
def settings(faces_folder: Path) -> KeypointTrainSettings:
    return KeypointTrainSettings(
        data=DataSettings(kind="labels", root=str(faces_folder), validation_share=0.2, keypoint_threshold=0.0),
        network=KeypointNetworkSettings(widths=(8, 8, 8, 8), hidden=16),
        run=KeypointRunSettings(total_images=64, batch=8, log_every_images=16, validate_every_images=32, checkpoint_every_s=1e6),
    )


def batch_of(keypoints: list[list[list[float]]], scores: list[list[float]], units: list[float]) -> KeypointBatch:
    crops = torch.zeros(len(units), 64, 64, 3, dtype=torch.uint8)
    return KeypointBatch(crops=crops, keypoints=torch.tensor(keypoints), scores=torch.tensor(scores), units=torch.tensor(units))


def test_few_faces_are_learned(tmp_path: Path, settings: KeypointTrainSettings) -> None:
    still = KeypointAugmentSettings(
        flip=0, crop_min=1.4, crop_max=1.5, shift=0.0, rotate_deg=0.0, cut=0, occlude=0, color=0, gray=0, degrade=0
    )
    longer = msgspec.structs.replace(settings.run, total_images=4000, validate_every_images=10**6)
    training = KeypointRun(msgspec.structs.replace(settings, augment=still, run=longer), tmp_path)
    batch = served_batch(training.faces, range(training.faces.training), 0.225)
    before = measure(locate(network_answers(training.average), batch), batch)
    assert training.train()
    after = measure(locate(network_answers(training.average), batch), batch)
    for name in ("nose", "left_eye", "right_ear"):
        assert after.keypoints[name].median < 0.05 < before.keypoints[name].median


def test_a_resumed_run_equals_one_that_never_stopped(tmp_path: Path, settings: KeypointTrainSettings) -> None:
    whole = KeypointRun(settings, tmp_path / "whole")
    assert whole.train()
    parts = KeypointRun(settings, tmp_path / "parts")
    assert not parts.train(lambda run: run.stop() if run.images_seen >= 24 else None)
    torch.manual_seed(99)  # what happens between must not matter
    resumed = KeypointRun(settings, tmp_path / "parts", resume=True)
    assert resumed.images_seen == 24
    assert resumed.train()
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name


def test_guessed_labels_pull_nothing() -> None:
    batch = batch_of([[[0.5, 0.5]] * 7], [[0.9] * 5 + [0.2, 0.2]], [0.5])
    answer = torch.zeros(1, 7, 3, requires_grad=True)
    loss, values = keypoint_loss(answer, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert answer.grad is not None
    assert (answer.grad[0, :5, :2] != 0).all()
    assert (answer.grad[0, 5:, :2] == 0).all()
    # A shoulder whose place is a guess counts as not seen: its confidence is pulled down.
    assert (answer.grad[0, 5:, 2] > 0).all()
    assert float(values["distance"]) == pytest.approx(np.hypot(0.5, 0.5) / 0.5, rel=1e-5)


def test_the_learning_rate_rises_and_falls() -> None:
    assert rate_at(0.0) < 0.05
    assert rate_at(0.01) > 0.95
    assert rate_at(0.5) == pytest.approx(0.5)
    assert rate_at(1.0) == pytest.approx(0.0)


def test_figures_are_those_of_known_distances() -> None:
    batch = batch_of([[[0.5, 0.5]] * 7] * 2, [[0.9] * 6 + [0.1], [0.9] * 5 + [0.1, 0.1]], [0.5, 0.5])
    answers = np.full((2, 7, 3), 0.5, np.float32)
    answers[0, 0, 0] += 0.01  # 0.02 of the box
    answers[1, 0, 0] += 0.05  # 0.10
    answers[0, 5, 1] += 0.05  # 0.10, within a shoulder's tolerance
    report = measure(answers, batch)
    assert report.keypoints["nose"].median == pytest.approx(0.06, abs=1e-5)
    assert report.keypoints["nose"].within_tolerance == 0.5
    assert (report.keypoints["left_shoulder"].count, report.keypoints["right_shoulder"].count) == (1, 0)
    assert report.keypoints["left_shoulder"].within_tolerance == 1.0


def test_calibration_compares_what_was_said_with_what_was_right() -> None:
    figures = compare(np.array([0.6, 0.6, 0.65, 0.99], np.float32), np.array([True, False, True, True]))
    assert [(row.count, round(row.predicted, 3), round(row.right, 3)) for row in figures.rows] == [
        (3, 0.617, 0.667),
        (1, 0.99, 1.0),
    ]
    assert figures.expected_error == pytest.approx((3 * 0.05 + 0.01) / 4, abs=1e-6)
    assert figures.least_confident is not None
    assert (figures.least_confident.count, figures.least_confident.right) == (2, 0.5)
    nothing = compare(np.zeros(0, np.float32), np.zeros(0, np.bool_))
    assert (nothing.rows, nothing.expected_error, nothing.least_confident) == ((), 0.0, None)


def run_command(*arguments: str) -> int:
    parser, runs = build_parser(arguments)
    parsed = parser.parse_args(arguments)
    return runs[parsed.subcommand](parsed)


def test_the_commands_train_export_and_measure(
    tmp_path: Path, settings: KeypointTrainSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    config, folder = tmp_path / "keypoints.yaml", tmp_path / "run"
    config.write_text(to_yaml(settings))
    assert run_command("fit-keypoints", str(config), "-o", str(folder)) == 0
    assert run_command("fit-keypoints", str(config), "-o", str(folder)) == 2
    assert "--resume" in capsys.readouterr().err
    exported = tmp_path / "keypoints.onnx"
    assert run_command("export", str(folder / "keypoints.safetensors"), "-o", str(exported)) == 0
    assert exported.stat().st_size > 0
    figures, samples = tmp_path / "figures.json", tmp_path / "samples.png"
    measured = ["evaluate", "keypoints", "--data", settings.data.root, "--validation-share", "0.2"]
    weights = ["--weights", str(folder / "keypoints.safetensors"), "--json", str(figures), "--samples", str(samples)]
    assert run_command(*measured, *weights) == 0
    assert json.loads(figures.read_text())["faces"] > 0
    assert samples.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ("kind: fdf", 2, "data.kind must be labels"),
        ("kind: lables", 2, "lables"),
        ("root: nowhere", 3, "nowhere/labels.csv"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    tmp_path: Path, settings: KeypointTrainSettings, capsys: pytest.CaptureFixture[str], change: str, code: int, message: str
) -> None:
    key = change.split(":")[0]
    lines = [f"  {change}" if line.startswith(f"  {key}:") else line for line in to_yaml(settings).splitlines()]
    config = tmp_path / "keypoints.yaml"
    config.write_text("\n".join(lines))
    assert run_command("fit-keypoints", str(config), "-o", str(tmp_path / "run")) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error

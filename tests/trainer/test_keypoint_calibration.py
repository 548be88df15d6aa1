"""Calibrated confidences are worth what they say, on faces that had no part in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from loguru import logger
from numpy.typing import NDArray

from models.keypoint_network import Calibration
from models.keypoint_weights import load_keypoints
from trainer import keypoint_calibration
from trainer.config import DataSettings
from trainer.evaluate_keypoints import compare_parts
from trainer.fit_keypoints import KeypointRun
from trainer.keypoint_calibration import CALIBRATED_PARTS, FOLDS, LEAST_KEYPOINTS, Evidence, cross_fitted, fit_calibration
from trainer.keypoint_config import KeypointNetworkSettings, KeypointRunSettings, KeypointTrainSettings
from trainer.keypoint_samples import KeypointBatch, KeypointFaces

EASY = 2.0


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.remove()


def overconfident(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logits of a network that is right when it is sure and boasts when it is not, and whether each is right; (count, 7)."""
    random = np.random.default_rng(seed)
    logits = random.uniform(-1, 4, (count, 7)).astype(np.float32)
    truth = 1 / (1 + np.exp(-np.where(logits < EASY, 3 * (logits - EASY) + EASY, logits)))
    return logits, random.random((count, 7)) < truth


def on_line(logits: NDArray[np.float32], calibration: Calibration) -> NDArray[np.float32]:
    lines = list(zip(calibration.logits, calibration.confidences, strict=True))
    return np.stack([np.interp(logits[:, row], *lines[row]) for row in range(7)], 1).astype(np.float32)


def test_an_overconfident_network_is_put_right_on_other_faces() -> None:
    logits, is_right = overconfident(4000, 0)
    calibration = fit_calibration(logits, is_right, np.ones_like(is_right))
    assert calibration is not None
    others, is_right = overconfident(4000, 1)
    before = compare_parts((1 / (1 + np.exp(-others))).astype(np.float32), is_right, np.ones_like(is_right))
    after = compare_parts(on_line(others, calibration), is_right, np.ones_like(is_right))
    for part in CALIBRATED_PARTS:
        assert before[part].expected_error > 0.1
        assert after[part].expected_error < 0.02


def test_left_and_right_share_a_calibration() -> None:
    logits, is_right = overconfident(1000, 2)
    calibration = fit_calibration(logits, is_right, np.ones_like(is_right))
    assert calibration is not None
    for columns in CALIBRATED_PARTS.values():
        assert len({(calibration.logits[column], calibration.confidences[column]) for column in columns}) == 1
    assert len(set(calibration.confidences)) == len(CALIBRATED_PARTS)


def test_what_is_not_known_has_no_part() -> None:
    logits, is_right = overconfident(2 * LEAST_KEYPOINTS, 3)
    is_known = np.ones_like(is_right)
    is_known[: len(logits) // 2] = False
    other = is_right.copy()
    other[: len(logits) // 2] ^= True
    assert fit_calibration(logits, is_right, is_known) == fit_calibration(logits, other, is_known)
    is_known[:, 0] = False
    assert fit_calibration(logits, is_right, is_known) is None


def evidence_of(logits: NDArray[np.float32], is_right: NDArray[np.bool_], folds: NDArray[np.int64]) -> Evidence:
    """Crops on which each keypoint is at its label, or far away."""
    count = len(logits)
    points = np.where(is_right[:, :, None], 0.5, 5.0) * np.ones((1, 1, 2))
    batch = KeypointBatch(
        crops=torch.zeros(count, 1, 1, 3, dtype=torch.uint8),
        keypoints=torch.full((count, 7, 2), 0.5),
        scores=torch.ones(count, 7),
        units=torch.ones(count),
    )
    answers = np.concatenate((points, logits[:, :, None]), 2).astype(np.float32)
    return Evidence(batch=batch, answers=answers, folds=folds, is_served=np.ones(count, np.bool_))


def test_no_face_has_part_in_its_own_confidence() -> None:
    logits, is_right = overconfident(FOLDS * LEAST_KEYPOINTS, 4)
    folds = np.arange(len(logits)) % FOLDS
    confidences = cross_fitted(evidence_of(logits, is_right, folds))
    other = is_right.copy()
    other[folds == 2] ^= True
    changed = cross_fitted(evidence_of(logits, other, folds))
    assert confidences is not None
    assert changed is not None
    assert np.array_equal(confidences[folds == 2], changed[folds == 2])
    assert not np.array_equal(confidences[folds == 1], changed[folds == 1])


def test_too_few_faces_are_not_calibrated_on() -> None:
    logits, is_right = overconfident(LEAST_KEYPOINTS - 1, 5)
    assert fit_calibration(logits, is_right, np.ones_like(is_right)) is None
    assert cross_fitted(evidence_of(logits, is_right, np.arange(len(logits)) % FOLDS)) is None


def test_a_group_is_of_one_fold(faces_folder: Path) -> None:
    faces = KeypointFaces(DataSettings(kind="labels", root=str(faces_folder), validation_share=0.5, keypoint_threshold=0.0))
    folds = [faces.fold(number, 3) for number in range(len(faces))]
    assert set(folds) == {0, 1, 2}
    faces._groups = ["one person"] * len(faces)
    assert len({faces.fold(number, 3) for number in range(len(faces))}) == 1


def settings_of(faces_folder: Path) -> KeypointTrainSettings:
    return KeypointTrainSettings(
        data=DataSettings(kind="labels", root=str(faces_folder), validation_share=0.5, keypoint_threshold=0.0),
        network=KeypointNetworkSettings(widths=(8, 8, 8, 8), hidden=16),
        run=KeypointRunSettings(total_images=16, batch=8, checkpoint_every_s=1e6),
    )


def test_a_complete_run_is_calibrated_and_one_that_was_stopped_is_not(
    faces_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keypoint_calibration, "LEAST_KEYPOINTS", 20)
    stopped = KeypointRun(settings_of(faces_folder), tmp_path)
    assert not stopped.train(lambda run: run.stop())
    assert load_keypoints(tmp_path / "keypoints.safetensors")[0].calibration is None
    resumed = KeypointRun(settings_of(faces_folder), tmp_path, resume=True)
    assert resumed.train()
    first = load_keypoints(tmp_path / "keypoints.safetensors")[0].calibration
    assert first is not None
    # A complete run that goes on has nothing left to do but this, and does the same.
    assert KeypointRun(settings_of(faces_folder), tmp_path, resume=True).train()
    assert load_keypoints(tmp_path / "keypoints.safetensors")[0].calibration == first


def test_a_run_with_few_faces_says_that_it_is_not_calibrated(faces_folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    keypoint_run = KeypointRun(settings_of(faces_folder), tmp_path)
    number = logger.add(lines.append, level="WARNING", format="{message}")
    assert keypoint_run.train()
    logger.remove(number)
    assert "too few to calibrate the confidences on" in "".join(lines)
    assert load_keypoints(tmp_path / "keypoints.safetensors")[0].calibration is None

"""Guesses of shoulders without the picture: what they make of labels whose law is known."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.faces import KEYPOINT_NAMES
from trainer.cli import build_parser
from trainer.config import AugmentSettings, DataSettings
from trainer.dataset import LabelledFolder
from trainer.keypoint_baselines import BASELINES, guess_distances, known_shoulders, least_distance_fit

BOX = (0.3, 0.2, 0.7, 0.8)
PLACES = {"nose": (0.5, 0.55), "left_eye": (0.6, 0.4), "right_eye": (0.4, 0.4), "left_ear": (0.7, 0.45), "right_ear": (0.3, 0.45)}


def labelled_folder(root: Path, count: int, *, right_score: float = 0.8) -> LabelledFolder:
    """Faces of one picture that turn to the side by chance: shoulders lie 0.15 beyond and 0.4 below the ears, and move against the
    nose. Right ones are the mirror image of left ones.
    """
    root.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / "face.png"), np.zeros((32, 32, 3), np.uint8))
    random = np.random.default_rng(0)
    rows = []
    for number in range(count):
        turn, scatter = random.normal(0, 0.05), random.normal(0, 0.01, 4)
        points = {name: (x + turn * (name == "nose"), y) for name, (x, y) in PLACES.items()}
        points["left_ear"] = (0.7 + scatter[0], 0.45 + scatter[1])
        points["right_ear"] = (0.3 + scatter[2], 0.45 + scatter[3])
        for side, outwards in (("left", 0.15), ("right", -0.15)):
            x, y = points[f"{side}_ear"]
            points[f"{side}_shoulder"] = (x + outwards - 0.5 * turn, y + 0.4)
        row: dict[str, object] = {"path": "face.png", "group": number, "score": 0.9}
        row |= dict(zip(("x0", "y0", "x1", "y1"), BOX, strict=True))
        for name in KEYPOINT_NAMES:
            score = right_score if name == "right_shoulder" else 0.8
            row |= {f"{name}_x": points[name][0], f"{name}_y": points[name][1], f"{name}_s": score}
        rows.append(row)
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    settings = DataSettings(kind="labels", root=str(root), validation_share=0.3, keypoint_threshold=0.0)
    return LabelledFolder(root, settings, AugmentSettings())


def test_wrong_labels_do_not_pull_the_place_away() -> None:
    random = np.random.default_rng(1)
    places = np.concatenate((random.normal((0.5, 0.9), 0.05, (70, 2)), random.normal((0.4, -0.5), 0.05, (30, 2))))
    weights = least_distance_fit(np.ones((100, 1)), places)
    assert weights[0] == pytest.approx((0.5, 0.9), abs=0.04)
    assert np.linalg.norm(places.mean(0) - (0.5, 0.9)) > 0.3


def test_a_law_between_keypoints_is_found_for_both_sides(tmp_path: Path) -> None:
    distances = guess_distances(labelled_folder(tmp_path, 200))
    assert list(distances) == list(BASELINES)
    one_place, from_others = distances.values()
    assert len(from_others) == len(one_place) > 60
    assert from_others.max() < 0.002
    # The nose's scatter of 0.05 moves shoulders by 0.025, the ears' adds 0.014, of a box of 0.6.
    assert 0.02 < np.median(one_place) < 0.08


def test_guessed_labels_count_for_nothing(tmp_path: Path) -> None:
    folder = labelled_folder(tmp_path, 40, right_score=0.1)
    labels = known_shoulders(folder, range(len(folder)))
    assert len(labels) == 40
    assert (labels.shoulders[:, 0] > 0).all()
    assert labels.faces.shape == (40, 10)


def test_too_few_faces_give_no_baseline(tmp_path: Path) -> None:
    assert guess_distances(labelled_folder(tmp_path, 20)) == {}


@pytest.mark.parametrize("is_asked", [True, False])
def test_the_command_tells_baselines_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str], is_asked: bool) -> None:
    labelled_folder(tmp_path, 150)
    command = ["evaluate", "keypoints", "--data", str(tmp_path), "--validation-share", "0.3", *["--baselines"] * is_asked]
    parser, runs = build_parser(command)
    parsed = parser.parse_args(command)
    assert runs[parsed.subcommand](parsed) == 0
    printed = capsys.readouterr().out
    assert all((f"| {name} | " in printed) == is_asked for name in BASELINES)

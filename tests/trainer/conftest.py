"""A small data set of faces of nobody and a run small enough for a test."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import pytest
import torch

from models.faces import KEYPOINT_NAMES
from trainer.config import (
    AugmentSettings,
    DataSettings,
    LossSettings,
    NetworkSettings,
    OptimizerSettings,
    RunSettings,
    TrainSettings,
)
from trainer.dataset import LabelledFolder
from trainer.methods import EvaluationFace, choose_faces
from trainer.schedule import Phase

# The networks of these tests are too small to share out: more threads would only wait for each other.
torch.set_num_threads(1)

DEMO_FACES = Path(__file__).parents[2] / "streamer" / "demo_faces"

POINTS = {
    "nose": (0.50, 0.60),
    "left_eye": (0.62, 0.47),
    "right_eye": (0.38, 0.47),
    "left_ear": (0.74, 0.52),
    "right_ear": (0.26, 0.52),
    "left_shoulder": (0.85, 0.95),
    "right_shoulder": (0.15, 0.95),
}
"""Where the keypoints of the demo faces lie, near enough."""


@pytest.fixture(scope="session")
def faces_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen faces at 96 pixels with labels.csv; shoulders have a low score."""
    folder = tmp_path_factory.mktemp("faces")
    rows = []
    for number, path in enumerate(sorted(DEMO_FACES.glob("*.jpg"))):
        picture = cv2.resize(cv2.imread(str(path)), (96, 96), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / path.name), picture)
        row: dict[str, object] = {"path": path.name, "group": f"person {number}", "score": 0.9}
        row |= dict(zip(("x0", "y0", "x1", "y1"), (0.26, 0.22, 0.74, 0.84), strict=True))
        for name in KEYPOINT_NAMES:
            row |= {f"{name}_x": POINTS[name][0], f"{name}_y": POINTS[name][1], f"{name}_s": 0.1 if "shoulder" in name else 0.9}
        rows.append(row)
    assert len(rows) == 16
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture
def small_settings(faces_folder: Path) -> TrainSettings:
    """8 to 16 pixels in 64 images, then on to 96."""
    return TrainSettings(
        data=DataSettings(kind="labels", root=str(faces_folder), validation_share=0.2),
        network=NetworkSettings(generator_widths=(12, 12, 8), discriminator_widths=(12, 12, 8), has_mask=True, epsilon=1e-6),
        phases=(
            Phase(resolution=8, stabilize_images=32, batch=8),
            Phase(resolution=16, fade_images=32, batch=4),
        ),
        run=RunSettings(total_images=96, device="cpu", log_every_images=16, samples_every_images=48, checkpoint_every_s=1e6),
        augment=AugmentSettings(),
        loss=LossSettings(kind="non-saturating", penalty=1.0, penalty_every=2, reconstruction=1.0, diversity=1.0),
        optimizer=OptimizerSettings(reset_at_growth=False),
    )


@pytest.fixture(scope="session")
def faces(faces_folder: Path) -> list[EvaluationFace]:
    """Four of them, prepared for an evaluation at 16 pixels."""
    settings = DataSettings(kind="labels", root=str(faces_folder), validation_share=0.5)
    data = LabelledFolder(faces_folder, settings, AugmentSettings())
    return choose_faces(data, 4, 0, resolution=16, expansion=0.2)[0]

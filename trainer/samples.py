"""Pictures of what a generator paints, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.generator_weights import write_atomically
from models.geometry import to_pixels
from trainer.task import Task

FACES_A_ROW = 4


def save_samples(path: Path, task: Task, *painted: Tensor) -> NDArray[np.uint8]:
    """Write a PNG: for each face the original, what the generator was given, and each of `painted`, (B, 3, R, R), side by side.

    Returns the picture, (height, width, 3).
    """
    return save_grid(path, [_pictures(images) for images in (task.real, task.condition, *painted)])


def save_grid(path: Path, columns: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Write a PNG: for each face its picture in every column, (B, R, R, 3), side by side; several faces a row. Returns it."""
    faces = np.concatenate(columns, 2)
    count, height, width, _ = faces.shape
    missing = -count % FACES_A_ROW
    faces = np.concatenate((faces, np.zeros((missing, height, width, 3), np.uint8)))
    grid = faces.reshape(-1, FACES_A_ROW, height, width, 3).transpose(0, 2, 1, 3, 4).reshape(-1, FACES_A_ROW * width, 3)
    written, content = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(grid), cv2.COLOR_RGB2BGR))
    if not written:
        raise RuntimeError(f"{path}: the grid cannot be encoded as PNG")
    write_atomically(path, content.tobytes())
    return grid


def _pictures(images: Tensor) -> NDArray[np.uint8]:
    return to_pixels(images.detach().to("cpu", torch.float32).permute(0, 2, 3, 1).numpy())

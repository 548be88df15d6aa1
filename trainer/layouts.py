"""How a data set of faces lies on the disk: a plain folder with labels.csv, or the layout of the Flickr Diverse Faces."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import msgspec
import numpy as np

from models.detectors import RgbImage
from models.faces import KEYPOINT_NAMES
from models.geometry import PAPER_EXPANSION
from trainer.labelling import CropSettings

JPEG_QUALITY = 92
VALIDATION_SHARE = 0.04
"""fdf: at least this part of the faces, the last ones, are offered for validation."""


class FaceRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a face of a data set; box and keypoints are relative to its picture, 0 to 1, and may lie outside."""

    path: str
    """Of the picture, relative to the data set."""
    group: str
    """Person or source; what is of one group is all for training or all for validation."""
    set: str
    gray: bool
    score: float
    box: tuple[float, float, float, float]
    keypoints: tuple[tuple[float, float, float], ...]
    """x, y, score; a score of 0 is an absent keypoint."""
    width_px: float
    """Of the face in its source."""
    brightness: float
    sharpness: float
    time_s: float
    """In a video."""


class Layout(Protocol):
    """Where pictures and labels go."""

    name: str

    def write_picture(self, root: Path, number: int, stem: str, picture: RgbImage) -> str:
        """Write the picture of face `number`, from 0; returns its path relative to the root. Raises OSError."""
        ...

    def write_labels(self, root: Path, rows: Sequence[FaceRow]) -> None:
        """Write the labels of all faces, so that there is always a whole file. Raises OSError."""
        ...


class LabelsLayout:
    """faces/*.jpg and labels.csv, as `trainer.dataset.LabelledFolder` reads them."""

    name = "labels"

    def write_picture(self, root: Path, number: int, stem: str, picture: RgbImage) -> str:
        path = f"faces/{stem}.jpg"
        _write_encoded(root / path, picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return path

    def write_labels(self, root: Path, rows: Sequence[FaceRow]) -> None:
        text = io.StringIO()
        writer = csv.writer(text)
        points = [f"{name}_{part}" for name in KEYPOINT_NAMES for part in "xys"]
        writer.writerow(["path", "group", "set", "gray", "score", "x0", "y0", "x1", "y1", *points])
        for row in rows:
            numbers = [*row.box, *(value for point in row.keypoints for value in point)]
            written = [f"{value:.4f}" for value in numbers]
            writer.writerow([row.path, row.group, row.set, int(row.gray), f"{row.score:.3f}", *written])
        replace_file(root / "labels.csv", text.getvalue())


class FdfLayout:
    """images/SIZE/NUMBER.png, halved down to 4 pixels, and fdf_metainfo.json, as `trainer.fdf.FlickrDiverseFaces` reads them."""

    name = "fdf"

    def write_picture(self, root: Path, number: int, stem: str, picture: RgbImage) -> str:
        size = picture.shape[0]
        path = f"images/{size}/{number}.png"
        while True:
            _write_encoded(root / f"images/{picture.shape[0]}/{number}.png", picture, [])
            if picture.shape[0] <= 4 or picture.shape[0] % 2:
                return path
            picture = halved(picture)

    def write_labels(self, root: Path, rows: Sequence[FaceRow]) -> None:
        training = len(rows) - validation_images(rows)
        content = {
            str(number): {
                "bounding_box": row.box,
                "landmark": [point[:2] for point in row.keypoints],
                "landmark_score": [point[2] for point in row.keypoints],
                "category": "training" if number < training else "validation",
                "group": row.group,
            }
            for number, row in enumerate(rows)
        }
        replace_file(root / "fdf_metainfo.json", json.dumps(content))


LAYOUTS: dict[str, Callable[[], Layout]] = {"labels": LabelsLayout, "fdf": FdfLayout}


def default_crops(layout: str) -> CropSettings:
    """labels: large enough for shifts and rotations. fdf: as published."""
    if layout == "fdf":
        return CropSettings(resolution=128, expansion=PAPER_EXPANSION, is_exact=True)
    return CropSettings()


def halved(picture: RgbImage) -> RgbImage:
    """Mean of 2x2 pixels, truncated, as the published data set was made."""
    side = picture.shape[0] // 2
    sums = picture.astype(np.uint16).reshape(side, 2, side, 2, 3).sum(axis=(1, 3))
    result: RgbImage = (sums // 4).astype(np.uint8)
    return result


def validation_images(rows: Sequence[FaceRow]) -> int:
    """How many of the last faces to hold back so that no group lies on both sides; 0 where there is only one group."""
    wanted = len(rows) * VALIDATION_SHARE
    before = _counts(rows)
    held: dict[str, int] = {}
    for number in range(len(rows) - 1, 0, -1):
        group = rows[number].group
        held[group] = held.get(group, 0) + 1
        count = len(rows) - number
        is_cut = sum(held.values()) != sum(before[name] for name in held)
        if count >= wanted and not is_cut:
            return count
    return 0


def _counts(rows: Sequence[FaceRow]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.group] = counts.get(row.group, 0) + 1
    return counts


def _write_encoded(path: Path, picture: RgbImage, options: list[int]) -> None:
    _, content = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.tobytes())


def replace_file(path: Path, text: str) -> None:
    """Write the file so that at any moment the old or the new one is there, whole. Raises OSError."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

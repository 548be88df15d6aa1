"""The Flickr Diverse Faces: both published layouts, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import torch
from loguru import logger

from tests.trainer.test_dataset import STILL, stage
from trainer.config import DataSettings, TrainSettings
from trainer.dataset import ExampleSource
from trainer.fdf import FlickrDiverseFaces
from trainer.pictures import DataError


@pytest.fixture
def fdf(tmp_path: Path) -> Path:
    """Twelve faces in the published layout at 8 and 16 pixels, with numbers that sort differently as text."""
    meta = {}
    random = np.random.default_rng(0)
    for number in range(12):
        for size in (8, 16):
            (tmp_path / "images" / str(size)).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "images" / str(size) / f"{number}.png"), random.integers(0, 256, (size, size, 3), np.uint8))
        meta[str(number)] = {
            "bounding_box": [0.25, 0.3, 0.75, 0.8],
            "landmark": [[0.5, 0.5 + 0.01 * number]] * 7,
            "category": "training",
        }
    (tmp_path / "fdf_metainfo.json").write_text(json.dumps(meta))
    return tmp_path


def open_fdf(folder: Path, held_back: int = 2, **augment: float) -> FlickrDiverseFaces:
    settings = DataSettings(kind="fdf", root=str(folder), validation_images=held_back)
    return FlickrDiverseFaces(folder, settings, msgspec.structs.replace(STILL, **augment))


def test_fdf_holds_back_its_last_pictures_and_paints_the_floored_box(fdf: Path) -> None:
    data = open_fdf(fdf)
    assert (len(data), data.training) == (12, 10)
    example = data.example(10, stage(16), np.random.default_rng(0))
    assert example.keypoints[1] == pytest.approx(0.6)
    rows, columns = np.nonzero(example.mask)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (4, 12, 4, 12)


def test_the_box_of_fdf_is_faded_like_its_picture(fdf: Path) -> None:
    """y: floor(4.8) = 4, floor(12.8) = 12; x at 16 pixels 0.31 would be 4 of which half resolution keeps 4."""
    meta = json.loads((fdf / "fdf_metainfo.json").read_text())
    meta["0"]["bounding_box"] = [5 / 16, 5 / 16, 11 / 16, 11 / 16]
    (fdf / "fdf_metainfo.json").write_text(json.dumps(meta))
    for alpha, first in ((0.0, 4), (0.5, 4), (1.0, 5)):
        mask = open_fdf(fdf).example(0, stage(16, alpha), np.random.default_rng(0)).mask
        assert np.nonzero(mask.any(1))[0][0] == first


def test_a_mirrored_picture_of_fdf_keeps_its_eyes_unless_told_otherwise(fdf: Path) -> None:
    meta = json.loads((fdf / "fdf_metainfo.json").read_text())
    meta["0"]["landmark"] = [[0.5, 0.5], [0.6, 0.4], [0.3, 0.4], *[[0.5, 0.5]] * 4]
    (fdf / "fdf_metainfo.json").write_text(json.dumps(meta))
    as_published = open_fdf(fdf, flip=1.0, swap_left_right=False).example(0, stage(16), np.random.default_rng(0))
    swapped = open_fdf(fdf, flip=1.0, swap_left_right=True).example(0, stage(16), np.random.default_rng(0))
    assert as_published.keypoints[2:6] == pytest.approx([0.4, 0.4, 0.7, 0.4])
    assert swapped.keypoints[2:6] == pytest.approx([0.7, 0.4, 0.4, 0.4])


def test_fdf_without_usable_metainfo_is_refused(fdf: Path) -> None:
    with pytest.raises(DataError, match="leave none to train on"):
        open_fdf(fdf, held_back=12)
    (fdf / "fdf_metainfo.json").write_text('{"0": {}}')
    with pytest.raises(DataError, match="bounding_box"):
        open_fdf(fdf)


def test_fdf_pictures_of_another_size_are_left_out_and_named(fdf: Path, small_settings: TrainSettings) -> None:
    cv2.imwrite(str(fdf / "images" / "16" / "3.png"), np.zeros((12, 16, 3), np.uint8))
    logger.remove()
    source = ExampleSource(open_fdf(fdf), small_settings.run.seed)
    assert source.batch(range(10), stage(16)).pictures.shape == (10, 3, 16, 16)
    (message,) = source.unreadable.values()
    assert message.endswith("3.png: must be 16 pixels square, is 16x12")


def test_fdf_keypoints_in_pixels_are_refused(fdf: Path) -> None:
    meta = json.loads((fdf / "fdf_metainfo.json").read_text())
    meta["4"]["landmark"][2] = [80, 70]
    (fdf / "fdf_metainfo.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match=r"fdf_metainfo\.json: face 4 has keypoints far outside"):
        open_fdf(fdf)


@pytest.mark.parametrize("suffix", ["npy", "torch"])
def test_fdf_arrays_say_what_its_metainfo_says(fdf: Path, suffix: str) -> None:
    from_metainfo = open_fdf(fdf)
    meta = json.loads((fdf / "fdf_metainfo.json").read_text())
    for size in (8, 16):
        boxes = np.floor(np.array([meta[str(n)]["bounding_box"] for n in range(12)]) * size + 1e-6).astype(np.int64)
        points = (np.array([meta[str(n)]["landmark"] for n in range(12)], np.float32) * size).reshape(12, 14)
        for folder, array in (("bounding_box", boxes), ("landmarks", points)):
            path = fdf / folder / f"{size}.{suffix}"
            path.parent.mkdir(exist_ok=True)
            if suffix == "npy":
                np.save(path, array)
            else:
                torch.save(torch.from_numpy(array), path)
    (fdf / "fdf_metainfo.json").unlink()
    from_arrays = open_fdf(fdf)
    assert len(from_arrays) == len(from_metainfo) == 12
    for number in range(12):
        for size in (8, 16):
            one, other = (data.example(number, stage(size), np.random.default_rng(0)) for data in (from_metainfo, from_arrays))
            assert np.array_equal(one.picture, other.picture)
            assert np.array_equal(one.mask, other.mask)
            assert np.allclose(one.keypoints, other.keypoints, atol=1e-6)
    (fdf / "bounding_box" / f"16.{suffix}").write_bytes(b"damaged")
    with pytest.raises(DataError, match="damaged, or not an array"):
        open_fdf(fdf)

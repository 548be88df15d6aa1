"""The Flickr Diverse Faces (FDF) as published."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.faces import KEYPOINT_NAMES
from models.geometry import PAPER_EXPANSION
from trainer.augment import SWAPPED, Example
from trainer.config import AugmentSettings, DataSettings
from trainer.pictures import DataError, PictureError, read_picture
from trainer.schedule import Stage


class FlickrDiverseFaces:
    """FDF as its downloader leaves it: images/<resolution>/<number>.png with fdf_metainfo.json, or with the arrays
    bounding_box/<resolution> and landmarks/<resolution> (.npy or .torch), which are read where there is no metainfo.

    A picture is mirrored and its box jittered as in the published training; nothing else is varied.
    """

    def __init__(self, root: Path, settings: DataSettings, augment: AugmentSettings) -> None:
        """Raises DataError where boxes or keypoints are missing or malformed or leave nothing to train on."""
        self._root = root
        self._augment = augment
        self.expansion = PAPER_EXPANSION
        path = root / "fdf_metainfo.json"
        self._boxes: dict[int, NDArray[np.float64]] = {}
        self._relative: NDArray[np.float64] | None = None
        if path.exists() or not (root / "bounding_box").is_dir():
            self._names, self._relative, self._keypoints = _read_metainfo(path)
        else:
            path = root / "bounding_box"
            self._boxes, self._keypoints = _read_arrays(root)
            self._names = [str(number) for number in range(len(self._keypoints))]
        is_far = (np.abs(self._keypoints - 0.5) > 1.5).any((1, 2))
        if is_far.any():
            name = self._names[int(np.argmax(is_far))]
            raise DataError(f"{path}: face {name} has keypoints far outside its picture; they must be relative to it, 0 to 1")
        self.training = len(self._names) - settings.validation_images
        if self.training <= 0:
            raise DataError(
                f"{path}: {len(self._names)} faces leave none to train on when {settings.validation_images} are held back"
            )

    def _box(self, number: int, size: int) -> NDArray[np.float64]:
        """The box in pixels of a resolution, as published."""
        if self._relative is not None:
            # The tolerance keeps what was written as a decimal fraction from falling a pixel short.
            box: NDArray[np.float64] = np.floor(self._relative[number] * size + 1e-6)
            return box
        if size not in self._boxes:
            raise DataError(f"{self._root / 'bounding_box'}: has no boxes for {size} pixels")
        boxes = self._boxes[size]
        published: NDArray[np.float64] = boxes[number]
        return published

    def __len__(self) -> int:
        return len(self._names)

    def example(self, number: int, stage: Stage, random: np.random.Generator) -> Example:
        size = stage.resolution
        path = self._root / "images" / str(size) / f"{self._names[number]}.png"
        picture = read_picture(path)
        if picture.shape != (size, size, 3):
            raise PictureError(f"{path}: must be {size} pixels square, is {picture.shape[1]}x{picture.shape[0]}")
        box = self._box(number, size)
        keypoints = self._keypoints[number]
        if random.random() < self._augment.flip:
            picture = np.ascontiguousarray(picture[:, ::-1])
            box = np.array([size - box[2], box[1], size - box[0], box[3]])
            keypoints = keypoints * np.array([-1, 1], np.float32) + np.array([1, 0], np.float32)
            keypoints = keypoints[list(SWAPPED)] if self._augment.swap_left_right else keypoints
        grow = random.uniform(-self._augment.box_jitter, self._augment.box_jitter)
        width, height = int(grow * (box[2] - box[0])), int(grow * (box[3] - box[1]))
        box = np.clip(box + np.array([-width, -height, width, height]), 0, size)
        # While a resolution is faded in, so is the painted box.
        box = np.trunc(np.floor(box / 2) * 2 * (1 - stage.alpha) + box * stage.alpha).astype(int)
        mask = np.zeros((size, size), np.bool_)
        mask[box[1] : box[3], box[0] : box[2]] = True
        return Example(picture=picture, mask=mask, keypoints=keypoints.reshape(-1))


def _read_metainfo(path: Path) -> tuple[list[str], NDArray[np.float64], NDArray[np.float32]]:
    """Names in numerical order, boxes (N, 4) and keypoints (N, 7, 2) relative to the picture."""
    try:
        content = json.loads(path.read_text("utf-8"))
        names = sorted(content, key=int)
        boxes = np.array([content[name]["bounding_box"] for name in names], np.float64).reshape(-1, 4)
        keypoints = np.array([content[name]["landmark"] for name in names], np.float32).reshape(-1, len(KEYPOINT_NAMES), 2)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read: {error!r}") from error
    return names, boxes, keypoints


def _read_arrays(root: Path) -> tuple[dict[int, NDArray[np.float64]], NDArray[np.float32]]:
    """Boxes (N, 4) in pixels for each resolution, and keypoints (N, 7, 2) relative to the picture, from its finest resolution."""
    boxes = {int(path.stem): _read_array(path).astype(np.float64).reshape(-1, 4) for path in _arrays(root / "bounding_box")}
    found = {int(path.stem): path for path in _arrays(root / "landmarks")}
    if not boxes or not found:
        raise DataError(f"{root}: bounding_box/ and landmarks/ must hold an array for each resolution, .npy or .torch")
    finest = max(found)
    pixels = np.asarray(_read_array(found[finest]), np.float32)
    keypoints = (pixels / np.float32(finest)).reshape(-1, len(KEYPOINT_NAMES), 2)
    for size, array in boxes.items():
        if len(array) != len(keypoints):
            raise DataError(
                f"{root / 'bounding_box'}: {len(array)} boxes at {size} pixels, but {len(keypoints)} faces have keypoints"
            )
    return boxes, keypoints


def _arrays(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*")) if path.suffix in (".npy", ".torch") and path.stem.isdigit()]


def _read_array(path: Path) -> NDArray[np.generic]:
    try:
        if path.suffix == ".npy":
            array: NDArray[np.generic] = np.load(path, allow_pickle=False)
            return array
        return torch.load(path, map_location="cpu", weights_only=True).numpy()  # type: ignore[no-any-return]
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: damaged, or not an array ({str(error).splitlines()[0]})") from error

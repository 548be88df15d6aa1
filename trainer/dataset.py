"""Training data: readers that give the example at any position of an endless, shuffled, repeatable sequence.

folder + labels.csv, or FDF -> FaceData -> ExampleSource.batch(position, ...) -> Batch
"""

from __future__ import annotations

import csv
import hashlib
import json
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from loguru import logger
from numpy.typing import NDArray
from torch import Tensor

from models.detectors import RgbImage
from models.faces import KEYPOINT_NAMES
from models.geometry import PAPER_EXPANSION
from trainer.augment import SWAPPED, Example, LabelledFace, vary
from trainer.config import AugmentSettings, DataSettings, TrainSettings
from trainer.schedule import Stage


class DataError(ValueError):
    """A data set cannot be used; the message begins with its path and says what is wrong."""


class PictureError(ValueError):
    """One picture cannot be read; the message begins with its path."""


class FaceData(Protocol):
    """Faces by number, from 0; the first `training` of them are for training, the others never are."""

    @property
    def training(self) -> int: ...

    @property
    def expansion(self) -> float:
        """Mean growth of the crops beyond the face box on each side, as `geometry.expand_to_square` takes it."""
        ...

    def __len__(self) -> int: ...

    def example(self, number: int, stage: Stage, random: np.random.Generator) -> Example:
        """One face, varied by `random`, as it is needed in this stage. Raises PictureError."""
        ...


def read_picture(path: Path) -> RgbImage:
    """Decode a picture. Raises PictureError where it is missing or damaged."""
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if len(content) else None
    except (OSError, cv2.error) as error:
        raise PictureError(f"{path}: {error}") from error
    if picture is None:
        raise PictureError(f"{path}: not a picture, or damaged")
    return np.asarray(picture, np.uint8)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Row:
    """A row of labels.csv; box and keypoints are relative to the picture, not a number where absent."""

    path: str
    box: NDArray[np.float32]
    keypoints: NDArray[np.float32]


class LabelledFolder:
    """Pictures of one face each with a labels.csv: path, group, score, x0 y0 x1 y1, and NAME_x NAME_y NAME_s for each keypoint,
    relative to the picture.

    Pictures of one group (a person, a source picture) are all for training or all for validation.
    """

    def __init__(self, root: Path, settings: DataSettings, augment: AugmentSettings) -> None:
        """Raises DataError where labels are missing, malformed, or leave nothing to train on."""
        self._root = root
        self._augment = augment
        self.expansion = ((augment.crop_min + augment.crop_max) / 2 - 1) / 2
        kept: dict[bool, list[_Row]] = {False: [], True: []}
        path = root / "labels.csv"
        try:
            with path.open(newline="", encoding="utf-8") as file:
                for number, fields in enumerate(csv.DictReader(file), 2):
                    row = self._row(fields, settings, f"{path}, line {number}")
                    if row is not None:
                        kept[_is_validation(fields["group"], settings.validation_share)].append(row)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        self._rows = kept[False] + kept[True]
        self.training = len(kept[False])
        if not self.training:
            raise DataError(f"{path}: no face to train on (score of at least {settings.min_score}, not held back for validation)")

    @staticmethod
    def _row(fields: dict[str, str], settings: DataSettings, place: str) -> _Row | None:
        try:
            if float(fields["score"]) < settings.min_score:
                return None
            box = np.array([fields[name] for name in ("x0", "y0", "x1", "y1")], np.float32)
            points = np.array([[fields[f"{name}_{part}"] for part in "xys"] for name in KEYPOINT_NAMES], np.float32)
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"{place}: a column is missing or not a number ({error})") from error
        if not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
            raise DataError(f"{place}: the face box is empty or not finite")
        keypoints = np.where(points[:, 2:] >= settings.keypoint_threshold, points[:, :2], np.float32(np.nan))
        return _Row(path=fields["path"], box=box, keypoints=keypoints)

    def __len__(self) -> int:
        return len(self._rows)

    def face(self, number: int) -> LabelledFace:
        """Raises PictureError."""
        row = self._rows[number]
        picture = read_picture(self._root / row.path)
        size = np.array(picture.shape[1::-1], np.float32)
        return LabelledFace(picture=picture, box=row.box * np.tile(size, 2), keypoints=row.keypoints * size)

    def example(self, number: int, stage: Stage, random: np.random.Generator) -> Example:
        return vary(self.face(number), stage.resolution, self._augment, random)


def _is_validation(group: str, share: float) -> bool:
    """Decided by the group's name alone, so that adding pictures never moves a person from one side to the other."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8]) < share * 2**64


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


READERS: dict[str, Callable[[Path, DataSettings, AugmentSettings], FaceData]] = {
    "labels": LabelledFolder,
    "fdf": FlickrDiverseFaces,
}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples as tensors: pictures (B, 3, R, R) uint8, masks (B, 1, R, R) bool, keypoints (B, 2 K) float32."""

    pictures: Tensor
    masks: Tensor
    keypoints: Tensor


def collate(examples: Sequence[Example]) -> Batch:
    """Stack examples of one resolution."""
    pictures = np.stack([example.picture for example in examples]).transpose(0, 3, 1, 2)
    return Batch(
        pictures=torch.from_numpy(np.ascontiguousarray(pictures)),
        masks=torch.from_numpy(np.stack([example.mask for example in examples])[:, None]),
        keypoints=torch.from_numpy(np.stack([example.keypoints for example in examples])),
    )


class ExampleSource:
    """The endless sequence of examples of a run: position n is always the same example, whatever was asked for before.

    Each pass through the data has an order of its own. Pictures that cannot be read are replaced by the next in order, and counted.
    """

    def __init__(self, data: FaceData, settings: TrainSettings) -> None:
        self._data = data
        self._seed = settings.run.seed
        threads = settings.data.loader_threads
        self._pool = ThreadPoolExecutor(threads, "loader") if threads else None
        self.unreadable: dict[int, str] = {}
        """Number of each picture that could not be read, and why."""
        self._order = lru_cache(maxsize=2)(self._shuffled)

    @property
    def training(self) -> int:
        """Number of faces to train on."""
        return self._data.training

    @property
    def expansion(self) -> float:
        """Mean growth of the crops beyond the face box on each side."""
        return self._data.expansion

    def _shuffled(self, turn: int) -> NDArray[np.int64]:
        return np.random.default_rng((self._seed, 1, turn)).permutation(self._data.training)

    def example(self, position: int, stage: Stage) -> Example:
        """The example at a position. Raises DataError where no picture of the data set can be read."""
        for step in range(self._data.training):
            turn, place = divmod(position + step, self._data.training)
            number = int(self._order(turn)[place])
            if number not in self.unreadable:
                try:
                    return self._data.example(number, stage, np.random.default_rng((self._seed, 2, position)))
                except PictureError as error:
                    self.unreadable[number] = str(error)
                    logger.warning("a picture cannot be read and is left out: {}", error)
        raise DataError(
            f"none of the {self._data.training} pictures can be read; the last: {next(reversed(self.unreadable.values()))}"
        )

    def batch(self, positions: Sequence[int], stage: Stage) -> Batch:
        """The examples at these positions."""
        if self._pool is None:
            return collate([self.example(position, stage) for position in positions])
        return collate(list(self._pool.map(lambda position: self.example(position, stage), positions)))

    def validation(self, count: int, stage: Stage) -> Batch:
        """Faces that are never trained on (of the training set, where none are held back), always the same."""
        whole = range(self._data.training, len(self._data)) or range(self._data.training)
        # Spread over the set: neighbours in the list are often pictures of one person.
        numbers = whole[:: max(1, len(whole) // count)][:count]
        return collate([self._data.example(number, stage, np.random.default_rng((self._seed, 3, number))) for number in numbers])

"""Training data: readers that give the example at any position of an endless, shuffled, repeatable sequence.

folder + labels.csv, or FDF -> FaceData -> ExampleSource.batch(position, ...) -> Batch
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from loguru import logger
from numpy.typing import NDArray
from torch import Tensor

from models.faces import KEYPOINT_NAMES
from trainer.augment import Example, LabelledFace, vary
from trainer.config import AugmentSettings, DataSettings
from trainer.fdf import FlickrDiverseFaces
from trainer.pictures import DataError as DataError
from trainer.pictures import PictureError as PictureError
from trainer.pictures import read_picture
from trainer.schedule import Stage


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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Row:
    """A row of labels.csv; box and keypoints are relative to the picture, not a number where absent. scores: (K,)."""

    path: str
    group: str
    box: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]


class LabelledFolder:
    """Pictures of one face each with a labels.csv: path, group, score, x0 y0 x1 y1, and NAME_x NAME_y NAME_s for each keypoint,
    relative to the picture.

    Pictures of one group (a person, a source picture) are all for training or all for validation.
    """

    def __init__(self, root: Path, settings: DataSettings, augment: AugmentSettings) -> None:
        """Raises DataError where labels are missing, malformed, or leave nothing to train on."""
        self.root = root
        self._augment = augment
        self.expansion = ((augment.crop_min + augment.crop_max) / 2 - 1) / 2
        kept: dict[bool, list[_Row]] = {False: [], True: []}
        rows = 0
        path = root / "labels.csv"
        try:
            with path.open(newline="", encoding="utf-8") as file:
                for number, fields in enumerate(csv.DictReader(file), 2):
                    rows += 1
                    row = self._row(fields, settings, f"{path}, line {number}")
                    if row is not None:
                        kept[_is_validation(row.group, settings.validation_share)].append(row)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        if not rows:
            raise DataError(f"{path}: holds no faces, one a line below the names of the columns is needed")
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
            path, group = fields["path"], fields["group"]
            points = np.array([[fields[f"{name}_{part}"] for part in "xys"] for name in KEYPOINT_NAMES], np.float32)
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"{place}: a column is missing or not a number ({error})") from error
        if not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
            raise DataError(f"{place}: the face box is empty or not finite")
        labelled = points[points[:, 2] >= settings.keypoint_threshold, :2]
        if (np.abs(box - 0.5) > 1.5).any() or (np.abs(labelled - 0.5) > 1.5).any():
            raise DataError(f"{place}: box or keypoints lie far outside the picture; they must be relative to it, 0 to 1")
        keypoints = np.where(points[:, 2:] >= settings.keypoint_threshold, points[:, :2], np.float32(np.nan))
        return _Row(path=path, group=group, box=box, keypoints=keypoints, scores=points[:, 2])

    def __len__(self) -> int:
        return len(self._rows)

    def group(self, number: int) -> str:
        """The person or source picture of a face."""
        return self._rows[number].group

    def face(self, number: int) -> LabelledFace:
        """Raises PictureError."""
        row = self._rows[number]
        picture = read_picture(self.root / row.path)
        size = np.array(picture.shape[1::-1], np.float32)
        return LabelledFace(picture=picture, box=row.box * np.tile(size, 2), keypoints=row.keypoints * size)

    def path(self, number: int) -> str:
        """Of a face's picture, relative to the folder."""
        return self._rows[number].path

    def keypoint_scores(self, number: int) -> NDArray[np.float32]:
        """(K,): how sure whatever labelled the face was of each keypoint."""
        return self._rows[number].scores

    def example(self, number: int, stage: Stage, random: np.random.Generator) -> Example:
        return vary(self.face(number), stage.resolution, self._augment, random)


def _is_validation(group: str, share: float) -> bool:
    """Decided by the group's name alone, so that adding pictures never moves a person from one side to the other."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8]) < share * 2**64


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

    def __init__(self, data: FaceData, seed: int, threads: int = 0) -> None:
        """threads: that prepare examples; 0 prepares them where they are asked for."""
        self._data = data
        self._seed = seed
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
                    self._leave_out(number, error)
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
        examples = [example for number in numbers if (example := self._held_back(number, stage)) is not None]
        if not examples:
            raise DataError(f"none of the pictures held back for validation can be read; the last: {self.unreadable[numbers[-1]]}")
        return collate(examples)

    def _held_back(self, number: int, stage: Stage) -> Example | None:
        """One of the faces of `validation`; None where its picture cannot be read."""
        try:
            return self._data.example(number, stage, np.random.default_rng((self._seed, 3, number)))
        except PictureError as error:
            self._leave_out(number, error)
            return None

    def _leave_out(self, number: int, error: PictureError) -> None:
        if number not in self.unreadable:
            logger.warning("a picture cannot be read and is left out: {}", error)
        self.unreadable[number] = str(error)

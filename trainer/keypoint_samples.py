"""Crops with known keypoints, made like those of serving: varied for training, as they come for validation.

LabelledFolder -> KeypointFaces (decoded once, in memory) -> varied or served crop -> KeypointBatch
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from loguru import logger
from numpy.typing import NDArray
from torch import Tensor

from models import geometry
from models.detectors import RgbImage
from models.faces import KEYPOINT_NAMES
from models.keypoints import CROP_PX
from trainer.augment import LUMA, SWAPPED, LabelledFace, degrade, mirror, recolor
from trainer.config import AugmentSettings, DataSettings
from trainer.dataset import DataError, LabelledFolder, PictureError
from trainer.keypoint_config import KeypointAugmentSettings

LEAST_LABEL_SCORE = 0.3
"""Labels below are guesses: of a face keypoint nothing is known then, a shoulder counts as not seen."""

IS_SHOULDER = np.array(["shoulder" in name for name in KEYPOINT_NAMES])


@dataclass(frozen=True, kw_only=True, eq=False)
class KeypointExample:
    """A crop and what is to be found on it.

    crop: (64, 64, 3). keypoints: (7, 2) relative to the crop. scores: (7,) of the labels. unit: longer side of the face box,
    relative to the crop.
    """

    crop: RgbImage
    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    unit: float


@dataclass(frozen=True, kw_only=True)
class KeypointBatch:
    """Examples as tensors: crops (B, 64, 64, 3) uint8; keypoints (B, 7, 2), scores (B, 7), units (B,) float32."""

    crops: Tensor
    keypoints: Tensor
    scores: Tensor
    units: Tensor


def collate(examples: Sequence[KeypointExample]) -> KeypointBatch:
    """Stack examples."""
    return KeypointBatch(
        crops=torch.from_numpy(np.stack([example.crop for example in examples])),
        keypoints=torch.from_numpy(np.stack([example.keypoints for example in examples])),
        scores=torch.from_numpy(np.stack([example.scores for example in examples])),
        units=torch.tensor([example.unit for example in examples], dtype=torch.float32),
    )


class KeypointFaces:
    """All faces of a labelled folder in memory; the first `training` are for training, the others never are.

    unreadable: pictures that were left out, and why.
    """

    def __init__(self, data: DataSettings, *, only_validation: bool = False) -> None:
        """only_validation: do not read the faces for training. Raises DataError where nothing is left to use."""
        root = Path(data.root)
        folder = LabelledFolder(root, data, AugmentSettings())
        self._faces: list[LabelledFace] = []
        self._scores: list[NDArray[np.float32]] = []
        self._groups: list[str] = []
        self.paths: list[str] = []
        self.training = 0
        self.unreadable: list[str] = []
        for number in range(folder.training if only_validation else 0, len(folder)):
            try:
                self._faces.append(folder.face(number))
            except PictureError as error:
                self.unreadable.append(str(error))
                continue
            self._scores.append(folder.keypoint_scores(number))
            self.paths.append(folder.path(number))
            self._groups.append(folder.group(number))
            self.training += number < folder.training
        if self.unreadable:
            logger.warning("{} pictures cannot be read and are left out:\n{}", len(self.unreadable), "\n".join(self.unreadable))
        if only_validation and not self._faces:
            raise DataError(f"{root / 'labels.csv'}: no readable face is held back; raise the share of validation groups")
        if not only_validation and not self.training:
            raise DataError(f"{root}: none of the pictures of labels.csv can be read; the first: {self.unreadable[0]}")

    def __len__(self) -> int:
        return len(self._faces)

    def fold(self, number: int, folds: int) -> int:
        """Which of so many parts of about equal size a face is of; all faces of a group are of one."""
        # Other digits than those that hold a group back from training.
        return int.from_bytes(hashlib.sha256(self._groups[number].encode()).digest()[8:16]) % folds

    def varied(self, number: int, settings: KeypointAugmentSettings, random: np.random.Generator) -> KeypointExample:
        """The face as serving might see it; the same `random` gives the same crop."""
        return vary_crop(self._faces[number], self._scores[number], settings, random)

    def served(self, number: int, expansion: float) -> KeypointExample:
        """The crop that serving cuts around the labelled box."""
        return served_crop(self._faces[number], self._scores[number], expansion)


class KeypointSource:
    """The endless sequence of a run: position n is always the same example; each pass through the faces has its own order."""

    def __init__(self, faces: KeypointFaces, settings: KeypointAugmentSettings, seed: int) -> None:
        self._faces = faces
        self._settings = settings
        self._seed = seed
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, turn: int) -> NDArray[np.int64]:
        return np.random.default_rng((self._seed, 1, turn)).permutation(self._faces.training)

    def batch(self, positions: Sequence[int]) -> KeypointBatch:
        """The examples at these positions."""
        examples = []
        for position in positions:
            turn, place = divmod(position, self._faces.training)
            random = np.random.default_rng((self._seed, 2, position))
            examples.append(self._faces.varied(int(self._order(turn)[place]), self._settings, random))
        return collate(examples)


def served_crop(face: LabelledFace, scores: NDArray[np.float32], expansion: float) -> KeypointExample:
    """Cut the generator's crop around the face box, at the picture's border too."""
    crop = geometry.expand_to_square(face.box, (face.picture.shape[1], face.picture.shape[0]), expansion)
    return KeypointExample(
        crop=geometry.resize(geometry.cut(face.picture, crop), CROP_PX),
        keypoints=(face.keypoints - np.array([crop.left, crop.top], np.float32)) / np.float32(crop.side),
        scores=scores,
        unit=_longer_side(face) / crop.side,
    )


def vary_crop(
    face: LabelledFace, scores: NDArray[np.float32], settings: KeypointAugmentSettings, random: np.random.Generator
) -> KeypointExample:
    """Cut a varied crop: mirrored, turned, moved, of another size, over the border, recoloured, degraded, with an occluder."""
    if random.random() < settings.flip:
        face, scores = mirror(face, swap_left_right=True), scores[list(SWAPPED)]
    longer = _longer_side(face)
    side = longer * random.triangular(settings.crop_min, settings.crop_mode, settings.crop_max)
    # Most heads are upright; the rest is turned as far as it goes.
    angle = random.uniform(-1, 1) * math.radians(settings.rotate_deg if random.random() < 0.5 else settings.rotate_deg / 4)
    middle = (face.box[:2] + face.box[2:]) / 2 + random.uniform(-settings.shift, settings.shift, 2) * side
    border = cv2.BORDER_CONSTANT if random.random() < settings.black_border else cv2.BORDER_REFLECT_101
    crop, keypoints = _turned_crop(face, middle, side, angle, border)
    if random.random() < settings.cut:
        _cut_off(crop, random)
    if random.random() < settings.occlude:
        _occlude(crop, random)
    if random.random() < settings.color:
        crop = recolor(crop, random)
    if random.random() < settings.gray:
        crop = np.repeat(np.rint(crop @ LUMA).astype(np.uint8)[:, :, None], 3, 2)
    if random.random() < settings.degrade:
        crop = degrade(crop, random)
    return KeypointExample(crop=crop, keypoints=keypoints, scores=scores, unit=longer / side)


def _longer_side(face: LabelledFace) -> float:
    return float((face.box[2:] - face.box[:2]).max())


def _turned_crop(
    face: LabelledFace, middle: NDArray[np.float64], side: float, angle: float, border: int
) -> tuple[RgbImage, NDArray[np.float32]]:
    """The square of `side` pixels around `middle`, turned by `angle`, and the keypoints relative to it."""
    # Sampled at no less than the source's resolution, then averaged, as in serving.
    size = CROP_PX if side <= CROP_PX else 2 * CROP_PX
    scale = size / side
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    offset = np.array([size / 2, size / 2]) - turn @ middle
    # The matrix maps pixel corners; warpAffine counts from pixel centres.
    centers = np.hstack((turn, (offset + turn @ np.array([0.5, 0.5]) - 0.5)[:, None]))
    picture = cv2.warpAffine(face.picture, centers, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
    keypoints = (face.keypoints @ turn.T + offset) / size
    return geometry.resize(np.asarray(picture, np.uint8), CROP_PX), keypoints.astype(np.float32)


def _cut_off(crop: RgbImage, random: np.random.Generator) -> None:
    """Blacken one side, as where the crop reaches over the frame's border; in place."""
    depth = int(random.integers(1, CROP_PX // 3))
    turned = np.rot90(crop, int(random.integers(4)))
    turned[:depth] = 0


def _occlude(crop: RgbImage, random: np.random.Generator) -> None:
    """Lay a patch of one colour, of noise, or of the picture itself over a part of the crop; in place."""
    width, height = (int(value) for value in random.integers(CROP_PX // 10, CROP_PX // 2, 2))
    left, top = int(random.integers(-width // 2, CROP_PX - width // 2)), int(random.integers(-height // 2, CROP_PX - height // 2))
    kind = random.integers(3)
    if kind == 0:
        patch = np.full((CROP_PX, CROP_PX, 3), random.integers(0, 256, 3), np.uint8)
    elif kind == 1:
        patch = geometry.resize(random.integers(0, 256, (8, 8, 3), dtype=np.uint8), CROP_PX)
    else:
        patch = np.roll(crop, random.integers(CROP_PX // 4, CROP_PX * 3 // 4, 2), (0, 1))
    rows, columns = np.mgrid[:CROP_PX, :CROP_PX]
    across, down = (columns + 0.5 - left) / width * 2 - 1, (rows + 0.5 - top) / height * 2 - 1
    power = 2 if random.random() < 0.5 else 20
    inside = np.abs(across) ** power + np.abs(down) ** power <= 1
    crop[inside] = patch[inside]

"""The faces that a generator is judged on, and the ways to hide them that are compared: the generator's, and the classic ones.

data set -> choose_faces -> EvaluationFace -> Method.hide -> HiddenFace
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from loguru import logger
from numpy.typing import NDArray

from models import baselines, geometry
from models.blending import calm_colours, join
from models.detectors import RgbImage
from models.geometry import Crop, Mask
from trainer.augment import LabelledFace
from trainer.dataset import DataError, LabelledFolder, PictureError
from trainer.painter import Painter, Values

CONTEXT_EXPANSION = 1.0
"""Faces are judged in a square of three times their longer side, as far as the picture reaches."""
CONTEXT_PX = 320
"""Larger squares are reduced to this side."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationFace:
    """One face in its surroundings, and what a generator is given of it.

    picture: (height, width, 3), the face in its context. box: (4,), pixels of the picture. crop: what the generator repaints.
    mask: (side, side), True = hidden. given, given_mask: crop and mask at the generator's resolution, the face painted over.
    keypoints: (14,), relative to the crop, geometry.ABSENT where absent. group: the person or source picture.
    """

    number: int
    group: str
    picture: RgbImage
    box: NDArray[np.float32]
    crop: Crop
    mask: Mask
    given: RgbImage
    given_mask: Mask
    keypoints: NDArray[np.float32]

    @property
    def longer_side(self) -> float:
        """Of the face box, pixels of the picture."""
        return float((self.box[2:] - self.box[:2]).max())

    def real_crop(self) -> RgbImage:
        """The crop with the face itself, at the picture's resolution."""
        return geometry.cut(self.picture, self.crop)

    def keypoints_px(self) -> NDArray[np.float32]:
        """(7, 2), pixels of the picture, not a number where absent."""
        points = self.keypoints.reshape(-1, 2)
        corner = np.array([self.crop.left, self.crop.top], np.float32)
        return np.where((points == geometry.ABSENT).any(1)[:, None], np.float32(np.nan), points * self.crop.side + corner)

    def hidden_pixels(self) -> Mask:
        """The mask in the picture, (height, width)."""
        return self.replaced(self.mask)

    def replaced(self, in_crop: Mask) -> Mask:
        """Marked pixels of the crop, (side, side), in the picture, (height, width)."""
        drawn = np.zeros_like(self.picture)
        geometry.paste(drawn, self.crop, np.full((8, 8, 3), 255, np.uint8), in_crop)
        marked: Mask = drawn[:, :, 0] > 0
        return marked


def prepare_face(
    face: LabelledFace, number: int, group: str, *, resolution: int, expansion: float, margin: float = 0.0
) -> EvaluationFace:
    """Cut, mask and hide a face as serving does, unvaried. margin: growth of the mask, as for `geometry.mark_faces`."""
    size = (face.picture.shape[1], face.picture.shape[0])
    context = geometry.expand_to_square(face.box, size, CONTEXT_EXPANSION)
    scale = min(1.0, CONTEXT_PX / context.side)
    picture = geometry.resize(geometry.cut(face.picture, context), round(context.side * scale))
    origin = np.array([context.left, context.top], np.float32)
    scale = picture.shape[0] / context.side
    box = ((face.box - np.tile(origin, 2)) * scale).astype(np.float32)
    keypoints = ((face.keypoints - origin) * scale).astype(np.float32)
    crop = geometry.expand_to_square(box, (picture.shape[1], picture.shape[0]), expansion)
    mask = geometry.mark_faces(box[None], crop, margin=margin)
    given, given_mask = geometry.hide(geometry.cut(picture, crop), mask, resolution)
    is_present = np.isfinite(keypoints).all(1).astype(np.float32)
    relative = geometry.keypoints_in_crop(keypoints[None], is_present[None], crop)[0]
    return EvaluationFace(
        number=number, group=group, picture=picture, box=box, crop=crop, mask=mask, given=given, given_mask=given_mask,
        keypoints=relative,
    )  # fmt: skip


def choose_faces(
    data: LabelledFolder, count: int, seed: int, *, resolution: int, expansion: float, margin: float = 0.0
) -> tuple[list[EvaluationFace], list[str]]:
    """Faces that are never trained on, drawn by the seed, and why each picture that cannot be read was left out.

    Raises DataError where fewer than two can be had.
    """
    held_back = len(data) - data.training
    faces: list[EvaluationFace] = []
    unreadable: list[str] = []
    for drawn in np.random.default_rng((seed, 5)).permutation(held_back):
        if len(faces) == count:
            break
        number = data.training + int(drawn)
        try:
            face = data.face(number)
        except PictureError as error:
            unreadable.append(str(error))
            logger.warning("a picture cannot be read and is left out: {}", error)
            continue
        group = data.group(number)
        faces.append(prepare_face(face, number, group, resolution=resolution, expansion=expansion, margin=margin))
    if len(faces) < 2:
        raise DataError(
            f"{data.root}: {len(faces)} of {held_back} faces held back for validation can be used, at least 2 are needed; "
            "give more faces or a greater --validation-share"
        )
    return faces, unreadable


@dataclass(frozen=True, kw_only=True, eq=False)
class HiddenFace:
    """What a method left of a face.

    picture: (height, width, 3), as EvaluationFace.picture. replaced: (height, width), the pixels that the method answers for.
    crop: the repainted square, and real_crop: the same square of the original, both of one size.
    """

    picture: RgbImage
    replaced: Mask
    crop: RgbImage
    real_crop: RgbImage


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to hide faces; a row of the report."""

    name: str
    view: str
    """composited: only the hidden pixels are replaced, as users see it. full crop: the whole square is, as in the paper."""
    hide: Callable[[Sequence[EvaluationFace]], list[HiddenFace]]


ORIGINAL = "original"
COMPOSITED, FULL_CROP = "composited", "full crop"

BASELINES: dict[str, Callable[[RgbImage, tuple[float, float]], RgbImage]] = {
    "blackout": lambda region, face_size: np.zeros_like(region),
    "pixelate 8": lambda region, face_size: baselines.pixelate(region, face_size, 8),
    "pixelate 16": lambda region, face_size: baselines.pixelate(region, face_size, 16),
    "blur": lambda region, face_size: baselines.blur(region),
    "heavy blur": lambda region, face_size: baselines.heavy_blur(region, face_size[0]),
}
"""Name -> function of the hidden region, (height, width, 3), and the width and height of the face."""


def all_methods(painter: Painter, seed: int) -> list[Method]:
    """The untouched original for reference, the generator's four rows, and the baselines."""
    methods = [Method(name=ORIGINAL, view=COMPOSITED, hide=keep_original)]
    for name, draw in (("generator, z = 0", None), ("generator, random z", 0)):
        for view in (COMPOSITED, FULL_CROP):
            hide = partial(generate, painter=painter, seed=seed, draw=draw, is_full_crop=view == FULL_CROP)
            methods.append(Method(name=name, view=view, hide=hide))
    methods += [Method(name=name, view=COMPOSITED, hide=partial(hide_classically, fill=fill)) for name, fill in BASELINES.items()]
    return methods


def keep_original(faces: Sequence[EvaluationFace]) -> list[HiddenFace]:
    """Nothing is hidden: what each measure says of real faces."""
    return [_left(face, face.picture.copy()) for face in faces]


def hide_classically(
    faces: Sequence[EvaluationFace], fill: Callable[[RgbImage, tuple[float, float]], RgbImage]
) -> list[HiddenFace]:
    """Fill the very pixels that are hidden from the generator."""
    results = []
    for face in faces:
        picture = face.picture.copy()
        rows, columns = (np.flatnonzero(face.hidden_pixels().any(axis)) for axis in (1, 0))
        region = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        width, height = (float(side) for side in face.box[2:] - face.box[:2])
        picture[region] = fill(np.ascontiguousarray(picture[region]), (width, height))
        results.append(_left(face, picture))
    return results


def generate(
    faces: Sequence[EvaluationFace], painter: Painter, seed: int, draw: int | None, *, is_full_crop: bool = False
) -> list[HiddenFace]:
    """Faces of the generator, with zeros for noise where `draw` is None."""
    noise = painter.no_noise(len(faces)) if draw is None else painter.noise([face.number for face in faces], seed, draw)
    keypoints: Values = np.stack([face.keypoints for face in faces])
    painted = painter.paint([face.given for face in faces], [face.given_mask for face in faces], keypoints, noise)
    results = []
    for face, crop in zip(faces, painted, strict=True):
        picture = face.picture.copy()
        if not is_full_crop:
            # As served.
            joined = join(calm_colours(crop, face.given_mask), face.given, face.given_mask)
            geometry.paste(picture, face.crop, joined, face.mask)
            results.append(_left(face, picture))
            continue
        whole = np.ones_like(face.mask)
        geometry.paste(picture, face.crop, crop, whole)
        real_crop = geometry.resize(face.real_crop(), crop.shape[0])
        results.append(HiddenFace(picture=picture, replaced=face.replaced(whole), crop=crop, real_crop=real_crop))
    return results


def _left(face: EvaluationFace, picture: RgbImage) -> HiddenFace:
    crop = geometry.cut(picture, face.crop)
    return HiddenFace(picture=picture, replaced=face.hidden_pixels(), crop=crop, real_crop=face.real_crop())

"""The filter `gan`: a generated face over each face, from its surroundings and keypoints alone.

    picture without any of its faces -> crop -> FaceGenerator.paint -> the part over the mask -> fill

The crops come from `RawPicture.surroundings`, in which every face of the picture is grey before anything is computed: no pixel of
a face can reach the generator. What it cannot paint well is filled from the surroundings too.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from models import geometry
from models.backends import BACKENDS, BackendError, choose_backend
from models.blending import calm_colours, join
from models.detectors import LANDMARK_ROWS, RgbImage, Size
from models.face_generator import PRECISION, FaceGenerator, open_generator
from models.geometry import Crop, Mask
from models.keypoints import render_crop
from models.pose import Pose
from models.stabilizer import Stabilizer
from models.texture import Luma, Texture, matched
from models.weights import WeightsError
from streamer.budget import cores
from streamer.config import FilterSettings
from streamer.errors import InternalError, UsageError
from streamer.filters import PLAIN_LEVEL, Fill
from streamer.grain import SecretGrain, Surroundings, grown
from streamer.masks import FaceMask, region_size
from streamer.pictures import RgbPixels
from streamer.raw_pictures import RawPicture

SMALLEST_FACE_PX = 12
"""Shorter side of the face from which the generator paints; below, there is nothing to be seen of a face."""
SURE_SCORE = 0.35
"""Best score of a track from which it is taken for a face; the others, mostly plants, patterns and backs of heads, are covered all
the same, but would look odd with a face. On the clips that were looked at, faces reach 0.7 and more, other things 0.34."""
LEAST_IN_SIGHT = 0.35
"""Part of the face that must lie in the frame; of less, the generator makes something that is no face."""
MANY = 3
"""Faces of one picture from which all cores paint together. With fewer the other processes keep the cores busy, and threads would
only cost: a tenth of the time, on two cores."""
BESIDE = 0.2
"""Of the width and height of a face on each side: what the generator has to see of what is beside it."""
SOFTNESS_PX = 1.2
"""Sigma of the sharpest edges that the generator paints, in its own pixels."""
_MOST_REMEMBERED = 256
_ENLARGEMENT = 2
"""Fills have up to so many times the generator's resolution, smoothly enlarged; the rest is bilinear."""


class Identities:
    """Which face a track gets: noise that nobody can foretell or trace back without the run's secret."""

    def __init__(self, secret: bytes, shape: tuple[int, ...]) -> None:
        """shape: of one noise."""
        self._secret = secret
        self._shape = shape
        self.noise = lru_cache(_MOST_REMEMBERED)(self._draw)
        """Of a track: standard normal, the same whenever it is asked for."""

    def _draw(self, track: int) -> NDArray[np.float32]:
        key = hmac.digest(self._secret, b"track %d" % track, "sha256")
        return np.random.Generator(np.random.PCG64(int.from_bytes(key, "big"))).standard_normal(self._shape, np.float32)


def secret_of(seed: int | None) -> bytes:
    """Of a run: None draws one that is never kept."""
    return secrets.token_bytes(32) if seed is None else hashlib.sha256(b"veil identity %d" % seed).digest()


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a face is painted, and what the generator is given of it.

    mask: where faces are hidden in the crop. own: where this one is.
    """

    crop: Crop
    picture: RgbImage
    mask: Mask
    own: Mask
    pose: Pose
    keypoints: NDArray[np.float32]


class GanFilter:
    """Paints a face over each face; satisfies Filter."""

    def __init__(
        self,
        generator: FaceGenerator,
        *,
        identity_seed: int | None,
        is_stabilized: bool = True,
        open_for_many: Callable[[], FaceGenerator] | None = None,
    ) -> None:
        """open_for_many: the same generator on several threads, opened with the first picture of MANY faces or more."""
        self._generator = generator
        self._open_for_many = cache(open_for_many or (lambda: generator))
        self._stabilizer = Stabilizer() if is_stabilized else None
        secret = secret_of(identity_seed)
        self._identities = Identities(secret, (generator.noise_planes, 4, 4))
        self._surroundings, self._grain = Surroundings(), SecretGrain(secret)

    def fills(self, picture: RawPicture, faces: Sequence[FaceMask], every: Sequence[FaceMask]) -> list[Fill]:
        reasons = [_obstacle(face, picture.size) for face in faces]
        paintable = [face for face, reason in zip(faces, reasons, strict=True) if reason is None]
        painted = iter(self._paint(picture, paintable, every))
        return [
            next(painted) if reason is None else self._diffused(picture, face, every, reason)
            for face, reason in zip(faces, reasons, strict=True)
        ]

    def _diffused(self, picture: RawPicture, face: FaceMask, every: Sequence[FaceMask], reason: str) -> Fill:
        texture = self._surroundings.texture(picture, face, every)
        return Fill(_diffused(picture, face, every), fallback=reason, grain=self._grain_over(face, texture))

    def _grain_over(self, face: FaceMask, texture: Texture | None) -> Luma | None:
        return self._grain.over(face, texture) if texture is not None and texture.is_grainy else None

    def _paint(self, picture: RawPicture, faces: Sequence[FaceMask], every: Sequence[FaceMask]) -> list[Fill]:
        if not faces:
            return []
        places = [self._place(picture, face, every) for face in faces]
        reused = [self._reuse(face, place) for face, place in zip(faces, places, strict=True)]
        anew = [(face, place) for face, place, again in zip(faces, places, reused, strict=True) if again is None]
        painted = iter(self._paint_anew(anew))
        crops = [next(painted) if again is None else again for again in reused]
        return [self._fill(pixels, place, face, picture, every) for pixels, place, face in zip(crops, places, faces, strict=True)]

    def _fill(self, pixels: RgbImage, place: _Place, face: FaceMask, picture: RawPicture, every: Sequence[FaceMask]) -> Fill:
        """The painted crop as soft and as grainy as what is around it."""
        texture = self._surroundings.texture(picture, face, every)
        if texture is not None:
            pixels = matched(pixels, texture, place.crop.side / len(pixels), SOFTNESS_PX)
        return Fill(_in_range(_part(pixels, place.crop, face), picture), grain=self._grain_over(face, texture))

    def _reuse(self, face: FaceMask, place: _Place) -> RgbImage | None:
        """What was painted a moment ago, if it still serves."""
        if face.time_s is None or self._stabilizer is None:
            return None
        again = self._stabilizer.reuse(face.track, face.time_s, place.picture, place.mask, place.crop, place.pose, place.own)
        return None if again is None else join(again, place.picture, place.mask)

    def _paint_anew(self, faces: Sequence[tuple[FaceMask, _Place]]) -> list[RgbImage]:
        if not faces:
            return []
        painted = self._generator_for(len(faces)).paint(
            np.stack([place.picture for _, place in faces]),
            np.stack([place.mask for _, place in faces]),
            np.concatenate([place.keypoints for _, place in faces]),
            np.stack([self._identities.noise(face.track) for face, _ in faces]),
        )
        return [
            join(self._steady(face, place, calm_colours(pixels, place.mask)), place.picture, place.mask)
            for pixels, (face, place) in zip(painted, faces, strict=True)
        ]

    def _generator_for(self, faces: int) -> FaceGenerator:
        return self._open_for_many() if faces >= MANY else self._generator

    def _steady(self, face: FaceMask, place: _Place, painted: RgbImage) -> RgbImage:
        """With the past of its track mixed in."""
        if face.time_s is None or self._stabilizer is None:
            return painted
        return self._stabilizer.blend(face.track, face.time_s, painted, place.mask, place.crop, place.pose)

    def _place(self, picture: RawPicture, face: FaceMask, every: Sequence[FaceMask]) -> _Place:
        crop = geometry.expand_to_square(face.box, picture.size, self._generator.expansion)
        given, mask = hidden_crop(picture, crop, every, self._generator.resolution)
        keypoints = geometry.keypoints_in_crop(face.keypoints[None], face.keypoint_scores[None], crop)
        own = geometry.mark_shrunk([grown(face.core)], crop, len(mask))
        return _Place(crop=crop, picture=given, mask=mask, own=own, pose=_pose(face, picture.size), keypoints=keypoints)


def _pose(face: FaceMask, frame_size: Size) -> Pose:
    sight = _in_sight(face.box, frame_size, BESIDE)
    return Pose(box=face.box, keypoints=face.keypoints, keypoint_scores=face.keypoint_scores, sight=sight)


def _in_sight(box: tuple[float, float, float, float], frame_size: Size, growth: float = 0.0) -> float:
    """Which part of a box lies in the frame, after it has grown by this part of its width and height on each side."""
    part = 1.0
    for start, stop, end in zip(box[:2], box[2:], frame_size, strict=True):
        grown = growth * (stop - start)
        inside = min(stop + grown, end) - max(start - grown, 0.0)
        part *= max(inside, 0.0) / (stop - start + 2 * grown)
    return part


def open_gan(settings: FilterSettings, backend: str) -> GanFilter:
    """The filter with the generator that ships, on a backend.

    Raises UsageError for a backend that is not usable, and InternalError where the weights cannot be used.
    """
    try:
        generator = open_generator(backend)
    except BackendError as error:
        raise UsageError(f"backend: {error}") from None
    except WeightsError as error:
        raise InternalError(str(error)) from None
    is_on_processor = not BACKENDS[choose_backend(backend, PRECISION)].needs_gpu
    return GanFilter(
        generator,
        identity_seed=settings.identity_seed,
        is_stabilized=settings.stabilize,
        open_for_many=partial(open_generator, backend, threads=cores()) if is_on_processor and cores() > 1 else None,
    )


def hidden_crop(picture: RawPicture, crop: Crop, every: Sequence[FaceMask], size: int) -> tuple[RgbImage, Mask]:
    """The crop at (size, size, 3) without any face of the picture, and (size, size) where faces were: those pixels are grey.

    Each face is hidden by the box around its mask, one pixel more on every side, at the picture's resolution.
    """
    hidden = [grown(face.core) for face in every]
    small = render_crop(picture.surroundings(hidden), picture.size, crop, size)
    mask = geometry.mark_shrunk(hidden, crop, size)
    small[mask] = geometry.PAINT
    return small, mask


def _obstacle(face: FaceMask, frame_size: Size) -> str | None:
    """Why a face cannot be painted, or should not be; None where it is to be painted."""
    if face.best_score < SURE_SCORE:
        return "unsure"
    x1, y1, x2, y2 = face.box
    width, height = x2 - x1, y2 - y1
    if min(width, height) < SMALLEST_FACE_PX:
        return "small"
    if _in_sight(face.box, frame_size) < LEAST_IN_SIGHT:
        return "outside"
    if not (face.keypoint_scores[LANDMARK_ROWS] > 0).any():
        return "keypoints"
    return None


def _part(painted: RgbImage, crop: Crop, face: FaceMask) -> RgbImage:
    """What lies over the face's region, of the region's size or smaller."""
    width, height = region_size(face)
    x1, y1 = face.region[:2]
    if crop.side <= painted.shape[0]:
        # The picture is coarser than the generator: the mean of areas, so that nothing flickers.
        painted = geometry.resize(painted, crop.side)
    limit = _ENLARGEMENT * painted.shape[0] / crop.side
    size = (math.ceil(width * min(1.0, limit)), math.ceil(height * min(1.0, limit)))
    x_step, y_step = width / size[0], height / size[1]  # pixels of the picture to a pixel of the fill
    scale = painted.shape[0] / crop.side
    to_painted = np.array(
        [
            [x_step * scale, 0, (x1 - crop.left + x_step / 2) * scale - 0.5],
            [0, y_step * scale, (y1 - crop.top + y_step / 2) * scale - 0.5],
        ]
    )
    how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(painted, to_painted, size, flags=how, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _diffused(picture: RawPicture, face: FaceMask, every: Sequence[FaceMask]) -> RgbPixels:
    """The colours of the surroundings, grown together over the face."""
    crop = geometry.expand_to_square(face.box, picture.size, 0.5)
    small, mask = hidden_crop(picture, crop, every, 32)
    if mask.all():
        small[:] = round(255 * PLAIN_LEVEL)
    else:
        small = cv2.inpaint(small, mask.astype(np.uint8), 3, cv2.INPAINT_TELEA)  # type: ignore[assignment]
    return _in_range(_part(small, crop, face), picture)


def _in_range(rgb: RgbImage, picture: RawPicture) -> RgbPixels:
    """Pixels 0 to 255 as those of the picture."""
    if picture.dtype == np.uint8 and picture.white == 255:
        return rgb
    return (rgb.astype(np.float32) * (picture.white / 255) + 0.5).astype(picture.dtype)

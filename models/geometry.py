"""From a face box to the generator's input and back into the picture: the same functions in training and in serving.

box -> expand_to_square -> Crop -> cut + mark_faces -> hide -> generator -> to_pixels -> paste
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors import Region, RgbImage, Size
from models.faces import Boxes, Keypoints, KeypointScores

Mask = NDArray[np.bool_]  # (height, width): True = hidden
MaskShape = Literal["box", "ellipse"]

PAPER_EXPANSION = 0.35
"""Growth of the square on each side, as a part of the face's longer side: the crop is about 1.7 times the face."""

SERVED_MARGIN = 0.05
"""Growth of the mask beyond the face box in pictures and videos, as `mark_faces` takes it, unless somebody wants another."""

PAINT = 128
"""Value of a hidden pixel in the paper's generator input."""

ABSENT = -1.0
"""Coordinate of an absent keypoint: outside the crop, so that its plane stays empty."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A square part of a picture, whole pixels; may reach over the picture's border."""

    left: int
    top: int
    side: int

    @property
    def right(self) -> int:
        """Exclusive."""
        return self.left + self.side

    @property
    def bottom(self) -> int:
        """Exclusive."""
        return self.top + self.side


def round_outwards(box: Sequence[float] | NDArray[np.floating]) -> tuple[int, int, int, int]:
    """The smallest box of whole pixels that holds the box x1 y1 x2 y2."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2)


def expand_to_square(box: Sequence[float] | NDArray[np.floating], picture_size: Size, expansion: float = PAPER_EXPANSION) -> Crop:
    """Grow a face box to the square crop that the generator is trained on.

    box: x1 y1 x2 y2 in pixels, rounded outwards first. expansion: growth of the square on each side, as a part of the longer
    side; the published
    pre-processing of DeepPrivacy (Hukkelås et al. 2019) uses 0.35 and is followed exactly. At the picture's border the square is
    moved, not shrunk;
    it is shrunk where the picture is too small to grow in. Where the square of the box itself does not fit, the crop is centred
    on the box and reaches over the border. Raises ValueError if the box is empty.
    """
    x1, y1, x2, y2 = round_outwards(box)
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"a face box must not be empty, is {(x1, y1, x2, y2)}")
    width, height = x2 - x1, y2 - y1
    crop = _square_inside((x1, y1, x2, y2), picture_size, expansion)
    if crop is not None:
        return crop
    half = max(1, int((1 + 2 * expansion) * max(width, height) // 2))
    return Crop(left=x1 + width // 2 - half, top=y1 + height // 2 - half, side=2 * half)


def _square_inside(box: tuple[int, int, int, int], picture_size: Size, expansion: float) -> Crop | None:
    """The grown square inside the picture; None where there is none that holds the box."""
    x1, y1, x2, y2 = box
    picture_width, picture_height = picture_size
    width, height = x2 - x1, y2 - y1
    side = max(width, height)
    if side > min(picture_size):
        return None
    left, top = x1, y1
    if height < width:
        top = max(0, top - (width - height) // 2)
    elif width < height:
        left = max(0, left - (height - width) // 2)
    if width != height:
        left, top = min(left, picture_width - side), min(top, picture_height - side)
    if left < 0 or top < 0 or left + side > picture_width or top + side > picture_height:
        return None
    growth = min((picture_height - side) // 2, (picture_width - side) // 2, int(expansion * side))
    if growth > 0:
        side += 2 * growth
        left = min(max(0, left - growth), picture_width - side)
        top = min(max(0, top - growth), picture_height - side)
    holds_box = left <= x1 and top <= y1 and x2 <= left + side and y2 <= top + side
    return Crop(left=left, top=top, side=side) if holds_box else None


def cut(picture: RgbImage, crop: Crop) -> RgbImage:
    """The crop's pixels, (side, side, 3); black where it reaches over the border. Always a copy."""
    result = np.zeros((crop.side, crop.side, 3), np.uint8)
    inside, place = _overlap(crop, (picture.shape[1], picture.shape[0]))
    result[place] = picture[inside]
    return result


def _overlap(crop: Crop, picture_size: Size) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns of the part of the crop that lies in the picture: in the picture, and in the crop."""
    x1, x2 = (min(max(value, 0), picture_size[0]) for value in (crop.left, crop.right))
    y1, y2 = (min(max(value, 0), picture_size[1]) for value in (crop.top, crop.bottom))
    inside = (slice(y1, y2), slice(x1, x2))
    return inside, (slice(y1 - crop.top, y2 - crop.top), slice(x1 - crop.left, x2 - crop.left))


def mark_faces(boxes: Boxes, crop: Crop, *, shape: MaskShape = "box", margin: float = 0.0) -> Mask:
    """Mark every pixel of the crop that any of the faces may touch, (side, side), at the picture's own resolution.

    boxes: all faces of the picture, not only the one that the crop is for: a generator must see none of them.
    shape: the box, or the ellipse through its corners; both hold the whole box. margin: growth on every side, as a part of the
    box's width and height. Everything is rounded outwards and then grown by one pixel.
    """
    mask = np.zeros((crop.side, crop.side), np.bool_)
    for box in np.asarray(boxes, np.float64):
        grow_x, grow_y = margin * (box[2] - box[0]), margin * (box[3] - box[1])
        grown = (box[0] - grow_x - crop.left, box[1] - grow_y - crop.top, box[2] + grow_x - crop.left, box[3] + grow_y - crop.top)
        if shape == "ellipse":
            _mark_ellipse(mask, grown)
        else:
            x1, y1, x2, y2 = round_outwards(grown)
            mask[max(y1 - 1, 0) : max(y2 + 1, 0), max(x1 - 1, 0) : max(x2 + 1, 0)] = True
    return mask


def mark_shrunk(regions: Sequence[Region], crop: Crop, size: int) -> Mask:
    """Mark every pixel of the crop, shrunk to (size, size), that any of the regions touches. regions: pixels of the picture."""
    mask = np.zeros((size, size), np.bool_)
    scale = size / crop.side
    for x1, y1, x2, y2 in regions:
        rows = slice(max(math.floor((y1 - crop.top) * scale), 0), max(math.ceil((y2 - crop.top) * scale), 0))
        columns = slice(max(math.floor((x1 - crop.left) * scale), 0), max(math.ceil((x2 - crop.left) * scale), 0))
        mask[rows, columns] = True
    return mask


def _mark_ellipse(mask: Mask, box: tuple[float, float, float, float]) -> None:
    """Mark each pixel that the ellipse through the box's corners touches, and one more around."""
    x1, y1, x2, y2 = box
    # The corners of a box lie sqrt(2) half axes from the centre; 1.5 pixels cover the pixel's own size and the extra pixel.
    radius_x, radius_y = (x2 - x1) / math.sqrt(2) + 1.5, (y2 - y1) / math.sqrt(2) + 1.5
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    across, down = (columns + 0.5 - (x1 + x2) / 2) / radius_x, (rows + 0.5 - (y1 + y2) / 2) / radius_y
    mask |= across**2 + down**2 <= 1.0


def hide(crop_picture: RgbImage, mask: Mask, size: int, paint: int = PAINT) -> tuple[RgbImage, Mask]:
    """Paint over what is marked, then resize: the result holds nothing of any hidden pixel.

    crop_picture: (side, side, 3); not changed. mask: (side, side). Returns the picture and the mask at (size, size); a pixel to
    which a hidden one contributed is itself hidden and painted.
    """
    painted = np.where(mask[:, :, None], np.uint8(paint), crop_picture)
    small = resize(painted, size)
    small_mask = resize(mask.astype(np.float32), size) > 0.0
    small[small_mask] = paint
    return small, small_mask


def resize(values: NDArray[np.uint8] | NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """A square picture or plane at another size: mean of areas where it shrinks, bilinear where it grows."""
    if values.shape[0] == size:
        return values.copy()  # type: ignore[return-value]
    method = cv2.INTER_AREA if values.shape[0] > size else cv2.INTER_LINEAR
    return cv2.resize(values, (size, size), interpolation=method)  # type: ignore[return-value]


def keypoints_in_crop(keypoints: Keypoints, scores: KeypointScores, crop: Crop, threshold: float = 0.0) -> NDArray[np.float32]:
    """Keypoints relative to the crop, 0 to 1, as the generator wants them; ABSENT where the score is not above the threshold.

    keypoints: (faces, K, 2) in pixels of the picture, scores: (faces, K). Returns (faces, 2 K). Values may lie outside the crop.
    """
    relative = (keypoints - np.array([crop.left, crop.top], np.float32)) / np.float32(crop.side)
    relative = np.where((scores > threshold)[:, :, None], relative, np.float32(ABSENT))
    return relative.reshape(len(keypoints), -1).astype(np.float32)


def paper_inner_box(box: Sequence[float] | NDArray[np.floating], crop: Crop, size: int = 128) -> tuple[int, int, int, int]:
    """The face box in pixels of the resized crop as the paper's code computes it: truncated, so up to a pixel of the face may
    stay outside.

    Only for the paper's own training data; everything else uses `hide`.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    left, right = (int((value - crop.left) * size / crop.side) for value in (x1, x2))
    top, bottom = (int((value - crop.top) * size / crop.side) for value in (y1, y2))
    return left, top, right, bottom


def to_pixels(painted: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The generator's values, -1 to 1, as pixels 0 to 255: clamped and truncated as in the paper."""
    return ((np.clip(painted, -1.0, 1.0) + 1.0) / 2.0 * 255.0).astype(np.uint8)


def from_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels 0 to 255 as the networks' values -1 to 1."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1.0)


def paste(picture: RgbImage, crop: Crop, painted: RgbImage, mask: Mask, *, soft_edge_px: int = 0) -> None:
    """Replace the marked pixels of the crop in `picture`, in place.

    painted: (size, size, 3), resized to the crop. mask: (side, side), at the picture's resolution: these pixels are replaced
    wholly.
    soft_edge_px: width of the blend around the mask, always outside it. What lies outside the picture is dropped.
    """
    large = resize(painted, crop.side)
    inside, place = _overlap(crop, (picture.shape[1], picture.shape[0]))
    if soft_edge_px > 0 and not mask.all():
        distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
        share = np.clip(1.0 - distance / np.float32(soft_edge_px + 1), 0.0, 1.0)[place][:, :, None]
        before = picture[inside].astype(np.float32)
        picture[inside] = np.rint(before + (large[place] - before) * share).astype(np.uint8)
    marked = mask[place]
    picture[inside][marked] = large[place][marked]

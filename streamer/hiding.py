"""Hides faces in pictures: copies the picture and lays the fills of a filter over every mask.

    boxes -> masks -> fills, all from the raw picture -> pasted into the copy, the largest or the seen face last

Only masked pixels and soft edges change; all others stay bit-exact. No pixel of the raw picture remains inside a mask, whatever the
filter does: where it fails, the face is covered plain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
from loguru import logger
from numpy.typing import NDArray

from models.backends import DEFAULT_BACKEND
from models.detectors import Size
from models.faces import Boxes, Keypoints, KeypointScores, Scores
from streamer.config import FilterSettings
from streamer.filters import BLIND, PLAIN_LEVEL, Fill, Filter, mask_shape, open_filter, plain
from streamer.masks import Alpha, FaceMask, chroma_alpha, face_mask, region_size
from streamer.pictures import (
    PIXEL_FORMATS,
    PictureLayout,
    Plane,
    RgbPixels,
    add_to_luma,
    color_samples,
    diffuse_white,
    rgb_to_region,
)
from streamer.raw_pictures import RawPicture, RgbPicture, YuvPicture

Photo = NDArray[np.unsignedinteger]  # (height, width), (height, width, 3) R G B, or (height, width, 4) R G B alpha; uint8 or uint16


Fallbacks = dict[int, str]
"""Row of a face -> why it is covered otherwise than the filter is meant to."""


@dataclass(frozen=True, kw_only=True)
class KnownFaces:
    """More about the faces of a picture than their boxes: row i is face i.

    tracks: (faces,), whose faces they are. best_scores: (faces,), the detector's for each, in any frame so far. keypoints,
    keypoint_scores: (faces, 7, 2) pixels and (faces, 7). time_s: of the picture in its stream, None for photos. seen: (faces,),
    whether each was found in this very picture; None where all were.
    """

    time_s: float | None = None
    tracks: NDArray[np.int64]
    best_scores: Scores
    keypoints: Keypoints
    keypoint_scores: KeypointScores
    seen: NDArray[np.bool_] | None = None

    def add_to(self, mask: FaceMask, row: int) -> FaceMask:
        return replace(
            mask,
            track=int(self.tracks[row]),
            time_s=self.time_s,
            best_score=float(self.best_scores[row]),
            keypoints=self.keypoints[row],
            keypoint_scores=self.keypoint_scores[row],
            is_seen=self.seen is None or bool(self.seen[row]),
        )


class Hider:
    """Hides the faces of the pictures of one stream. Raises UsageError if the settings name no usable filter."""

    def __init__(self, settings: FilterSettings, layout: PictureLayout, backend: str = DEFAULT_BACKEND) -> None:
        """backend: what runs a filter's network, as in the settings."""
        self._faces = _FaceFills(settings, backend)
        self._layout = layout
        form = PIXEL_FORMATS[layout.pixel_format]
        self._steps = (1 << form.chroma_x_shift, 1 << form.chroma_y_shift)
        self._composed: tuple[Plane, ...] = ()
        """Where a picture lies until its faces are covered: whoever can see safe planes must never see a face in them."""

    def hide(
        self, raw_planes: Sequence[Plane], safe_planes: Sequence[Plane], boxes: Boxes, known: KnownFaces | None = None
    ) -> Fallbacks:
        """Writes the picture with every box covered into `safe_planes`; says which faces are covered otherwise than it is meant to.

        boxes: (faces, 4), pixels; may reach out of the frame, and one that lies outside is skipped. known: the same faces.
        Raises ValueError for a box that is empty or not finite. Nothing raw is in `safe_planes` at any time, whatever is raised.
        """
        try:
            picture = YuvPicture(planes=raw_planes, layout=self._layout)
            fills, fallbacks = self._faces.make(picture, boxes, known, self._steps)
            composed = self._composed or tuple(np.empty_like(plane) for plane in raw_planes)
            for place, raw in zip(composed, raw_planes, strict=True):
                np.copyto(place, raw)
            for mask, fill in fills:
                planes = list(rgb_to_region(fill.rgb, self._layout, region_size(mask)))
                if fill.grain is not None:
                    planes[0] = add_to_luma(planes[0], fill.grain, self._layout)
                self._paste(mask, planes, composed)
            for safe, plane in zip(safe_planes, composed, strict=True):
                np.copyto(safe, plane)
            self._composed = composed
        except BaseException:
            self.cover_whole(safe_planes)
            raise
        return fallbacks

    def cover_whole(self, safe_planes: Sequence[Plane]) -> None:
        """Writes a dark grey picture, for a frame of which nothing may be shown."""
        level = PLAIN_LEVEL * diffuse_white(self._layout.color)
        for plane, sample in zip(safe_planes, color_samples((level, level, level), self._layout), strict=True):
            plane.fill(sample)

    def _paste(self, mask: FaceMask, fill: Sequence[Plane], picture: Sequence[Plane]) -> None:
        x1, y1, x2, y2 = mask.region
        _blend(picture[0][y1:y2, x1:x2], fill[0], mask.alpha)
        x_step, y_step = self._steps
        alpha = chroma_alpha(mask.alpha, self._steps) if len(fill) > 1 else mask.alpha
        for plane, chroma in zip(picture[1:], fill[1:], strict=True):
            _blend(plane[y1 // y_step : y2 // y_step, x1 // x_step : x2 // x_step], chroma, alpha)


class PhotoHider:
    """Hides the faces of photos. Raises UsageError if the settings name no usable filter."""

    def __init__(self, settings: FilterSettings, backend: str = DEFAULT_BACKEND) -> None:
        """backend: what runs a filter's network, as in the settings."""
        self._faces = _FaceFills(settings, backend)

    def hide_rgb(self, image: Photo, boxes: Boxes, known: KnownFaces | None = None) -> tuple[Photo, Fallbacks]:
        """A copy with every box covered, and the fallbacks as from `Hider.hide`.

        An alpha channel becomes opaque wherever a mask covers anything, as it can hold the face too, and is else kept as it is.

        Raises ValueError for an image of another shape or type.
        """
        if image.dtype not in (np.uint8, np.uint16) or image.ndim < 2 or image.shape[2:] not in ((), (3,), (4,)):
            raise ValueError(f"a photo must be uint8 or uint16 with 1, 3 or 4 channels, is {image.dtype} {image.shape}")
        fills, fallbacks = self._faces.make(RgbPicture(image=image), boxes, known, (1, 1))
        safe = image.copy()
        for mask, fill in fills:
            x1, y1, x2, y2 = mask.region
            rgb = _whole(fill, mask)
            if image.ndim == 2:
                _blend(safe[y1:y2, x1:x2], cast("Plane", cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)), mask.alpha)
            else:
                colors = np.ascontiguousarray(safe[y1:y2, x1:x2, :3])
                _blend(colors, rgb, cast("Alpha", cv2.merge([mask.alpha] * 3)))
                safe[y1:y2, x1:x2, :3] = colors
                safe[y1:y2, x1:x2, 3:][mask.alpha > 0] = np.iinfo(safe.dtype).max
        return safe, fallbacks


def _whole(fill: Fill, mask: FaceMask) -> RgbPixels:
    """The pixels of a fill at the size of its region, with its grain."""
    rgb = fill.rgb
    if rgb.shape[:2] != mask.alpha.shape:
        rgb = cast("RgbPixels", cv2.resize(rgb, region_size(mask)))
    if fill.grain is None:
        return rgb
    depth, white = (cv2.CV_8U, 255) if rgb.dtype == np.uint8 else (cv2.CV_16U, 65535)
    return cast("RgbPixels", cv2.addWeighted(rgb, 1.0, cv2.merge([fill.grain] * 3), white / 255, 0.0, dtype=depth))


class _FaceFills:
    """Boxes to masks and their fills, in the order in which they are to be pasted."""

    def __init__(self, settings: FilterSettings, backend: str) -> None:
        self._settings = settings
        self._filter: Filter = open_filter(settings, backend)
        self._has_warned = False

    def make(
        self, picture: RawPicture, boxes: Boxes, known: KnownFaces | None, steps: tuple[int, int]
    ) -> tuple[list[tuple[FaceMask, Fill]], Fallbacks]:
        masks = {row: mask for row, box in enumerate(boxes) if (mask := self._mask(box, picture.size, steps)) is not None}
        if known is not None:
            masks = {row: known.add_to(mask, row) for row, mask in masks.items()}
        rows = sorted(masks, key=lambda row: self._height(masks[row]))
        fills = self._try([masks[row] for row in rows], list(masks.values()), picture)
        fallbacks = {row: fill.fallback for row, fill in zip(rows, fills, strict=True) if fill.fallback is not None}
        return [(masks[row], fill) for row, fill in zip(rows, fills, strict=True)], dict(sorted(fallbacks.items()))

    def _height(self, mask: FaceMask) -> tuple[bool, float]:
        """Larger for what lies over others.

        The larger over the smaller: what is blurred for a small face could show the features of a large one behind it. Where that
        cannot be, a face that is seen lies over one that only is where it would be by now, mostly behind the other.
        """
        return mask.is_seen and self._settings.name in BLIND, math.prod(mask.face_size)

    def _mask(self, box: Boxes, frame_size: Size, steps: tuple[int, int]) -> FaceMask | None:
        settings = self._settings
        return face_mask(
            box, frame_size, shape=mask_shape(settings), margin=settings.margin, soft_edge=settings.soft_edge, steps=steps
        )

    def _try(self, masks: Sequence[FaceMask], every: Sequence[FaceMask], picture: RawPicture) -> list[Fill]:
        """The fill of each mask, plain where the filter raises or gives something else than a fill, for whatever reason.

        every: all masks of the picture.
        """
        try:
            fills = self._filter.fills(picture, masks, every)
            _check(fills, masks, picture)
        except Exception as error:
            if len(masks) > 1:
                return [self._try([mask], every, picture)[0] for mask in masks]
            logger.log("DEBUG" if self._has_warned else "WARNING", "filter failed, the face is covered plain: {!r}", error)
            self._has_warned = True
            return [plain(picture, masks[0])._replace(fallback="failed")]
        return list(fills)


def _check(fills: Sequence[Fill], masks: Sequence[FaceMask], picture: RawPicture) -> None:
    """Raises ValueError unless there is one fill for each mask, of the right type and of the size of its region or smaller."""
    for fill, mask in zip(fills, masks, strict=True):
        height, width, channels = fill.rgb.shape
        is_small_enough = 1 <= height <= mask.alpha.shape[0] and 1 <= width <= mask.alpha.shape[1]
        if fill.rgb.dtype != picture.dtype or channels != 3 or not is_small_enough:
            raise ValueError(f"filter gave a fill of {fill.rgb.shape}, {fill.rgb.dtype} for {mask.alpha.shape}, {picture.dtype}")
        if fill.grain is not None and fill.grain.shape != mask.alpha.shape:
            raise ValueError(f"filter gave grain of {fill.grain.shape} for {mask.alpha.shape}")


def _blend(target: NDArray[np.unsignedinteger], fill: NDArray[np.unsignedinteger], alpha: Alpha) -> None:
    """Lays `fill` over `target` in place: exactly the fill at 255, exactly the target at 0."""
    weight = alpha if target.dtype == np.uint8 else alpha.astype(np.uint16)
    added = cv2.multiply(fill, weight, scale=1 / 255)
    kept = cv2.multiply(target, 255 - weight, scale=1 / 255)
    np.copyto(target, cv2.add(added, kept))

"""Parts of a picture that are always covered, or in which nothing is, at the times at which they count."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import cv2
import numpy as np

from models.faces import Faces
from streamer.filters import PLAIN_LEVEL
from streamer.live.config import ZoneSettings
from streamer.live.schedules import is_scheduled, parse_span
from streamer.masks import Alpha, chroma_alpha
from streamer.pictures import PIXEL_FORMATS, PictureLayout, Plane, color_samples, diffuse_white

_ROOM_PX = 2


class Zones:
    """The zones of one stream, for pictures of one layout."""

    def __init__(self, settings: Sequence[ZoneSettings], layout: PictureLayout) -> None:
        """Raises ScheduleError."""
        self._layout = layout
        form = PIXEL_FORMATS[layout.pixel_format]
        self._steps = (1 << form.chroma_x_shift, 1 << form.chroma_y_shift)
        self._schedules = [[parse_span(text) for text in zone.schedule] for zone in settings]
        self._settings = settings
        self._masks = [self._mask(zone) for zone in settings]
        level = PLAIN_LEVEL * diffuse_white(layout.color)
        self._samples = color_samples((level, level, level), layout)

    def __bool__(self) -> bool:
        return bool(self._settings)

    def without_ignored(self, faces: Faces, moment: datetime) -> Faces:
        """The faces but those whose middle lies in a zone in which nothing is covered."""
        masks = self._active("ignore", moment)
        if not masks or not len(faces):
            return faces
        middles = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        columns = np.clip(middles[:, 0].astype(int), 0, self._layout.width - 1)
        rows = np.clip(middles[:, 1].astype(int), 0, self._layout.height - 1)
        is_ignored = np.zeros(len(faces), bool)
        for mask in masks:
            is_ignored |= mask[rows, columns] > 0
        keep = ~is_ignored
        return Faces(
            boxes=faces.boxes[keep],
            scores=faces.scores[keep],
            keypoints=faces.keypoints[keep],
            keypoint_scores=faces.keypoint_scores[keep],
        )

    def cover(self, planes: Sequence[Plane], moment: datetime) -> None:
        """Lay plain grey over the zones that are always covered."""
        for mask in self._active("cover", moment):
            planes[0][mask > 0] = self._samples[0]
            chroma = chroma_alpha(mask, self._steps) > 0
            for plane, sample in zip(planes[1:], self._samples[1:], strict=True):
                plane[chroma] = sample

    def _active(self, do: str, moment: datetime) -> list[Alpha]:
        return [
            mask
            for zone, schedule, mask in zip(self._settings, self._schedules, self._masks, strict=True)
            if zone.do == do and is_scheduled(schedule, moment)
        ]

    def _mask(self, zone: ZoneSettings) -> Alpha:
        """255 for every pixel that the polygon touches."""
        width, height = self._layout.width, self._layout.height
        corners = np.array([(x * width, y * height) for x, y in zone.points])
        # With room around it, or what is rounded over the border would be lost.
        mask = np.zeros((height + 2 * _ROOM_PX, width + 2 * _ROOM_PX), np.uint8)
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32) + _ROOM_PX], 255)
        if zone.do == "cover":
            # Outwards: more on each side than rounding can take away.
            mask = cv2.dilate(mask, np.ones((2 * _ROOM_PX + 1, 2 * _ROOM_PX + 1), np.uint8)).astype(np.uint8)
        return np.ascontiguousarray(mask[_ROOM_PX:-_ROOM_PX, _ROOM_PX:-_ROOM_PX])

"""Parts of a picture that are always covered, or in which nothing is, at the times at which they count."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np

from models.faces import Faces
from streamer.filters import PLAIN_LEVEL
from streamer.live.config import ZoneSettings
from streamer.masks import Alpha, chroma_alpha
from streamer.pictures import PIXEL_FORMATS, PictureLayout, Plane, color_samples, diffuse_white

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"(?:(?P<days>[a-z,\- ]+?)\s+)?(?P<from>\d{1,2}:\d{2})\s*-\s*(?P<to>\d{1,2}:\d{2})")
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class Period:
    """A part of certain days; one that ends before it begins goes on until that time of the next day."""

    days: frozenset[int]
    """Monday is 0."""
    begin: int
    end: int
    """Minutes since midnight; the end is not in it."""

    def holds(self, moment: datetime) -> bool:
        minute = moment.hour * 60 + moment.minute
        day = moment.weekday()
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        return (day in self.days and minute >= self.begin) or ((day - 1) % 7 in self.days and minute < self.end)


def parse_period(text: str) -> Period:
    """A period such as 'mon-fri 08:00-18:00', 'sat,sun 22:00-06:00' or '20:00-24:00'; all days where none are named.

    Raises ValueError with what it must look like.
    """
    found = _FORM.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError("must look like 'mon-fri 08:00-18:00' or '22:00-06:00'")
    return Period(days=_days(found["days"]), begin=_minutes(found["from"]), end=_minutes(found["to"]))


def _days(text: str | None) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"names days as {', '.join(DAYS)}")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        days.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(days)


def _minutes(text: str) -> int:
    hours, minutes = (int(part) for part in text.split(":"))
    if minutes > 59 or hours * 60 + minutes > _DAY_MINUTES:
        raise ValueError("has times from 00:00 to 24:00")
    return hours * 60 + minutes


class Zones:
    """The zones of one stream, for pictures of one layout."""

    def __init__(self, settings: Sequence[ZoneSettings], layout: PictureLayout) -> None:
        """Raises ValueError for a schedule that cannot be read."""
        self._layout = layout
        form = PIXEL_FORMATS[layout.pixel_format]
        self._steps = (1 << form.chroma_x_shift, 1 << form.chroma_y_shift)
        self._schedules = [tuple(parse_period(text) for text in zone.schedule) for zone in settings]
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
            if zone.do == do and (not schedule or any(period.holds(moment) for period in schedule))
        ]

    def _mask(self, zone: ZoneSettings) -> Alpha:
        """255 for every pixel that the polygon touches."""
        width, height = self._layout.width, self._layout.height
        corners = np.array([(x * width, y * height) for x, y in zone.points])
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 255)
        if zone.do == "cover":
            # Outwards: a pixel more on each side than rounding can take away.
            mask = cv2.dilate(mask, np.ones((3, 3), np.uint8)).astype(np.uint8)
        return mask

"""One picture on its way from a source into a data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.detectors import RgbImage
from models.orientation import Orientation


class MediaError(ValueError):
    """A source cannot be read; the message begins with its name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """An upright picture of a source.

    rgb: (height, width, 3). time_s: seconds from the beginning of a video, 0 for a photo. share: part of the source that is
    done with this picture, 0 to 1.
    """

    rgb: RgbImage
    time_s: float = 0.0
    share: float = 1.0


def set_upright(stored: RgbImage, orientation: Orientation) -> RgbImage:
    """The picture as it is meant to be shown; a copy unless it was upright."""
    if orientation.is_upright:
        return stored
    width, height = orientation.size(stored.shape[1], stored.shape[0])
    upright = np.empty((height, width, 3), np.uint8)
    orientation.apply(stored, upright)
    return upright

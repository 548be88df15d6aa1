"""Draws what was found and why it was covered on pictures that are anonymized already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from models.faces import Boxes
from streamer.pictures import PIXEL_FORMATS, PictureLayout, Plane, color_samples, diffuse_white

REASON_COLORS: dict[str, tuple[float, float, float]] = {
    "detected": (0.2, 1.0, 0.2),
    "reached_back": (0.3, 0.7, 1.0),
    "bridged": (1.0, 1.0, 0.2),
    "held": (1.0, 0.6, 0.1),
    "fallback": (1.0, 0.2, 0.2),
}
"""The colour of a box by the reason of its cover, R G B as parts of white; white for any other reason."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def shown_reasons(reasons: Sequence[str], fallbacks: Mapping[int, str]) -> list[str]:
    """The reason of each cover, or `fallback` for the rows among `fallbacks`."""
    return ["fallback" if row in fallbacks else reason for row, reason in enumerate(reasons)]


def draw_detections(
    planes: Sequence[Plane], layout: PictureLayout, boxes: Boxes, reasons: Sequence[str], tracks: Sequence[int]
) -> None:
    """Draws a rectangle and `reason track` for every box into the planes, in place.

    boxes: (faces, 4), pixels; what lies outside the picture is cut off. Raises ValueError if the lengths differ.
    """
    form = PIXEL_FORMATS[layout.pixel_format]
    shifts = [(0, 0), *[(form.chroma_x_shift, form.chroma_y_shift)] * (len(planes) - 1)]
    thickness = max(1, layout.height // 360)
    white = diffuse_white(layout.color)
    black, bright = (color_samples((level, level, level), layout) for level in (0.0, white))
    limit = 4 * max(layout.width, layout.height)
    for box, reason, track in zip(boxes, reasons, tracks, strict=True):
        red, green, blue = REASON_COLORS.get(reason, (1.0, 1.0, 1.0))
        samples = color_samples((red * white, green * white, blue * white), layout)
        x1, y1, x2, y2 = (int(value) for value in np.clip(np.rint(box), -limit, limit))
        for plane, sample, (x_shift, y_shift) in zip(planes, samples, shifts, strict=True):
            cv2.rectangle(plane, (x1 >> x_shift, y1 >> y_shift), (x2 >> x_shift, y2 >> y_shift), sample, thickness)
        _write(planes[0], f"{reason} {track}", (x1, y1), (black[0], bright[0]), thickness)


def _write(luma: Plane, text: str, corner: tuple[int, int], samples: tuple[int, int], thickness: int) -> None:
    """Above the corner, or where the picture ends there, below it; what does not fit is cut off. samples: of paper and ink."""
    scale = 0.4 * thickness
    (width, height), below = cv2.getTextSize(text, _FONT, scale, thickness)
    # OpenCV writes on 8-bit pictures only: the text is written on a mask.
    letters = np.zeros((height + 2 * below, width + below), np.uint8)
    cv2.putText(letters, text, (0, height), _FONT, scale, 255, thickness)
    x = min(max(corner[0], 0), max(0, luma.shape[1] - width))
    y = corner[1] - height - 2 * below
    if y < 0:
        y = max(corner[1], 0) + below
    target = luma[y : y + letters.shape[0], x : x + letters.shape[1]]
    target[:] = np.where(letters[: target.shape[0], : target.shape[1]] > 127, samples[1], samples[0])

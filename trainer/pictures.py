"""Pictures on disk, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from models.detectors import RgbImage


class DataError(ValueError):
    """A data set cannot be used; the message begins with its path and says what is wrong."""


class PictureError(ValueError):
    """One picture cannot be read; the message begins with its path."""


def read_picture(path: Path) -> RgbImage:
    """Decode a picture. Raises PictureError where it is missing or damaged."""
    try:
        content = path.read_bytes()
        if _is_cut_off(content):
            raise PictureError(f"{path}: damaged: its end is missing")
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB) if content else None
    except (OSError, cv2.error) as error:
        raise PictureError(f"{path}: {error}") from error
    if picture is None:
        raise PictureError(f"{path}: not a picture, or damaged")
    return np.asarray(picture, np.uint8)


def _is_cut_off(content: bytes) -> bool:
    """Whether this is a JPEG that ends within its pixels; decoders fill up the rest with gray and do not complain."""
    begins_scan, ends = content.rfind(b"\xff\xda"), content.rfind(b"\xff\xd9")
    return content.startswith(b"\xff\xd8") and ends < begins_scan

"""Photos as upright sRGB pictures: JPEG, PNG, WebP and TIFF of any depth, colour space and orientation."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from models.detectors import RgbImage
from models.orientation import EXIF_ORIENTATIONS, Orientation
from trainer.upright import MediaError, Picture, set_upright

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff"})

_ORIENTATION_TAG = 274
_BACKGROUND = (128, 128, 128)
"""Behind transparent pictures."""
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, struct.error, zlib.error)
"""What Pillow's parsers raise over broken files."""


class Photo:
    """A photo; of several pages or animated pictures the first."""

    damage = ""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Picture]:
        yield Picture(rgb=read_photo(self._path))


def read_photo(path: Path) -> RgbImage:
    """Raises MediaError where the file is missing, damaged, or no photo."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                orientation = EXIF_ORIENTATIONS.get(image.getexif().get(_ORIENTATION_TAG, 1), Orientation())
                return set_upright(_rgb(image), orientation)
        except UnidentifiedImageError as error:
            raise MediaError(f"{path}: is not a picture that can be read") from error
        except Image.DecompressionBombError as error:
            raise MediaError(f"{path}: has too many pixels") from error
        except _DAMAGE as error:
            raise MediaError(f"{path}: is truncated or damaged: {error}") from error


def _rgb(image: Image.Image) -> RgbImage:
    """(height, width, 3) as stored, in sRGB."""
    if image.mode.startswith("I;16"):
        gray = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    profile = image.info.get("icc_profile")
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        flat = Image.new("RGB", image.size, _BACKGROUND)
        flat.paste(layer, mask=layer.getchannel("A"))
        return np.asarray(_to_srgb(flat, profile), np.uint8)
    return np.asarray(_to_srgb(image, profile), np.uint8)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """By the profile where it fits; a broken one is passed over, as viewers do."""
    if image.mode not in ("RGB", "CMYK", "L"):
        image = image.convert("RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass
    return image.convert("RGB")

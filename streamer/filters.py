"""What is put over a face: the filters and the table by which they are chosen.

A filter sees the picture before anything is hidden and gives a fill for every masked region; `streamer/hiding.py` lays the fills
into the anonymized picture. So a filter cannot leave a pixel uncovered, only fill it badly. The definitions of pixelate, blur and
heavy-blur (models/baselines.py) are those of the baselines in table 1 of DeepPrivacy (Hukkelås et al. 2019); all three let a
patient observer learn something about the face, and blur a lot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models import baselines
from models.backends import DEFAULT_BACKEND
from streamer.config import FilterSettings
from streamer.errors import UsageError
from streamer.escaping import is_encodable
from streamer.masks import FaceMask, region_size
from streamer.pictures import RgbPixels
from streamer.raw_pictures import RawPicture

PLAIN_LEVEL = 0.2
"""The dark grey, as a part of white, that covers what no filter can: regions too small to average, failures, whole pictures."""

_LONGEST_IMAGE_SIDE_PX = 1024


class Fill(NamedTuple):
    """What is laid over a face."""

    rgb: RgbPixels
    """Of the picture's dtype and of the size of the face's region, or smaller: then it is stretched bilinearly."""
    fallback: str | None = None
    """A word that says why the filter could not do what it stands for and covers this face otherwise; None where it could."""
    grain: NDArray[np.float32] | None = None
    """What is added to the brightness, (height, width) of the region, 255 = from black to white; None for nothing."""


class Filter(Protocol):
    """Makes the fills for the faces of one picture."""

    def fills(self, picture: RawPicture, faces: Sequence[FaceMask], every: Sequence[FaceMask]) -> list[Fill]:
        """One fill for each of `faces`. every: all faces of the picture, among them these.

        `faces` are asked for together so that a network can run them as one batch. Where it raises, it is asked again for each face
        alone, and a face whose fill cannot be had is covered plain.
        """
        ...


@dataclass(frozen=True)
class EachFace:
    """The filter that makes every fill for itself; satisfies Filter."""

    fill: Callable[[RawPicture, FaceMask], Fill]

    def fills(self, picture: RawPicture, faces: Sequence[FaceMask], every: Sequence[FaceMask]) -> list[Fill]:
        return [self.fill(picture, face) for face in faces]


def plain(picture: RawPicture, face: FaceMask) -> Fill:
    """Dark grey."""
    return solid(picture, face, (PLAIN_LEVEL, PLAIN_LEVEL, PLAIN_LEVEL))


def solid(picture: RawPicture, face: FaceMask, color: tuple[float, float, float]) -> Fill:
    """One colour: R G B as parts of the picture's white."""
    return Fill(np.array([[[round(picture.white * part) for part in color]]], picture.dtype))


def pixelate(picture: RawPicture, face: FaceMask, cells: int) -> Fill:
    """`cells` samples for each face width and height; see models/baselines.py for what happens to small faces."""
    if _is_too_small(face):
        return plain(picture, face)
    return Fill(picture.rgb(face.region, baselines.cells_of(region_size(face), face.face_size, cells)))


def blur(picture: RawPicture, face: FaceMask) -> Fill:
    """A Gaussian of 9 x 9 pixels, sigma 3; hides little of a large face."""
    if _is_too_small(face):
        return plain(picture, face)
    return Fill(baselines.blur(picture.rgb(face.region)))


def heavy_blur(picture: RawPicture, face: FaceMask) -> Fill:
    """The mean over a square of 30 % of the face's width; the mean of the whole region where that square is too small."""
    if _is_too_small(face):
        return plain(picture, face)
    return Fill(baselines.heavy_blur(picture.rgb(face.region), face.face_size[0]))


def image(picture: RawPicture, face: FaceMask, rgb: NDArray[np.float32]) -> Fill:
    """A picture, as `read_image` gives it, stretched over the mask; where the border of the frame cuts the mask, it is cut too."""
    height, width = rgb.shape[:2]
    x1, x2 = _visible_part(face.region[0], face.region[2], face.extent[0], face.extent[2], width)
    y1, y2 = _visible_part(face.region[1], face.region[3], face.extent[1], face.extent[3], height)
    size = region_size(face)
    is_shrunk = size[0] <= x2 - x1 and size[1] <= y2 - y1
    stretched = cv2.resize(rgb[y1:y2, x1:x2], size, interpolation=cv2.INTER_AREA if is_shrunk else cv2.INTER_LINEAR)
    return Fill((stretched * picture.white + 0.5).astype(picture.dtype))


def read_image(path: str) -> NDArray[np.float32]:
    """(height, width, 3): R G B, 0 to 1, at most 1024 pixels long; what is transparent is laid over the plain grey.

    Raises UsageError if it is no picture.
    """
    if not is_encodable(path):
        raise UsageError(f"filter.image: {path}: its name is not UTF-8; rename it")
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a picture"
        raise UsageError(f"filter.image: {path} cannot be read: {reason}") from error
    upright.thumbnail((_LONGEST_IMAGE_SIDE_PX, _LONGEST_IMAGE_SIDE_PX))
    rgba = np.asarray(upright, np.float32) / np.float32(255)
    weight = rgba[:, :, 3:]
    return np.asarray(rgba[:, :, :3] * weight + PLAIN_LEVEL * (1 - weight), np.float32)


def _open_solid(settings: FilterSettings, backend: str) -> Filter:
    red, green, blue = (int(settings.color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return EachFace(partial(solid, color=(red, green, blue)))


def _open_image(settings: FilterSettings, backend: str) -> Filter:
    if settings.image is None:
        raise UsageError("filter.image: the filter image needs the path of a picture")
    return EachFace(partial(image, rgb=read_image(settings.image)))


def _open_gan(settings: FilterSettings, backend: str) -> Filter:
    # Only here, because nobody else needs a network.
    from streamer.gan import open_gan

    return open_gan(settings, backend)


FILTERS: dict[str, Callable[[FilterSettings, str], Filter]] = {
    "gan": _open_gan,
    "blackout": lambda settings, backend: EachFace(partial(solid, color=(0, 0, 0))),
    "pixelate": lambda settings, backend: EachFace(partial(pixelate, cells=settings.cells)),
    "blur": lambda settings, backend: EachFace(blur),
    "heavy-blur": lambda settings, backend: EachFace(heavy_blur),
    "solid": _open_solid,
    "image": _open_image,
}
"""Every filter: the name in the settings, and what makes the filter from them and the backend for its network."""

NEEDS_KEYPOINTS = frozenset({"gan"})
"""The filters that want to know where eyes, nose, ears and shoulders are; for the others nobody looks for them."""

PAINTS_BOXES = frozenset({"gan"})
"""The filters that can fill nothing but boxes."""

BLIND = frozenset({"gan", "blackout", "solid", "image"})
"""The filters whose fills hold no pixel of any face."""

RUNS_NETWORK = frozenset({"gan"})
"""The filters that take a while to open."""


def open_filter(settings: FilterSettings, backend: str = DEFAULT_BACKEND) -> Filter:
    """The filter that the settings name.

    backend: what runs its network, if it has one.
    Raises UsageError if there is none of that name or it cannot be made.
    """
    _check_names(settings)
    return FILTERS[settings.name](settings, backend)


def check_filter(settings: FilterSettings) -> None:
    """Raises UsageError where `open_filter` would, but opens no network for it: weights are checked by their sums."""
    _check_names(settings)
    if settings.name not in RUNS_NETWORK:
        open_filter(settings)


def _check_names(settings: FilterSettings) -> None:
    if settings.name not in FILTERS:
        raise UsageError(f"filter.name: there is no filter {settings.name!r}, choose one of {', '.join(FILTERS)}")
    if settings.name in PAINTS_BOXES and mask_shape(settings) != "box":
        raise UsageError(f"filter.mask: the filter {settings.name} paints into a box, no ellipse")


def mask_shape(settings: FilterSettings) -> Literal["ellipse", "box"]:
    """The shape of the mask that the settings name or leave to the filter."""
    if settings.mask != "auto":
        return settings.mask
    return "box" if settings.name in PAINTS_BOXES else "ellipse"


def needs_keypoints(settings: FilterSettings) -> bool:
    """Whether the filter that the settings name wants keypoints."""
    return settings.name in NEEDS_KEYPOINTS


def _is_too_small(face: FaceMask) -> bool:
    return min(region_size(face)) < baselines.SMALLEST_CELL_PX


def _visible_part(start: int, stop: int, extent_start: int, extent_stop: int, pixels: int) -> tuple[int, int]:
    """The pixels of a picture stretched from extent_start to extent_stop that lie between start and stop; at least one."""
    scale = pixels / (extent_stop - extent_start)
    first = min(max(0, int((start - extent_start) * scale)), pixels - 1)
    return first, min(max(first + 1, round((stop - extent_start) * scale)), pixels)

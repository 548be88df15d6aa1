"""Pictures before anything is hidden, as filters see them: planar ones of videos, and photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors import Region, Render, RgbImage, Size
from streamer.pictures import (
    PictureLayout,
    Plane,
    RgbPixels,
    diffuse_white,
    insides,
    picture_render,
    region_to_rgb,
    resized,
)


class RawPicture(Protocol):
    """What a filter may see of a picture before it is anonymized."""

    @property
    def size(self) -> Size: ...

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Of `rgb`."""
        ...

    @property
    def white(self) -> int:
        """The value that a white sheet of paper has in `rgb`: the greatest, but less in HDR, where only lamps reach that."""
        ...

    def rgb(self, region: Region, size: Size | None = None) -> RgbPixels:
        """A part as RGB, to be read only; size: width and height to which it is brought bilinearly."""
        ...

    def surroundings(self, hidden: Sequence[Region]) -> Render:
        """A Render of the picture with these parts grey: nothing of any of their pixels is in what it gives."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class YuvPicture:
    """A planar picture as a filter sees it; satisfies RawPicture."""

    planes: Sequence[Plane]
    layout: PictureLayout

    @property
    def size(self) -> Size:
        return self.layout.width, self.layout.height

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        return self.layout.dtype

    @property
    def white(self) -> int:
        return round(np.iinfo(self.layout.dtype).max * diffuse_white(self.layout.color))

    def rgb(self, region: Region, size: Size | None = None) -> RgbPixels:
        return region_to_rgb(self.planes, self.layout, region, size)

    def surroundings(self, hidden: Sequence[Region]) -> Render:
        return picture_render(self.planes, self.layout, hidden)


@dataclass(frozen=True, kw_only=True, eq=False)
class RgbPicture:
    """A photo as a filter sees it: (height, width), or with 3 or 4 channels, of which it sees three; satisfies RawPicture."""

    image: NDArray[np.unsignedinteger]

    @property
    def size(self) -> Size:
        return self.image.shape[1], self.image.shape[0]

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        return np.uint8 if self.image.dtype == np.uint8 else np.uint16

    @property
    def white(self) -> int:
        return int(np.iinfo(self.dtype).max)

    def rgb(self, region: Region, size: Size | None = None) -> RgbPixels:
        x1, y1, x2, y2 = region
        part = self.image[y1:y2, x1:x2]
        if size is not None:
            part = cast("Plane", cv2.resize(part, size))
        return _three_channels(part)

    def surroundings(self, hidden: Sequence[Region]) -> Render:
        def render(region: Region, size: Size) -> RgbImage:
            x1, y1, x2, y2 = region
            part = self.image[y1:y2, x1:x2].copy()
            for inner in insides(hidden, region, (1, 1)):
                part[inner] = 1 << (8 * part.itemsize - 1)
            shrunk = resized(part, size)
            return eight_bits(_three_channels(shrunk))

        return render


def eight_bits(rgb: NDArray[np.unsignedinteger]) -> RgbImage:
    """The same pixels, (height, width, 3), with the upper half of their bits if they have sixteen."""
    return cast("RgbImage", rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8))


def _three_channels(part: NDArray[np.unsignedinteger]) -> RgbPixels:
    """R G B of a part of a photo with one, three or four channels."""
    return np.repeat(part[:, :, np.newaxis], 3, axis=2) if part.ndim == 2 else np.ascontiguousarray(part[:, :, :3])

"""What can be seen of a photo that has an alpha channel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import cv2
import numpy as np

from models.detectors import RgbImage
from streamer.images import ImagePicture
from streamer.raw_pictures import eight_bits


def ways_to_see(picture: ImagePicture) -> Iterator[RgbImage]:
    """The photo in each way in which a face in it can come to light, (height, width, 3): its colours as they are, and unless it is
    opaque everywhere also as shown over white and over black, and the alpha channel as a picture of its own.
    """
    rgb = eight_bits(picture.rgb)
    yield rgb
    if picture.alpha is None or picture.alpha.min() == np.iinfo(picture.alpha.dtype).max:
        return
    alpha = cast("RgbImage", cv2.merge([eight_bits(picture.alpha)] * 3))
    over_black = cast("RgbImage", cv2.multiply(rgb, alpha, scale=1 / 255))
    yield cast("RgbImage", cv2.add(over_black, 255 - alpha))
    yield over_black
    yield alpha

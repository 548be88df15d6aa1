"""Photos change under masks alone, and as the published baselines do."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from models.faces import Boxes
from streamer.config import FilterSettings
from streamer.hiding import PhotoHider
from streamer.pictures import PictureLayout
from tests.streamer.hidden import FACE, FACELESS, filter_settings, some_boxes, weights

PHOTO_SHAPES = [(48, 64), (48, 64, 3), (48, 64, 4)]


@settings(max_examples=150, deadline=None)
@given(shape=st.sampled_from(PHOTO_SHAPES), dtype=st.sampled_from([np.uint8, np.uint16]), boxes=some_boxes, setting=filter_settings)
def test_photos_change_only_under_masks_and_are_opaque_there(
    shape: tuple[int, ...], dtype: type[np.unsignedinteger], boxes: Boxes, setting: FilterSettings
) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    before = image.copy()
    safe, failed = PhotoHider(setting).hide_rgb(image, boxes)
    (weight,) = weights(PictureLayout(width=64, height=48, pixel_format="gray"), boxes, setting)
    np.testing.assert_array_equal(image, before)
    assert failed == {}
    assert safe.dtype == dtype
    np.testing.assert_array_equal(safe[weight == 0], image[weight == 0])
    if len(shape) == 3 and shape[2] == 4:
        assert (safe[:, :, 3][weight > 0] == np.iinfo(dtype).max).all()
    if setting.name in FACELESS:
        other = image.copy()
        colors = other if other.ndim == 2 else other[:, :, :3]
        colors[weight == 255] ^= np.iinfo(dtype).max
        np.testing.assert_array_equal(PhotoHider(setting).hide_rgb(other, boxes)[0][weight == 255], safe[weight == 255])


@pytest.mark.parametrize("name", ["pixelate", "heavy-blur"])
def test_a_photo_on_a_box_mask_is_the_published_baseline(name: str) -> None:
    image = np.asarray(Image.open(FACE).convert("RGB"))
    face = np.ascontiguousarray(image[101:430, 87:402])
    kernel = max(1, int(0.3 * (402 - 87)))
    expected = (
        cv2.resize(cv2.resize(face, (8, 8)), (402 - 87, 430 - 101)) if name == "pixelate" else cv2.blur(face, (kernel, kernel))
    )
    setting = FilterSettings(name=name, mask="box", margin=0, soft_edge=0)
    safe, failed = PhotoHider(setting).hide_rgb(image, np.array([[87, 101, 402, 430]], np.float32))
    assert failed == {}
    np.testing.assert_array_equal(safe[101:430, 87:402], expected)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((4, 4), bool),
        np.zeros(4, np.uint8),
    ],
)
def test_an_image_of_another_kind_is_refused(image: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="a photo must be"):
        PhotoHider(FilterSettings(name="heavy-blur")).hide_rgb(image, np.zeros((0, 4), np.float32))

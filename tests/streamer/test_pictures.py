"""Planar pictures become RGB and return as the colour standards say, in every format."""

from __future__ import annotations

import av
import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.pictures import (
    PIXEL_FORMATS,
    ColorTags,
    PictureLayout,
    Plane,
    color_samples,
    diffuse_white,
    picture_render,
    region_to_rgb,
    rgb_to_region,
)
from streamer.raw_pictures import RgbPicture, YuvPicture

COLORED = [name for name, form in PIXEL_FORMATS.items() if form.has_chroma]


def layout(pixel_format: str = "yuv420p", *, width: int = 64, height: int = 48, **color: int) -> PictureLayout:
    return PictureLayout(width=width, height=height, pixel_format=pixel_format, color=ColorTags(**color))


def uniform(form: PictureLayout, samples: tuple[int, ...]) -> tuple[Plane, ...]:
    planes = form.planes(np.zeros(form.nbytes, np.uint8))
    for plane, sample in zip(planes, samples, strict=True):
        plane.fill(sample)
    return planes


def whole(form: PictureLayout) -> tuple[int, int, int, int]:
    return 0, 0, form.width, form.height


def smooth(form: PictureLayout, seed: int = 0) -> NDArray[np.unsignedinteger]:
    """RGB that chroma subsampling changes little."""
    few = np.random.default_rng(seed).random((3, 4, 3)).astype(np.float32)
    return (cv2.resize(few, (form.width, form.height)) * np.iinfo(form.dtype).max).astype(form.dtype)


@pytest.mark.parametrize(
    ("color", "rgb", "expected"),
    [
        ({"matrix": 6, "range": 1}, (1, 0, 0), (81, 90, 240)),
        ({"matrix": 6, "range": 2}, (1, 0, 0), (76, 85, 255)),
        ({"matrix": 1, "range": 1}, (1, 0, 0), (63, 102, 240)),
        ({"matrix": 1, "range": 1}, (0, 1, 0), (173, 42, 26)),
        ({"matrix": 1, "range": 1}, (0, 0, 1), (32, 240, 118)),
        ({"matrix": 9, "range": 1}, (0, 1, 0), (164, 47, 25)),
        ({"matrix": 1, "range": 1}, (0, 0, 0), (16, 128, 128)),
        ({"matrix": 1, "range": 1}, (1, 1, 1), (235, 128, 128)),
        ({"matrix": 1, "range": 2}, (1, 1, 1), (255, 128, 128)),
    ],
)
def test_colours_have_the_samples_of_the_standards(
    color: dict[str, int], rgb: tuple[float, float, float], expected: tuple[int, ...]
) -> None:
    form = layout(**color)
    assert color_samples(rgb, form) == expected
    got = region_to_rgb(uniform(form, expected), form, whole(form))
    assert np.abs(got.astype(int) - np.array(rgb) * 255).max() <= 3


def test_an_unspecified_matrix_is_that_of_the_pictures_height_and_an_unspecified_range_is_limited() -> None:
    red = (1.0, 0.0, 0.0)
    assert color_samples(red, layout(height=720)) == color_samples(red, layout(matrix=1, range=1))
    assert color_samples(red, layout(height=576)) == color_samples(red, layout(matrix=6, range=1))


def test_ten_bits_and_grey_have_their_own_samples() -> None:
    assert color_samples((1, 1, 1), layout("yuv420p10le")) == (940, 512, 512)
    assert color_samples((1, 0, 0), layout("yuv420p10le", matrix=1, range=2)) == (217, 395, 1023)
    assert color_samples((1, 1, 1), layout("gray")) == (235,)
    assert color_samples((0, 0, 0), layout("gray10le")) == (64,)


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize("pixel_format", COLORED)
def test_a_region_returns_from_rgb_as_it_was(pixel_format: str, matrix: int, color_range: int) -> None:
    form = layout(pixel_format, matrix=matrix, range=color_range)
    rgb = smooth(form)
    planes = rgb_to_region(rgb, form)
    assert [plane.shape for plane in planes] == list(form.plane_shapes)
    assert all(plane.dtype == form.dtype for plane in planes)
    again = region_to_rgb(planes, form, whole(form))
    assert again.dtype == form.dtype
    assert np.abs(again.astype(float) - rgb).max() <= 0.05 * np.iinfo(form.dtype).max
    for plane, back in zip(planes, rgb_to_region(again, form), strict=True):
        assert np.abs(plane.astype(int) - back).mean() <= 1 << (PIXEL_FORMATS[pixel_format].bits - 8)


def test_conversion_agrees_with_ffmpeg() -> None:
    form = layout(matrix=6, range=1, width=128, height=96)
    planes = rgb_to_region(smooth(form), form)
    frame = av.VideoFrame.from_ndarray(np.vstack([plane.reshape(-1, form.width) for plane in planes]), format="yuv420p")
    expected = frame.to_ndarray(format="rgb24")
    assert np.abs(region_to_rgb(planes, form, whole(form)).astype(int) - expected).mean() < 2


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
def test_samples_above_the_format_never_come_back(pixel_format: str) -> None:
    form = layout(pixel_format, range=2)
    for corner in np.ndindex(2, 2, 2):
        color = np.array(corner) * np.iinfo(form.dtype).max
        for plane in rgb_to_region(np.broadcast_to(color.astype(form.dtype), (48, 64, 3)).copy(), form):
            assert plane.max() < 1 << PIXEL_FORMATS[pixel_format].bits


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
def test_a_region_is_the_same_part_of_the_whole(pixel_format: str) -> None:
    form = layout(pixel_format)
    planes = form.planes(np.random.default_rng(0).integers(0, 4, form.nbytes, np.uint8))
    part = region_to_rgb(planes, form, (8, 4, 40, 30))
    # Chroma is interpolated, and at the border of a region from one side only.
    np.testing.assert_array_equal(part[2:-2, 2:-2], region_to_rgb(planes, form, whole(form))[6:28, 10:38])


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
@pytest.mark.parametrize("size", [(32, 24), (64, 48), (100, 20), (7, 5), (128, 96)])
def test_a_render_is_the_picture_at_the_wanted_size(pixel_format: str, size: tuple[int, int]) -> None:
    form = layout(pixel_format, width=128, height=96, matrix=1)
    rgb = smooth(form)
    if not PIXEL_FORMATS[pixel_format].has_chroma:
        rgb = np.repeat(rgb[:, :, :1], 3, axis=2)
    got = picture_render(rgb_to_region(rgb, form), form)((0, 0, 128, 96), size)
    assert got.shape == (size[1], size[0], 3)
    assert got.dtype == np.uint8
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(float) * 255 / np.iinfo(form.dtype).max
    assert np.abs(got - small).mean() < 5


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
@pytest.mark.parametrize("region", [(1, 1, 2, 2), (3, 5, 64, 48), (63, 47, 64, 48), (0, 0, 1, 48)])
def test_any_part_can_be_rendered(pixel_format: str, region: tuple[int, int, int, int]) -> None:
    form = layout(pixel_format)
    assert picture_render(uniform(form, color_samples((0, 0, 0), form)), form)(region, (16, 8)).max() <= 2


def test_a_render_does_not_alias_fine_stripes() -> None:
    form = layout("gray", width=512, height=64, range=2)
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 256))
    assert np.ptp(picture_render((stripes,), form)((0, 0, 512, 64), (100, 16)).astype(int)) <= 64


@pytest.mark.parametrize("transfer", [16, 18])
def test_diffuse_white_of_hdr_is_rendered_white(transfer: int) -> None:
    form = layout("yuv420p10le", matrix=9, range=1, transfer=transfer)
    level = diffuse_white(form.color)
    assert level < 1
    for part in (1.0, 0.5):
        planes = uniform(form, color_samples((part * level,) * 3, form))
        rendered = picture_render(planes, form)(whole(form), (32, 24))
        assert np.abs(rendered.astype(int) - 255 * part).max() <= 2
    white = YuvPicture(planes=planes, layout=form).white
    assert white == round(level * 65535)
    assert diffuse_white(msgspec.structs.replace(form.color, transfer=1)) == 1


@pytest.mark.parametrize("channels", [None, 3, 4])
def test_a_photo_shows_three_channels(channels: int | None) -> None:
    shape = (8, 10) if channels is None else (8, 10, channels)
    image = np.random.default_rng(0).integers(0, 65535, shape, np.uint16)
    picture = RgbPicture(image=image)
    part = picture.rgb((2, 1, 7, 5))
    assert picture.size == (10, 8)
    assert part.shape == (4, 5, 3)
    expected = image[1:5, 2:7, None].repeat(3, 2) if channels is None else image[1:5, 2:7, :3]
    np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
def test_a_part_shrunk_on_the_way_is_the_shrunk_part(pixel_format: str) -> None:
    form = layout(pixel_format, matrix=1, range=2)
    few = np.random.default_rng(3).integers(60, 190, (3, 4)).astype(np.float32)
    deep = 1 << (PIXEL_FORMATS[pixel_format].bits - 8)
    planes = tuple((cv2.resize(few, shape[::-1]) * deep).astype(form.dtype) for shape in form.plane_shapes)
    region = (8, 4, 56, 44)
    shrunk = region_to_rgb(planes, form, region, (9, 7)).astype(float)
    assert np.abs(shrunk - cv2.resize(region_to_rgb(planes, form, region), (9, 7))).mean() <= 0.01 * np.iinfo(form.dtype).max


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
def test_a_small_fill_is_stretched_over_the_region(pixel_format: str) -> None:
    form = layout(pixel_format, matrix=1, range=2)
    rgb = np.random.default_rng(3).integers(60, 190, (5, 4, 3)).astype(form.dtype) * (np.iinfo(form.dtype).max // 255)
    stretched = rgb_to_region(rgb, form, (32, 24))
    assert [plane.shape for plane in stretched] == [
        (24 * rows // form.height, 32 * columns // form.width) for rows, columns in form.plane_shapes
    ]
    whole = rgb_to_region(cv2.resize(rgb, (32, 24), interpolation=cv2.INTER_LINEAR), form)
    for got, wanted in zip(stretched, whole, strict=True):
        assert np.abs(got.astype(float) - wanted).mean() <= 0.01 * (1 << PIXEL_FORMATS[pixel_format].bits)

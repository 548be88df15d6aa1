"""No pixel inside a mask survives, none outside changes, whatever the boxes, the format and the filter's failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.faces import Boxes
from streamer import hiding
from streamer.config import FilterSettings
from streamer.errors import UsageError
from streamer.filters import FILTERS, EachFace, Fill
from streamer.hiding import Hider, KnownFaces, PhotoHider
from streamer.masks import FaceMask, region_size
from streamer.pictures import PIXEL_FORMATS, ColorTags, PictureLayout, Plane, RgbPixels, region_to_rgb
from streamer.raw_pictures import RawPicture
from tests.streamer.hidden import CLASSIC, FACE, FACELESS, SIZE, filter_settings, layouts, masks_of, noise, some_boxes, weights


def hidden(layout: PictureLayout, raw: Sequence[Plane], boxes: Boxes, setting: FilterSettings) -> tuple[Plane, ...]:
    safe = noise(layout, 99)
    before = [plane.copy() for plane in raw]
    assert Hider(setting, layout).hide(raw, safe, boxes) == {}
    for plane, copy in zip(raw, before, strict=True):
        np.testing.assert_array_equal(plane, copy)
    return safe


@settings(max_examples=200, deadline=None)
@given(layout=layouts, boxes=some_boxes, setting=filter_settings)
def test_every_sample_outside_the_masks_is_bit_exact(layout: PictureLayout, boxes: Boxes, setting: FilterSettings) -> None:
    raw = noise(layout)
    safe = hidden(layout, raw, boxes, setting)
    for got, was, weight in zip(safe, raw, weights(layout, boxes, setting), strict=True):
        np.testing.assert_array_equal(got[weight == 0], was[weight == 0])


@settings(max_examples=200, deadline=None)
@given(layout=layouts, boxes=some_boxes, setting=filter_settings, name=st.sampled_from(FACELESS))
def test_masked_samples_of_two_pictures_that_differ_there_come_out_the_same(
    layout: PictureLayout, boxes: Boxes, setting: FilterSettings, name: Any
) -> None:
    """Neither luma nor chroma says anything of what was there; with a hard edge, nothing of the whole picture does."""
    setting = FilterSettings(
        name=name, mask=setting.mask, margin=setting.margin, soft_edge=setting.soft_edge, image=setting.image, color="#20a0f0"
    )
    masked = [weight == 255 for weight in weights(layout, boxes, setting)]
    one, other = noise(layout, 1), noise(layout, 2)
    for plane, second, where in zip(one, other, masked, strict=True):
        second[~where] = plane[~where]
    for got, second, where in zip(hidden(layout, one, boxes, setting), hidden(layout, other, boxes, setting), masked, strict=True):
        np.testing.assert_array_equal(got[where], second[where])


@settings(max_examples=100, deadline=None)
@given(layout=layouts, boxes=some_boxes, mask=st.sampled_from(["ellipse", "box"]))
def test_no_raw_sample_is_left_under_a_mask(layout: PictureLayout, boxes: Boxes, mask: Literal["ellipse", "box"]) -> None:
    """Black over white: chroma that touches the mask is that of black too, so the colour of a face does not seep out."""
    setting = FilterSettings(name="blackout", mask=mask)
    black = Hider(setting, layout)
    bits = PIXEL_FORMATS[layout.pixel_format].bits
    raw = layout.planes(np.zeros(layout.nbytes, np.uint8))
    for plane in raw:
        plane.fill((1 << bits) - 1)
    safe = noise(layout)
    black.hide(raw, safe, boxes)
    dark = 0 if layout.color.range == 2 else 16 << (bits - 8)
    levels = [dark, 128 << (bits - 8), 128 << (bits - 8)]
    tolerance = 1 << (bits - 8)
    for plane, weight, level in zip(safe, weights(layout, boxes, setting), levels, strict=False):
        assert (np.abs(plane[weight == 255].astype(int) - level) <= tolerance).all()


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
@pytest.mark.parametrize("name", CLASSIC)
def test_inside_a_mask_lies_the_fill_of_the_filter(pixel_format: str, name: str) -> None:
    layout = PictureLayout(width=SIZE[0], height=SIZE[1], pixel_format=pixel_format, color=ColorTags(matrix=1, range=2))
    setting = FilterSettings(name=name, mask="box", margin=0, soft_edge=0, image=str(FACE))
    raw = noise(layout)
    few = np.random.default_rng(3).integers(60, 190, (3, 4)).astype(np.float32)
    for plane in raw:
        plane[:] = cv2.resize(few, plane.shape[::-1]) * (1 << (PIXEL_FORMATS[pixel_format].bits - 8))
    boxes = np.array([[12, 10, 52, 40]], np.float32)
    (mask,) = masks_of(layout, boxes, setting)

    class Picture:
        size = SIZE
        dtype = layout.dtype
        white = int(np.iinfo(layout.dtype).max)

        def rgb(self, region: tuple[int, int, int, int], size: tuple[int, int] | None = None) -> RgbPixels:
            rgb = region_to_rgb(raw, layout, region)
            return rgb if size is None else cast("RgbPixels", cv2.resize(rgb, size))

    expected = cv2.resize(FILTERS[name](setting, "cpu").fills(Picture(), [mask], [mask])[0].rgb, region_size(mask)).astype(float)
    got = region_to_rgb(hidden(layout, raw, boxes, setting), layout, mask.region).astype(float)
    if not PIXEL_FORMATS[pixel_format].has_chroma:
        expected = expected @ [[0.2126], [0.7152], [0.0722]]
    assert np.abs(got - expected).mean() <= 0.02 * np.iinfo(layout.dtype).max


def test_the_larger_of_two_overlapping_faces_is_on_top_in_any_order() -> None:
    """A small box inside a large face, as of an eye, must not show it through a blur made for a small face."""
    layout = PictureLayout(width=256, height=256, pixel_format="gray")
    raw = noise(layout)
    large, small = [20, 20, 230, 230], [100, 100, 112, 112]
    setting = FilterSettings(name="heavy-blur")
    hider = Hider(setting, layout)
    alone, first, last = (noise(layout, 1) for _ in range(3))
    hider.hide(raw, alone, np.array([large], np.float32))
    hider.hide(raw, first, np.array([large, small], np.float32))
    hider.hide(raw, last, np.array([small, large], np.float32))
    np.testing.assert_array_equal(first[0], alone[0])
    np.testing.assert_array_equal(last[0], alone[0])


@pytest.mark.parametrize(("name", "on_top"), [("gan", 2), ("heavy-blur", 1)])
def test_a_face_that_is_not_seen_lies_below_one_that_is_unless_that_could_show_something(
    name: str, on_top: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def numbered(picture: RawPicture, face: FaceMask) -> Fill:
        return Fill(np.full((1, 1, 3), face.track, np.uint8))

    monkeypatch.setitem(FILTERS, name, lambda settings, backend: EachFace(numbered))
    layout = PictureLayout(width=64, height=64, pixel_format="gray", color=ColorTags(range=2))
    raw, safe = noise(layout), noise(layout, 1)
    known = KnownFaces(
        tracks=np.array([2, 1]),
        best_scores=np.ones(2, np.float32),
        keypoints=np.zeros((2, 7, 2), np.float32),
        keypoint_scores=np.zeros((2, 7), np.float32),
        seen=np.array([True, False]),
    )
    Hider(FilterSettings(name=name), layout).hide(raw, safe, np.array([[20, 20, 40, 40], [16, 16, 50, 50]], np.float32), known)
    assert safe[0][30, 30] == on_top


def test_without_faces_the_picture_is_copied() -> None:
    layout = PictureLayout(width=64, height=48, pixel_format="yuv420p10le")
    raw = noise(layout)
    for got, was in zip(hidden(layout, raw, np.zeros((0, 4), np.float32), FilterSettings(name="heavy-blur")), raw, strict=True):
        np.testing.assert_array_equal(got, was)


def test_read_only_raw_planes_and_strided_safe_planes_serve() -> None:
    layout = PictureLayout(width=64, height=48, pixel_format="yuv420p")
    raw = layout.planes(memoryview(b"".join(plane.tobytes() for plane in noise(layout))))
    wide = [np.zeros((plane.shape[0], plane.shape[1] + 9), np.uint8) for plane in raw]
    safe = [plane[:, :-9] for plane in wide]
    assert not raw[0].flags.writeable
    assert Hider(FilterSettings(name="heavy-blur"), layout).hide(raw, safe, np.array([[10, 10, 30, 30]], np.float32)) == {}
    assert all(plane[:, -9:].max() == 0 for plane in wide)
    np.testing.assert_array_equal(safe[0][40:], raw[0][40:])


Fills = Callable[[RawPicture, Sequence[FaceMask]], list[Any]]
"""Gives what should be the pixels of fills."""


class Broken:
    """A filter that is its own worst case."""

    def __init__(self, make: Fills) -> None:
        self._make = make

    def fills(self, picture: RawPicture, faces: Sequence[FaceMask], every: Sequence[FaceMask]) -> list[Fill]:
        assert set(map(id, faces)) <= set(map(id, every))
        return [Fill(rgb) for rgb in self._make(picture, faces)]


def failing_on_wide_faces(picture: RawPicture, faces: Sequence[FaceMask]) -> list[Any]:
    if any(face.face_size[0] > 20 for face in faces):
        raise RuntimeError("no memory left on the device")
    return [np.full((*face.alpha.shape, 3), 255, picture.dtype) for face in faces]


def raising(picture: RawPicture, faces: Sequence[FaceMask]) -> list[Any]:
    raise MemoryError


BAD_FILLS: list[Fills] = [
    raising,
    lambda picture, faces: [],
    lambda picture, faces: [None for _ in faces],
    lambda picture, faces: [np.pad(picture.rgb(face.region), ((0, 1), (0, 0), (0, 0))) for face in faces],
    lambda picture, faces: [picture.rgb(face.region)[:0] for face in faces],
    lambda picture, faces: [picture.rgb(face.region).astype(np.float32) * np.nan for face in faces],
    lambda picture, faces: [picture.rgb(face.region)[:, :, 0] for face in faces],
]


@pytest.mark.parametrize("fills", BAD_FILLS)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p10le", "gray"])
def test_a_face_whose_filter_fails_is_covered_plain(fills: Fills, pixel_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILTERS, "broken", lambda settings, backend: Broken(fills))
    layout = PictureLayout(width=SIZE[0], height=SIZE[1], pixel_format=pixel_format)
    boxes = np.array([[5, 5, 25, 25], [200, 200, 220, 220], [20, 10, 60, 50]], np.float32)
    setting = FilterSettings(name="broken")
    raw, safe, whole = noise(layout), noise(layout, 1), noise(layout, 2)
    hider = Hider(setting, layout)
    assert hider.hide(raw, safe, boxes) == {0: "failed", 2: "failed"}
    hider.cover_whole(whole)
    for got, plain, weight in zip(safe, whole, weights(layout, boxes, setting), strict=True):
        assert (np.abs(got[weight == 255].astype(int) - plain[0, 0]) <= 4).all()


def test_a_filter_that_fails_for_one_face_still_serves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILTERS, "broken", lambda settings, backend: Broken(failing_on_wide_faces))
    layout = PictureLayout(width=64, height=48, pixel_format="gray", color=ColorTags(range=2))
    raw, safe = noise(layout), noise(layout, 1)
    boxes = np.array([[30, 4, 60, 40], [4, 4, 14, 14], [4, 30, 14, 40]], np.float32)
    assert Hider(FilterSettings(name="broken"), layout).hide(raw, safe, boxes) == {0: "failed"}
    assert (safe[0][4:14, 4:14] == 255).all()
    assert (safe[0][30:40, 4:14] == 255).all()
    assert (safe[0][4:40, 30:60] == 51).all()


@pytest.mark.parametrize("row", [[5, 5, 5, 20], [np.nan, 0, 5, 5], [20, 5, 5, 20]])
def test_a_box_that_is_none_raises_and_leaves_nothing_raw(row: list[float]) -> None:
    layout = PictureLayout(width=64, height=48, pixel_format="yuv420p")
    raw, safe = noise(layout), [plane.copy() for plane in noise(layout)]
    with pytest.raises(ValueError, match="finite and not empty"):
        Hider(FilterSettings(name="heavy-blur"), layout).hide(raw, safe, np.array([[1, 1, 9, 9], row], np.float32))
    assert all(np.ptp(plane) == 0 for plane in safe)


def test_an_interruption_leaves_nothing_raw(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(picture: RawPicture, faces: Sequence[FaceMask]) -> list[Any]:
        raise KeyboardInterrupt

    monkeypatch.setitem(FILTERS, "broken", lambda settings, backend: Broken(interrupted))
    layout = PictureLayout(width=64, height=48, pixel_format="yuv420p")
    raw, safe = noise(layout), [plane.copy() for plane in noise(layout)]
    with pytest.raises(KeyboardInterrupt):
        Hider(FilterSettings(name="broken"), layout).hide(raw, safe, np.array([[1, 1, 9, 9]], np.float32))
    assert all(np.ptp(plane) == 0 for plane in safe)


def test_nothing_raw_is_in_a_safe_picture_while_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = PictureLayout(width=64, height=48, pixel_format="yuv420p")
    raw, safe = noise(layout), [np.full_like(plane, 7) for plane in noise(layout)]
    blend, looks = hiding._blend, []

    def looked_at(*arguments: Any) -> None:
        looks.append([np.ptp(plane) == 0 for plane in safe])
        blend(*arguments)

    monkeypatch.setattr(hiding, "_blend", looked_at)
    Hider(FilterSettings(name="blackout"), layout).hide(raw, safe, np.array([[1, 1, 9, 9], [20, 20, 40, 40]], np.float32))
    assert looks == [[True] * 3] * 6


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize("transfer", [1, 16])
def test_a_picture_covered_whole_is_evenly_dark_grey(pixel_format: str, color_range: int, transfer: int) -> None:
    layout = PictureLayout(
        width=64, height=48, pixel_format=pixel_format, color=ColorTags(range=color_range, matrix=1, transfer=transfer)
    )
    safe = noise(layout)
    Hider(FilterSettings(name="heavy-blur"), layout).cover_whole(safe)
    rgb = region_to_rgb(safe, layout, (0, 0, 64, 48)).astype(float) / np.iinfo(layout.dtype).max
    assert np.ptp(rgb, axis=(0, 1)).max() == 0
    assert np.abs(rgb - 0.2 * (0.58 if transfer == 16 else 1)).max() < 0.01


def test_a_hider_without_a_usable_filter_cannot_be_made() -> None:
    layout = PictureLayout(width=64, height=48, pixel_format="yuv420p")
    for bad in (FilterSettings(name="none"), FilterSettings(name="image")):
        with pytest.raises(UsageError):
            Hider(bad, layout)
        with pytest.raises(UsageError):
            PhotoHider(bad)

"""Filters are what they are published as, depend on no more of a face than they say, and hide small faces too."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from streamer.config import FilterSettings
from streamer.errors import UsageError
from streamer.filters import FILTERS, check_filter, open_filter, read_image
from streamer.masks import FaceMask, face_mask, region_size
from streamer.raw_pictures import RgbPicture

Pixels = NDArray[np.unsignedinteger]

FRAME = (96, 80)
TYPES = [np.uint8, np.uint16]


def noise(dtype: type[np.unsignedinteger], seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (FRAME[1], FRAME[0], 3), dtype, endpoint=True)


def box_mask(x: int, y: int, width: int, height: int) -> FaceMask:
    mask = face_mask(np.array([x, y, x + width, y + height], np.float32), FRAME, shape="box", margin=0, soft_edge=0)
    assert mask is not None
    return mask


def fill(image: Pixels, mask: FaceMask, /, **changes: Any) -> Pixels:
    few = open_filter(FilterSettings(**changes), "cpu").fills(RgbPicture(image=image), [mask], [mask])[0].rgb
    return cast("Pixels", cv2.resize(few, region_size(mask)))


@st.composite
def masks(draw: st.DrawFn, smallest: int = 1) -> FaceMask:
    """Boxes with whole coordinates that the border of the frame does not cut."""
    width, height = draw(st.integers(smallest, FRAME[0] - 2)), draw(st.integers(smallest, FRAME[1] - 2))
    return box_mask(draw(st.integers(1, FRAME[0] - 1 - width)), draw(st.integers(1, FRAME[1] - 1 - height)), width, height)


def crop(image: Pixels, mask: FaceMask) -> Pixels:
    x1, y1, x2, y2 = mask.region
    return np.ascontiguousarray(image[y1:y2, x1:x2])


@given(mask=masks(smallest=30), cells=st.integers(1, 10))
def test_pixelate_is_the_published_baseline(mask: FaceMask, cells: int) -> None:
    face = crop(noise(np.uint8), mask)
    expected = cv2.resize(cv2.resize(face, (cells, cells)), (face.shape[1], face.shape[0]))
    np.testing.assert_array_equal(fill(noise(np.uint8), mask, name="pixelate", cells=cells), expected)


@given(mask=masks(smallest=3))
def test_blur_is_the_published_baseline(mask: FaceMask) -> None:
    expected = cv2.GaussianBlur(crop(noise(np.uint8), mask), (9, 9), 3)
    np.testing.assert_array_equal(fill(noise(np.uint8), mask, name="blur"), expected)


@given(mask=masks(smallest=10))
def test_heavy_blur_is_the_published_baseline(mask: FaceMask) -> None:
    face = crop(noise(np.uint8), mask)
    kernel = max(1, int(0.3 * face.shape[1]))
    np.testing.assert_array_equal(fill(noise(np.uint8), mask, name="heavy-blur"), cv2.blur(face, (kernel, kernel)))


@pytest.mark.parametrize("dtype", TYPES)
@given(mask=masks(), cells=st.integers(1, 64))
def test_pixelate_tells_no_more_than_its_cells(dtype: type[np.unsignedinteger], mask: FaceMask, cells: int) -> None:
    image = noise(dtype)
    got = fill(image, mask, name="pixelate", cells=cells)
    height, width = got.shape[:2]
    rows, columns = min(cells, max(1, height // 3)), min(cells, max(1, width // 3))
    # Bilinear from rows x columns cells: the channel as a matrix has no higher rank, up to rounding.
    limit = min(rows, columns)
    singular = np.linalg.svd(got[:, :, 0].astype(float), compute_uv=False)
    assert (singular[limit:] <= np.sqrt(width * height)).all()
    if width >= 6 and height >= 6 and limit < min(width, height) // 3:
        raw = np.linalg.svd(crop(image, mask)[:, :, 0].astype(float), compute_uv=False)
        assert raw[limit:].max() > np.sqrt(width * height)


@given(width=st.integers(1, 24), height=st.integers(1, 24), name=st.sampled_from(["pixelate", "heavy-blur", "blur"]))
def test_a_small_face_does_not_come_back(width: int, height: int, name: str) -> None:
    """Faces of one-pixel stripes: whatever averages over at least three pixels takes at least two thirds of their contrast."""
    image = np.zeros((FRAME[1], FRAME[0], 3), np.uint8)
    mask = box_mask(20, 30, width, height)
    stripes = np.indices((height, width)).sum(axis=0) % 2 * np.uint8(255)
    image[30 : 30 + height, 20 : 20 + width] = stripes[:, :, None]
    got = fill(image, mask, name=name, cells=64).astype(float)
    if min(width, height) < 3:
        np.testing.assert_array_equal(got, 51)
        return
    detail = np.abs(np.diff(got, axis=0)).mean() + np.abs(np.diff(got, axis=1)).mean()
    assert detail <= 510 / 3


@pytest.mark.parametrize(
    ("x", "y", "width", "height"), [(0, 10, 12, 54), (84, 10, 12, 54), (0, 0, 9, 27), (20, 0, 40, 11), (20, 69, 40, 11)]
)
def test_a_face_that_the_border_cuts_is_hidden_as_coarsely_as_all_of_it_would_be(x: int, y: int, width: int, height: int) -> None:
    image, mask = noise(np.uint8), box_mask(x, y, width, height)
    whole_width, whole_height = max(width, height / 1.35), max(height, width * 1.35)
    kernel = int(0.3 * whole_width)
    np.testing.assert_array_equal(fill(image, mask, name="heavy-blur"), cv2.blur(crop(image, mask), (kernel, kernel)))
    across, down = max(1, round(8 * width / whole_width)), max(1, round(8 * height / whole_height))
    assert across < 8 or down < 8
    few = cv2.resize(crop(image, mask), (min(across, width // 3), min(down, height // 3)))
    np.testing.assert_array_equal(fill(image, mask, name="pixelate"), cv2.resize(few, (width, height)))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["blackout", "solid", "image"])
def test_a_fill_that_needs_no_face_looks_at_none(name: str, dtype: type[np.unsignedinteger], tmp_path: Path) -> None:
    Image.fromarray(noise(np.uint8, 7)).save(tmp_path / "picture.png")
    mask = box_mask(10, 10, 31, 17)
    one, two = (fill(noise(dtype, seed), mask, name=name, image=str(tmp_path / "picture.png")) for seed in (1, 2))
    np.testing.assert_array_equal(one, two)
    assert one.dtype == dtype


def test_blackout_is_black_and_solid_has_its_colour() -> None:
    mask = box_mask(0, 0, 5, 5)
    assert fill(noise(np.uint8), mask, name="blackout").max() == 0
    assert fill(noise(np.uint8), mask, name="solid", color="#12aBff")[2, 2].tolist() == [0x12, 0xAB, 0xFF]
    assert fill(noise(np.uint16), mask, name="solid", color="#12aBff")[2, 2].tolist() == [0x1212, 0xABAB, 0xFFFF]


def test_an_image_lies_over_the_mask_upright_and_is_cut_where_the_frame_cuts_the_mask(tmp_path: Path) -> None:
    quarters = np.zeros((40, 60, 3), np.uint8)
    quarters[:20, :30], quarters[:20, 30:] = (255, 0, 0), (0, 255, 0)
    quarters[20:, :30], quarters[20:, 30:] = (0, 0, 255), (255, 255, 255)
    turned = Image.fromarray(np.rot90(quarters))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    got = fill(noise(np.uint8), box_mask(10, 10, 60, 40), name="image", image=str(tmp_path / "turned.png"))
    np.testing.assert_array_equal(got, quarters)
    cut = face_mask(np.array([-30, -20, 30, 20], np.float32), FRAME, shape="box", margin=0, soft_edge=0)
    assert cut is not None
    got = fill(noise(np.uint8), cut, name="image", image=str(tmp_path / "turned.png"))
    np.testing.assert_array_equal(got, np.full((20, 30, 3), 255))


def test_nothing_shows_through_a_transparent_image(tmp_path: Path) -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, 4:] = (200, 100, 0, 255)
    Image.fromarray(rgba).save(tmp_path / "half.png")
    got = fill(noise(np.uint8), box_mask(0, 0, 8, 8), name="image", image=str(tmp_path / "half.png"))
    np.testing.assert_array_equal(got[:, :4], np.full((8, 4, 3), 51))
    np.testing.assert_array_equal(got[:, 4:], np.broadcast_to([200, 100, 0], (8, 4, 3)))


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(sorted(FILTERS)),
    dtype=st.sampled_from(TYPES),
    x=st.integers(-200, 200),
    y=st.integers(-200, 200),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    soft_edge=st.floats(0, 1),
)
def test_every_filter_fills_every_mask(
    name: str, dtype: type[np.unsignedinteger], x: int, y: int, width: int, height: int, soft_edge: float, picture_path: str
) -> None:
    box = np.array([x, y, x + width, y + height], np.float32)
    mask = face_mask(box, FRAME, shape="ellipse", margin=0.1, soft_edge=soft_edge)
    if mask is None:
        return
    got = fill(noise(dtype), mask, name=name, image=picture_path)
    assert got.shape == (*mask.alpha.shape, 3)
    assert got.dtype == dtype


@pytest.fixture(scope="module")
def picture_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("filters") / "picture.jpg"
    Image.fromarray(noise(np.uint8, 7)).save(path)
    return str(path)


def test_a_large_image_is_made_small_once(tmp_path: Path) -> None:
    Image.new("L", (3000, 1500)).save(tmp_path / "large.png")
    assert read_image(str(tmp_path / "large.png")).shape == (512, 1024, 3)


def test_an_unknown_filter_is_refused_by_its_key_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match=r"^filter\.name: there is no filter 'pixelize'.*blackout, pixelate, blur, heavy-blur"):
        open_filter(FilterSettings(name="pixelize"))


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n broken", "folder", "cut"])
def test_an_image_that_cannot_be_read_is_refused_by_its_key(content: bytes | str | None, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    if content == "folder":
        path.mkdir()
    elif content == "cut":
        Image.fromarray(noise(np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:4000])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"^filter\.image: .*picture\.png cannot be read"):
        open_filter(FilterSettings(name="image", image=str(path)))
    with pytest.raises(UsageError, match=r"^filter\.image: "):
        open_filter(FilterSettings(name="image"))


def test_settings_are_checked_without_opening_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*arguments: object) -> None:
        raise AssertionError("the network was opened")

    monkeypatch.setitem(FILTERS, "gan", opened)
    check_filter(FilterSettings(name="gan"))
    with pytest.raises(UsageError, match=r"filter\.mask: the filter gan paints into a box"):
        check_filter(FilterSettings(name="gan", mask="ellipse"))
    with pytest.raises(UsageError, match=r"filter\.image: "):
        check_filter(FilterSettings(name="image"))

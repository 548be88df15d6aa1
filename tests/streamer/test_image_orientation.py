"""Photos that are stored turned or mirrored are read upright, whatever the format, and turned once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from streamer.images import read_image
from tests.media import corner_colors, most_like, picture
from tests.streamer.deep_files import deep_png_file, deep_tiff_file


def _stored(orientation: int, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """The test picture as a camera stores it that marks it with this EXIF orientation."""
    upright = picture(0, width, height)
    undo = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright[::-1]),
        8: np.rot90(upright, -1),
    }
    return np.ascontiguousarray(undo[orientation])


def _write(path: Path, stored: NDArray[np.uint8], depth: int, orientation: int, form: str) -> None:
    """form: of a TIFF with 16 bits: "<" and ">" are byte orders, "big" is BigTIFF."""
    if depth == 8:
        exif = Image.Exif()
        exif[274] = orientation
        options: dict[str, dict[str, Any]] = {
            ".jpg": {"exif": exif, "quality": 95, "subsampling": 0},
            ".png": {"exif": exif},
            ".webp": {"exif": exif, "lossless": True},
            ".tif": {"tiffinfo": {274: orientation}},
        }
        Image.fromarray(stored).save(path, **options[path.suffix])
        return
    deep = stored.astype(np.uint16) * 257
    is_big = form == "big"
    is_png = path.suffix == ".png"
    order = "<" if is_big else form
    path.write_bytes(deep_png_file(deep, orientation) if is_png else deep_tiff_file(deep, {274: orientation}, order, is_big=is_big))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("suffix", "depth", "form"),
    [
        (".jpg", 8, ""),
        (".png", 8, ""),
        (".webp", 8, ""),
        (".tif", 8, ""),
        (".png", 16, ""),
        (".tif", 16, "<"),
        (".tif", 16, ">"),
        (".tif", 16, "big"),
    ],
)
def test_every_exif_orientation_is_set_upright(tmp_path: Path, suffix: str, depth: int, form: str, orientation: int) -> None:
    path = tmp_path / f"turned{suffix}"
    _write(path, _stored(orientation), depth, orientation, form)
    read = read_image(path)
    found = (read.rgb >> (depth - 8)).astype(np.uint8)
    assert found.shape == (48, 64, 3)
    assert read.rgb.dtype == (np.uint8 if depth == 8 else np.uint16)
    assert np.abs(found.astype(int) - picture(0, 64, 48)).max() <= (30 if suffix == ".jpg" else 0)
    assert {name: most_like(color) for name, color in corner_colors(found).items()} == {name: name for name in corner_colors(found)}
    assert len(read.notes) == (orientation != 1)


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "L", "LA", "P"])
def test_a_turned_tiff_of_every_kind_is_set_upright(tmp_path: Path, mode: str, compression: str, orientation: int) -> None:
    path = tmp_path / "in.tif"
    upright = Image.fromarray(picture(0, 64, 48)).convert(mode)
    stored = upright.transpose({3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation])
    stored.save(path, tiffinfo={274: orientation}, compression=compression)
    assert np.array_equal(read_image(path).rgb, np.asarray(upright.convert("RGB")))

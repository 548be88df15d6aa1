"""Photos are read upright and written without metadata, their colours untouched."""

from __future__ import annotations

import io
import os
import struct
import zlib
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

from streamer import icc
from streamer.errors import ExitCode, InputError, OutputError
from streamer.images import SOFTWARE, is_made_by_veil, read_image, write_image
from tests.media import corner_colors, most_like, picture
from tests.streamer.deep_files import deep_tiff_file

FACES = Path(__file__).parents[2] / "streamer" / "demo_faces"


def test_camera_place_thumbnail_comment_and_xmp_do_not_reach_the_output(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271], exif[272], exif[306] = "SecretMaker", "SecretModel", "2020:01:01 00:00:00"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 36.0)})
    path, output = tmp_path / "in.jpg", tmp_path / "out"
    Image.fromarray(picture(0, 64, 48)).save(path, exif=exif, comment=b"SecretComment", xmp=b"<x:xmpmeta>SecretXmp</x:xmpmeta>")
    read = read_image(path)
    write_image(output, read)
    assert b"Secret" in path.read_bytes()
    assert b"Secret" not in output.read_bytes()
    with Image.open(output) as written:
        assert dict(written.getexif()) == {305: SOFTWARE}
        assert not written.getexif().get_ifd(0x8825)
    said = " ".join(read.dropped)
    assert all(word in said for word in ("EXIF", "GPS", "comment", "XMP"))


def test_png_texts_do_not_reach_the_output(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "SecretAuthor")
    path, output = tmp_path / "in.png", tmp_path / "out"
    Image.fromarray(picture(0, 64, 48)).save(path, pnginfo=texts)
    read = read_image(path)
    write_image(output, read)
    assert b"Secret" not in output.read_bytes()
    assert "Author" in " ".join(read.dropped)


@pytest.mark.parametrize(("suffix", "mode"), [(".jpg", "RGB"), (".jpg", "L"), (".png", "RGBA"), (".webp", "RGB"), (".tif", "LA")])
def test_own_outputs_are_recognized(tmp_path: Path, suffix: str, mode: str) -> None:
    path, output = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    Image.fromarray(picture(0, 64, 48)).convert(mode).save(path)
    write_image(output, read_image(path))
    assert not is_made_by_veil(path)
    assert is_made_by_veil(output)
    assert read_image(output).made_by_veil


def test_something_that_is_no_picture_is_no_own_output(tmp_path: Path) -> None:
    path = tmp_path / "note.jpg"
    path.write_text("Software Veil")
    assert not is_made_by_veil(path)


def _noise(channels: int, dtype: type[np.unsignedinteger[Any]], height: int = 37, width: int = 51) -> NDArray[Any]:
    return np.random.default_rng(5).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_lossless_pictures_keep_every_sample_and_their_alpha(tmp_path: Path, suffix: str, mode: str) -> None:
    pixels = _noise(len(mode), np.uint8)
    path, output = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    image = Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels, mode if mode != "LA" else None)
    options: dict[str, Any] = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    image.save(path, **options)
    read = read_image(path)
    write_image(output, read)
    with Image.open(path) as before, Image.open(output) as after:
        assert after.format == before.format
        assert np.array_equal(np.asarray(before.convert("RGBA")), np.asarray(after.convert("RGBA")))
        if suffix != ".webp":
            assert after.mode == before.mode


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_a_sample_are_kept(tmp_path: Path, suffix: str, channels: int) -> None:
    pixels = _noise(channels, np.uint16)
    path, output = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    cv2.imwrite(str(path), pixels)
    read = read_image(path)
    assert read.rgb.dtype == np.uint16
    write_image(output, replace(read, profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()))
    written = np.asarray(cv2.imread(str(output), cv2.IMREAD_UNCHANGED))
    assert np.array_equal(written.reshape(pixels.shape), pixels)
    assert is_made_by_veil(output)
    assert read_image(output).profile is not None
    assert np.array_equal(read_image(output).rgb, read.rgb)


@pytest.mark.parametrize("is_big", [False, True])
def test_a_sixteen_bit_tiff_whose_white_is_zero_is_no_negative(tmp_path: Path, *, is_big: bool) -> None:
    gray = _noise(1, np.uint16)
    path, output = tmp_path / "in.tif", tmp_path / "out.tif"
    path.write_bytes(deep_tiff_file(~gray, {262: 0, 274: 3}, "<", is_big=is_big))
    read = read_image(path)
    assert np.array_equal(read.rgb[::-1, ::-1], np.repeat(gray, 3, axis=2))
    write_image(output, read)
    assert np.array_equal(read_image(output).rgb, read.rgb)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_a_tiff_whose_white_is_zero_is_no_negative(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "in.tif"
    image = Image.fromarray(picture(0, 64, 48)).convert(mode)
    image.save(path, tiffinfo={262: 0})
    with Image.open(path) as stored:
        assert stored.tag_v2[262] == 0
    assert np.array_equal(read_image(path).rgb, np.asarray(image.convert("RGB")))


def test_a_coloured_cover_on_a_grey_photo_stays_coloured(tmp_path: Path) -> None:
    path, output = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(np.full((20, 20), 90, np.uint8)).save(path)
    read = read_image(path)
    covered = read.rgb.copy()
    covered[5:10, 5:10] = (200, 10, 10)
    write_image(output, replace(read, rgb=covered))
    assert np.array_equal(read_image(output).rgb, covered)


def test_a_palette_with_transparency_becomes_rgb_with_alpha(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("P")
    image.save(path, transparency=3)
    read = read_image(path)
    assert read.alpha is not None
    assert (read.alpha == 0).sum() == 1


def test_jpeg_keeps_its_chroma_subsampling_and_nearly_its_pixels(tmp_path: Path) -> None:
    with Image.open(FACES / "100003.jpg") as face:
        original = face.convert("RGB")
    for subsampling in (0, 1, 2):
        path, output = tmp_path / "in.jpg", tmp_path / "out.jpg"
        original.save(path, quality=92, subsampling=subsampling)
        read = read_image(path)
        write_image(output, read)
        again = read_image(output)
        assert again.subsampling == subsampling
        assert np.abs(again.rgb.astype(int) - read.rgb.astype(int)).mean() < 1.5


@lru_cache(maxsize=1)
def _profile(name: str = "SecretDisplay") -> bytes:
    """An sRGB profile with a telling name in it; made once, since it holds the second in which it was made."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = profile.find("sRGB".encode("utf-16-be"))
    text = name.encode("utf-16-be")[:8]
    profile[at : at + len(text)] = text
    profile[48:52] = b"SECR"
    return bytes(profile)


def test_a_profile_keeps_its_colours_and_loses_its_words(tmp_path: Path) -> None:
    path = tmp_path / "in.jpg"
    Image.fromarray(picture(0, 64, 48)).save(path, icc_profile=_profile())
    kept = read_image(path).profile
    assert kept is not None
    assert "Secr".encode("utf-16-be") in _profile()
    assert "Secr".encode("utf-16-be") not in kept
    assert b"SECR" not in kept
    swatches = Image.fromarray(np.random.default_rng(1).integers(0, 255, (16, 16, 3), np.uint8))
    lab = ImageCms.createProfile("LAB")
    converted = [
        np.asarray(ImageCms.profileToProfile(swatches, ImageCms.ImageCmsProfile(io.BytesIO(data)), lab, outputMode="LAB"))
        for data in (_profile(), kept)
    ]
    assert np.array_equal(converted[0], converted[1])
    assert read_image(path, ("icc",)).profile == _profile()


def test_bytes_that_are_no_profile_give_none() -> None:
    assert icc.without_words(b"") is None
    assert icc.without_words(_profile()[:200]) is None


@given(st.binary(max_size=400), st.integers(0, 600))
@settings(max_examples=100, deadline=None)
def test_no_profile_however_broken_stops_the_cleaning(noise: bytes, at: int) -> None:
    broken = bytearray(_profile())
    broken[at : at + len(noise)] = noise
    cleaned = icc.without_words(bytes(broken))
    assert cleaned is None or cleaned[36:40] == b"acsp"


def test_a_cmyk_jpeg_is_converted_and_the_user_is_told(tmp_path: Path) -> None:
    path = tmp_path / "in.jpg"
    Image.fromarray(picture(0, 64, 48)).convert("CMYK").save(path, quality=95)
    read = read_image(path)
    assert "CMYK" in read.notes[0]
    assert {name: most_like(color) for name, color in corner_colors(read.rgb.astype(np.uint8)).items()}["top left"] == "top left"


def _two_pages(path: Path) -> Path:
    pages = [Image.fromarray(picture(number, 64, 48)) for number in (0, 5)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


@pytest.mark.parametrize(("name", "word"), [("a.tif", "2 pages"), ("a.webp", "animated"), ("a.png", "animated"), ("a.gif", "GIF")])
def test_several_pictures_in_one_file_are_refused(tmp_path: Path, name: str, word: str) -> None:
    path = _two_pages(tmp_path / name)
    with pytest.raises(InputError, match=word) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def _header_of_a_huge_png() -> bytes:
    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def test_bad_files_give_one_line_that_begins_with_the_path(tmp_path: Path) -> None:
    whole = (FACES / "100003.jpg").read_bytes()
    contents = {
        "empty.jpg": b"",
        "text.png": b"this is no picture\n" * 20,
        "cut.jpg": whole[: len(whole) // 2],
        "bomb.png": _header_of_a_huge_png(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.jpg").mkdir()
    for name in (*contents, "folder.jpg", "missing.jpg"):
        with pytest.raises(InputError) as caught:
            read_image(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == ExitCode.INPUT


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(picture(0, 8, 8)).save(path)
    path.chmod(0)
    with pytest.raises(InputError, match="permission"):
        read_image(path)


@example(form="TIFF", at=7525, noise=b"\0\0\0\1", is_cut=False)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]), st.integers(0, 10_000), st.binary(min_size=1, max_size=40), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_read_or_refused_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, form: str, at: int, noise: bytes, is_cut: bool
) -> None:
    memory = io.BytesIO()
    exif = Image.Exif()
    exif[271] = "maker"
    Image.fromarray(picture(0, 32, 24)).save(memory, form, exif=exif)
    content = bytearray(memory.getvalue())
    at %= len(content)
    content = content[:at] if is_cut else content[:at] + noise + content[at + len(noise) :]
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(bytes(content))
    with suppress(InputError):
        assert read_image(path).rgb.shape[2] == 3


def test_the_final_name_decides_the_format_where_it_differs(tmp_path: Path) -> None:
    path, output = tmp_path / "in.png", tmp_path / "part"
    Image.fromarray(picture(0, 64, 48)).save(path)
    for name, form in (("out.png", "PNG"), ("out.JPG", "JPEG"), ("out.webp", "WEBP"), ("out.tiff", "TIFF")):
        write_image(output, read_image(path), like=tmp_path / name)
        with Image.open(output) as written:
            assert written.format == form
    mislabelled = path.rename(tmp_path / "in.jpg")
    write_image(output, read_image(mislabelled), like=tmp_path / "out.jpg")
    with Image.open(output) as written:
        assert written.format == "PNG"


def test_what_the_wanted_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    Image.fromarray(_noise(4, np.uint8)).save(tmp_path / "clear.png")
    cv2.imwrite(str(tmp_path / "deep.png"), _noise(3, np.uint16))
    for name, target, word in (
        ("clear.png", "a.jpg", "transparency"),
        ("deep.png", "a.jpg", "16 bits"),
        ("deep.png", "a.bmp", "not as .bmp"),
    ):
        with pytest.raises(OutputError, match=word):
            write_image(tmp_path / "part", read_image(tmp_path / name), like=tmp_path / target)
        assert not (tmp_path / "part").exists()


def test_a_folder_that_does_not_exist_gives_an_output_error(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    Image.fromarray(picture(0, 8, 8)).save(path)
    with pytest.raises(OutputError, match="No such file"):
        write_image(tmp_path / "missing" / "out.png", read_image(path))

"""Still pictures that FFmpeg would read as videos of one frame."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from streamer.errors import InputError
from streamer.probe import probe


def picture() -> Image.Image:
    return Image.effect_noise((64, 48), 50).convert("RGB")


@pytest.mark.parametrize(
    ("form", "name", "kind"),
    [
        ("AVIF", "a.avif", "AVIF"),
        ("AVIF", "a.heic", "AVIF"),
        ("AVIF", "a.mp4", "AVIF"),
        ("BMP", "a.bmp", "BMP"),
        ("JPEG2000", "a.jp2", "JPEG 2000"),
        ("TGA", "a.tga", "TGA"),
        ("ICO", "a.ico", "icon"),
        ("GIF", "a.gif", "GIF"),
        ("PPM", "a.ppm", "PPM"),
        ("TIFF", "a.dng", "TIFF"),
    ],
)
def test_a_still_picture_is_no_video(tmp_path: Path, form: str, name: str, kind: str) -> None:
    path = tmp_path / name
    picture().save(path, form)

    with pytest.raises(InputError) as refused:
        probe(path)

    expected = f"{path}: is a still picture ({kind}) of no kind that Veil reads; save it as JPEG or PNG first"
    assert str(refused.value) == expected


def test_an_iphone_photo_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    picture().save(path, "AVIF")
    path.write_bytes(path.read_bytes().replace(b"ftypavif", b"ftypheic", 1))

    with pytest.raises(InputError, match=r"still picture \(HEIC\)"):
        probe(path)


@pytest.mark.parametrize(("form", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png"), ("WebP", ".webp"), ("TIFF", ".tif")])
def test_a_photo_without_a_suffix_should_get_one(tmp_path: Path, form: str, suffix: str) -> None:
    path = tmp_path / "photo"
    picture().save(path, form)

    with pytest.raises(InputError, match=f"is a {form} picture, which its name does not say; rename it to photo{suffix}$"):
        probe(path)


@pytest.mark.parametrize("name", ["a.gif", "a.avif", "a.apng"])
def test_pictures_that_move_stay_videos(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    form = {".apng": "PNG", ".gif": "GIF", ".avif": "AVIF"}[path.suffix]
    picture().save(path, form, save_all=True, append_images=[picture(), picture()])

    assert probe(path).layout.width == 64

"""A face that only the alpha channel of a photo holds, or holds too, is found and gone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.detectors import FaceDetector, image_render, open_detector
from streamer.config import AnonymizeSettings, FilterSettings
from streamer.images import ImagePicture, read_image
from streamer.messages import ImageDone, ImageSetup, ImageTask
from streamer.transparency import ways_to_see
from streamer.workers.image import ImageWorker
from tests.streamer.running import REPOSITORY
from tests.workers import answers

FACE = REPOSITORY / "streamer" / "demo_faces" / "100001.jpg"
SIDE = 256
KINDS = [(".png", "RGBA"), (".png", "LA"), (".png", "P"), (".webp", "RGBA"), (".tif", "RGBA"), (".png", "16"), (".tif", "16")]


def face() -> NDArray[np.uint8]:
    with Image.open(FACE) as image:
        return np.asarray(image.convert("L").resize((SIDE, SIDE)))


def write(path: Path, kind: str, gray: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> None:
    if kind == "16":
        cv2.imwrite(str(path), np.dstack((gray, gray, gray, alpha)).astype(np.uint16) * 257)
    elif kind == "P":
        # Black in every entry: what is drawn is in the transparency of the palette alone.
        image = Image.fromarray(alpha, "P")
        image.putpalette(bytes(768))
        image.save(path, transparency=bytes(range(256)))
    else:
        options: dict[str, Any] = {"lossless": True, "exact": True} if path.suffix == ".webp" else {}
        Image.fromarray(np.dstack((gray, alpha) if kind == "LA" else (gray, gray, gray, alpha))).save(path, **options)


@cache
def worker(*, preview: bool) -> ImageWorker:
    opened, settings = ImageWorker({}), AnonymizeSettings(filter=FilterSettings(name="blackout"), preview_detections=preview)
    answers(opened, ImageSetup(settings=settings))
    return opened


def anonymized(path: Path, *, preview: bool = False) -> tuple[ImagePicture, ImageDone]:
    output = path.with_stem("out")
    task = ImageTask(number=0, source=str(path), temporary=str(output), output=str(output))
    (done,) = answers(worker(preview=preview), task)
    assert isinstance(done, ImageDone)
    assert done.error is None
    return read_image(output), done


@cache
def centerface() -> FaceDetector:
    return open_detector("centerface")


def faces_to_see(picture: ImagePicture) -> list[int]:
    return [len(centerface().detect(image_render(seen), seen.shape[1::-1])) for seen in ways_to_see(picture)]


@pytest.mark.parametrize(("suffix", "kind"), KINDS)
def test_a_face_drawn_in_the_alpha_channel_alone_is_covered(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"in{suffix}"
    write(path, kind, np.zeros((SIDE, SIDE), np.uint8), 255 - face())
    before = read_image(path)
    assert faces_to_see(before)[:2] == [0, 1]
    after, done = anonymized(path)
    assert len(done.covers) == 1
    assert not any(faces_to_see(after))
    assert before.alpha is not None
    assert after.alpha is not None
    x1, y1, x2, y2 = (int(value) for value in done.covers[0].box)
    assert (after.alpha[y1:y2, x1:x2] == np.iinfo(after.alpha.dtype).max).all()
    assert np.array_equal(after.alpha[:8, :8], before.alpha[:8, :8]), "more than the face became opaque"


@pytest.mark.parametrize(("suffix", "kind"), [row for row in KINDS if row[1] != "P"])
def test_no_trace_of_a_covered_face_is_left_in_the_alpha_channel(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"in{suffix}"
    write(path, kind, face(), 255 - face() // 2)
    after, done = anonymized(path)
    assert len(done.covers) == 1
    assert after.alpha is not None
    is_black = (after.rgb == 0).all(axis=2)
    assert is_black.mean() > 0.2
    assert (after.alpha[is_black] == np.iinfo(after.alpha.dtype).max).all()
    assert not any(faces_to_see(after))


def test_a_face_that_is_an_alpha_channel_of_its_own_is_covered(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    write(path, "RGBA", np.zeros((SIDE, SIDE), np.uint8), face())
    after, done = anonymized(path)
    assert len(done.covers) == 1
    assert not any(faces_to_see(after))


def test_boxes_are_drawn_on_a_photo_that_is_transparent(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    write(path, "RGBA", face(), np.full((SIDE, SIDE), 200, np.uint8))
    after, _ = anonymized(path, preview=True)
    assert after.alpha is not None
    assert set(np.unique(after.alpha)) == {200, 255}


@pytest.mark.parametrize("alpha", [None, np.full((SIDE, SIDE), 255, np.uint8)])
def test_an_opaque_photo_is_looked_at_once(tmp_path: Path, alpha: NDArray[np.uint8] | None) -> None:
    path = tmp_path / "in.png"
    rgb = np.dstack([face()] * 3)
    Image.fromarray(rgb if alpha is None else np.dstack((rgb, alpha))).save(path)
    (seen,) = ways_to_see(read_image(path))
    assert np.array_equal(seen, rgb)


def test_what_is_seen_is_what_a_viewer_shows_on_white_and_on_black(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    pixels = np.random.default_rng(3).integers(0, 256, (20, 30, 4), np.uint8)
    image = Image.fromarray(pixels)
    image.save(path)
    _, over_white, over_black, alpha = ways_to_see(read_image(path))
    for seen, color in ((over_white, "white"), (over_black, "black")):
        background = Image.new("RGBA", image.size, color)
        background.alpha_composite(image)
        assert np.abs(seen.astype(int) - np.asarray(background)[:, :, :3]).max() <= 1
    assert np.array_equal(alpha, np.dstack([pixels[:, :, 3]] * 3))

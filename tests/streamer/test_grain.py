"""The texture around a face is that of no face, steady in time, and what is added to a fill arrives in every kind of picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.texture import Texture
from streamer import grain
from streamer.config import FilterSettings
from streamer.filters import FILTERS, Fill
from streamer.grain import LONGEST_GAP_S, LOOK_EVERY_S, SecretGrain, Surroundings, parts_around
from streamer.hiding import Hider, PhotoHider
from streamer.masks import FaceMask, face_mask, region_size
from streamer.pictures import PictureLayout
from streamer.raw_pictures import RawPicture, RgbPicture

SIZE = (320, 240)


def mask_of(x: float, y: float, side: float = 60.0, *, time_s: float | None = None, track: int = 1) -> FaceMask:
    found = face_mask(np.array([x, y, x + side, y + side], np.float32), SIZE, shape="box", margin=0.05, soft_edge=0.1)
    assert found is not None
    return replace(found, track=track, time_s=time_s)


def picture(level: int = 100) -> NDArray[np.uint8]:
    return np.full((SIZE[1], SIZE[0], 3), level, np.uint8)


def test_parts_touch_no_face_and_lie_in_the_frame() -> None:
    image = picture()
    faces = [mask_of(100, 80), mask_of(165, 90), mask_of(90, 10, 50)]
    for face in faces:
        x1, y1, x2, y2 = (int(edge) for edge in face.box)
        image[max(0, y1) : y2, max(0, x1) : x2] = 255
    parts = parts_around(RgbPicture(image=image), faces[0], faces)
    assert 2 <= len(parts) < 8
    assert all((part == 100).all() for part in parts)
    assert len(parts_around(RgbPicture(image=image), faces[0], faces[:1])) == 8
    corner = mask_of(-20, -20)
    assert 1 <= len(parts_around(RgbPicture(image=picture()), corner, [corner])) < 8


def test_a_face_that_fills_the_frame_has_no_surroundings() -> None:
    face = mask_of(-10, -10, 400)
    assert Surroundings().texture(RgbPicture(image=picture()), face, [face]) is None


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the looks; each finds as much grain as there were looks."""
    counted: list[int] = []

    def look(parts: Sequence[object]) -> Texture:
        counted.append(len(parts))
        return Texture(fine=float(len(counted)), coarse=0.0, softness_px=None if len(counted) == 1 else 2.0)

    monkeypatch.setattr(grain, "measure", look)
    return counted


def test_texture_is_looked_at_now_and_then_and_changes_slowly(looks: list[int]) -> None:
    surroundings, image = Surroundings(), RgbPicture(image=picture())

    def texture(time_s: float) -> Texture:
        face = mask_of(100, 80, time_s=time_s)
        found = surroundings.texture(image, face, [face])
        assert found is not None
        return found

    found = [texture(number / 25) for number in range(26)]
    assert len(looks) == pytest.approx(1.0 / LOOK_EVERY_S, abs=1.01)
    strengths = [each.fine for each in found]
    assert strengths == sorted(strengths)
    assert 1.0 < strengths[-1] < len(looks), "what was before counts too"
    assert found[-1].softness_px == 2.0, "what could not be told before is what is told now"


def test_tracks_have_their_own_texture_and_are_forgotten(looks: list[int]) -> None:
    surroundings, image = Surroundings(), RgbPicture(image=picture())
    for number in range(50):
        face = mask_of(100, 80, time_s=10.0 * number, track=number)
        assert surroundings.texture(image, face, [face]) == Texture(
            fine=number + 1.0, coarse=0.0, softness_px=None if number == 0 else 2.0
        )
    assert len(surroundings._seen) == 1
    back = mask_of(100, 80, time_s=490.0 + 2 * LONGEST_GAP_S, track=49)
    found = surroundings.texture(image, back, [back])
    assert found is not None
    assert found.fine == 51.0, "long ago is as if never seen"


def test_grain_depends_on_secret_track_and_time_alone() -> None:
    texture = Texture(fine=3.0, coarse=1.0, softness_px=None)
    face = mask_of(100, 80, time_s=1.0)
    one = SecretGrain(b"one").over(face, texture)
    assert one.shape == region_size(face)[::-1]
    np.testing.assert_array_equal(one, SecretGrain(b"one").over(face, texture))
    others = [
        SecretGrain(b"other").over(face, texture),
        SecretGrain(b"one").over(replace(face, track=2), texture),
        SecretGrain(b"one").over(replace(face, time_s=1.04), texture),
    ]
    for other in others:
        assert (one != other).any()


class Brighter:
    """A fill of mid grey with `grain` that makes it brighter on the left and darker on the right."""

    def __init__(self, change: float) -> None:
        self.change = change

    def fills(self, picture: RawPicture, faces: Sequence[FaceMask], every: Sequence[FaceMask]) -> list[Fill]:
        fills = []
        for face in faces:
            width, height = region_size(face)
            change = np.full((height, width), self.change, np.float32)
            change[:, width // 2 :] *= -1
            fills.append(Fill(np.full((1, 1, 3), picture.white // 2, picture.dtype), grain=change))
        return fills


def luma_sides(luma: NDArray[np.unsignedinteger]) -> tuple[float, float]:
    return float(luma[110, 110]), float(luma[110, 150])


@pytest.mark.parametrize(("pixel_format", "span"), [("yuv420p", 219), ("gray", 219), ("yuv420p10le", 876)])
@pytest.mark.parametrize("change", [10.0, 1e6])
def test_grain_arrives_in_video_and_stops_at_the_ends(
    monkeypatch: pytest.MonkeyPatch, pixel_format: str, span: int, change: float
) -> None:
    monkeypatch.setitem(FILTERS, "gan", lambda settings, backend: Brighter(change))
    layout = PictureLayout(width=SIZE[0], height=SIZE[1], pixel_format=pixel_format)
    raw, safe = (layout.planes(np.zeros(layout.nbytes, np.uint8)) for _ in range(2))
    Hider(FilterSettings(name="gan"), layout).hide(raw, safe, np.array([[100, 80, 160, 140]], np.float32))
    left, right = luma_sides(safe[0])
    if change < 255:
        assert left - right == pytest.approx(2 * change / 255 * span, abs=2)
    else:
        assert (left, right) == ((255, 0) if span == 219 else (1023, 0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grain_arrives_in_photos(monkeypatch: pytest.MonkeyPatch, dtype: type[np.unsignedinteger], channels: int) -> None:
    monkeypatch.setitem(FILTERS, "gan", lambda settings, backend: Brighter(10.0))
    image = np.zeros((SIZE[1], SIZE[0], channels), dtype)
    image = image[:, :, 0] if channels == 1 else image
    safe, _ = PhotoHider(FilterSettings(name="gan")).hide_rgb(image, np.array([[100, 80, 160, 140]], np.float32))
    shown = safe if channels == 1 else safe[:, :, 1]
    left, right = luma_sides(shown)
    assert left - right == pytest.approx(20 / 255 * np.iinfo(dtype).max, rel=0.05)


def test_grain_of_another_size_than_the_region_covers_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Brighter):
        def fills(self, picture: RawPicture, faces: Sequence[FaceMask], every: Sequence[FaceMask]) -> list[Fill]:
            return [fill._replace(grain=np.zeros((3, 3), np.float32)) for fill in super().fills(picture, faces, every)]

    monkeypatch.setitem(FILTERS, "gan", lambda settings, backend: Wrong(10.0))
    image = cv2.cvtColor(picture(), cv2.COLOR_RGB2BGR).astype(np.uint8)
    _, fallbacks = PhotoHider(FilterSettings(name="gan")).hide_rgb(image, np.array([[100, 80, 160, 140]], np.float32))
    assert fallbacks == {0: "failed"}

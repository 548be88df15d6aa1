"""The generated face from frame to frame: steady, cheap, and as grainy as the picture."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.stabilizer import Stabilizer
from streamer.config import FilterSettings
from streamer.filters import FILTERS
from streamer.gan import GanFilter
from streamer.hiding import Hider
from streamer.pictures import ColorTags, PictureLayout, Plane, rgb_to_region
from tests.streamer.painted import FACES, GENERATOR, Portrait, gan, known, layout_of, noise


@pytest.fixture(autouse=True)
def opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILTERS, "gan", lambda setting, backend: GanFilter(GENERATOR, identity_seed=setting.identity_seed))


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return Portrait(FACES[0])


def test_frames_of_a_video_are_steadier_than_photos_of_them(portrait: Portrait) -> None:
    """Noise around the face changes what is painted in every frame; in a video the past holds it still."""
    layout = PictureLayout(width=480, height=480, pixel_format="yuv444p", color=ColorTags(range=2, matrix=1))
    rng = np.random.default_rng(0)
    x1, y1, x2, y2 = portrait.faces.boxes[0].astype(int)
    changes = {}
    for is_video in (True, False):
        hider, painted = Hider(gan(), layout), []
        for number in range(10):
            noisy = np.clip(portrait.image + rng.normal(0, 25, portrait.image.shape), 0, 255).astype(np.uint8)
            safe = layout.planes(np.zeros(layout.nbytes, np.uint8))
            known = dataclasses.replace(portrait.known(), time_s=number / 25 if is_video else None)
            hider.hide(rgb_to_region(noisy, layout), safe, portrait.faces.boxes, known)
            # At this size the grain, which is meant to change, is averaged away.
            painted.append(cv2.resize(safe[0][y1:y2, x1:x2].astype(np.float32), (24, 24), interpolation=cv2.INTER_AREA))
        changes[is_video] = np.mean([np.abs(one - other).mean() for one, other in itertools.pairwise(painted[4:])])
    assert changes[True] < 0.6 * changes[False]


def test_a_steady_face_is_painted_in_every_other_frame_only(portrait: Portrait, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = PictureLayout(width=480, height=480, pixel_format="yuv444p", color=ColorTags(range=2, matrix=1))
    hider, raw = Hider(gan(), layout), rgb_to_region(portrait.image, layout)
    calls: list[int] = []
    paint = GENERATOR.paint

    def counted(pictures: Any, *arguments: Any) -> Any:
        calls.append(len(pictures))
        return paint(pictures, *arguments)

    monkeypatch.setattr(GENERATOR, "paint", counted)
    shown = []
    for number in range(10):
        safe = layout.planes(np.zeros(layout.nbytes, np.uint8))
        known = dataclasses.replace(portrait.known(), time_s=number / 25)
        assert hider.hide(raw, safe, portrait.faces.boxes, known) == {}
        shown.append(safe[0].astype(int))
    assert calls == [1] * 5
    x1, y1, x2, y2 = portrait.faces.boxes[0].astype(int)
    changes = [np.abs(one - other)[y1:y2, x1:x2] for one, other in itertools.pairwise(shown)]
    assert max(change.mean() for change in changes) < 0.5
    assert max(change.max() for change in changes) < 10


def test_how_much_of_a_face_is_in_sight_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sights: list[float] = []
    blend = Stabilizer.blend

    def noted(stabilizer: Stabilizer, *arguments: Any) -> Any:
        sights.append(arguments[-1].sight)
        return blend(stabilizer, *arguments)

    monkeypatch.setattr(Stabilizer, "blend", noted)
    layout = layout_of("yuv420p", matrix=1, range=2)
    hider, raw = Hider(gan(), layout), noise(layout, 1)
    for number, left in enumerate((-60.0, 0.0, 80.0)):
        boxes = np.array([[left, 60, left + 100, 160]], np.float32)
        hider.hide(raw, noise(layout, 2), boxes, dataclasses.replace(known(boxes), time_s=float(number)))
    # A fifth more on every side: 60, 120 and 140 of 140 pixels across.
    assert sights == pytest.approx([60 / 140, 120 / 140, 1.0])


def grainy(level: float, seed: int, layout: PictureLayout) -> tuple[Plane, ...]:
    planes = layout.planes(np.zeros(layout.nbytes, np.uint8))
    planes[0][:] = np.clip(120 + np.random.default_rng(seed).normal(0, level, planes[0].shape), 0, 255)
    for plane in planes[1:]:
        plane[:] = 128
    return planes


def fine_detail(luma: Plane) -> float:
    """Standard deviation of what lies between single pixels and their surroundings, its median over rows of the face."""
    values = luma.astype(np.float32)
    return float(np.median((values - cv2.GaussianBlur(values, (0, 0), 1.0)).std(axis=1)))


def test_a_face_in_a_grainy_picture_is_as_grainy_and_in_a_clean_one_clean() -> None:
    """Grain is another at another time; what the generator paints is not."""
    layout = layout_of("yuv420p", matrix=1, range=2)
    boxes = np.array([[60, 30, 210, 210]], np.float32)

    def hidden(level: float, time_s: float) -> Plane:
        safe = noise(layout, 2)
        Hider(gan(), layout).hide(grainy(level, 1, layout), safe, boxes, dataclasses.replace(known(boxes), time_s=time_s))
        return safe[0]

    def inside(luma: Plane) -> Plane:
        return luma[60:180, 90:180]

    assert np.array_equal(hidden(0.0, 0.0), hidden(0.0, 0.04))
    grain, beside = hidden(6.0, 0.0), fine_detail(grainy(6.0, 1, layout)[0][60:180, 215:305])
    assert fine_detail(inside(grain)) == pytest.approx(beside, rel=0.35)
    assert fine_detail(inside(grain)) > 2 * fine_detail(inside(hidden(0.0, 0.0)))
    assert (inside(grain) != inside(hidden(6.0, 0.04))).mean() > 0.5


def test_grain_moves_from_frame_to_frame_and_is_repeated_by_the_seed_alone() -> None:
    layout = layout_of("yuv420p", matrix=1, range=2)
    boxes = np.array([[60, 30, 210, 210]], np.float32)
    raw = grainy(6.0, 1, layout)

    def play(setting: FilterSettings) -> list[NDArray[np.unsignedinteger]]:
        hider, frames = Hider(setting, layout), []
        for number in range(2):
            safe = noise(layout, 2)
            hider.hide(raw, safe, boxes, dataclasses.replace(known(boxes), time_s=number / 25))
            frames.append(safe[0][60:180, 90:180].copy())
        return frames

    first, second = play(gan())
    changes = first.astype(float) - second
    assert 3.0 < changes.std() < 12.0
    for one, again in zip((first, second), play(gan()), strict=True):
        np.testing.assert_array_equal(one, again)
    assert (play(gan(identity_seed=None))[0] != first).any()

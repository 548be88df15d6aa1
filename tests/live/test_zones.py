"""Zones: what they cover, whom they leave, and when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.faces import Faces, no_faces
from streamer.live.config import Point, ZoneSettings
from streamer.live.zones import Zones
from streamer.pictures import PIXEL_FORMATS, PictureLayout
from tests.live.frames import LAYOUT, box_zone

MONDAY_NOON = datetime(2026, 3, 2, 12, 0)
PARTS = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
FINE = 5
"""Points to look at across each pixel."""


def is_inside(points: tuple[Point, ...], width: int, height: int) -> NDArray[np.bool_]:
    """(height, width): whether the polygon touches a pixel, by the number of its sides to the right of points in it."""
    across = (np.arange(width * FINE) + 0.5) / (width * FINE)
    down = (np.arange(height * FINE) + 0.5) / (height * FINE)
    x, y = np.meshgrid(across, down)
    inside = np.zeros(x.shape, bool)
    for (x1, y1), (x2, y2) in zip(points, (*points[1:], points[0]), strict=True):
        if y1 == y2:
            continue
        crosses = ((y1 <= y) != (y2 <= y)) & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
        inside ^= crosses
    touched: NDArray[np.bool_] = np.asarray(inside.reshape(height, FINE, width, FINE).any(axis=(1, 3)))
    return touched


def noise(layout: PictureLayout) -> tuple[NDArray[Any], ...]:
    """Without the grey of a zone."""
    random = np.random.default_rng(1)
    return tuple(random.integers(100, 120, shape).astype(layout.dtype) for shape in layout.plane_shapes)


@settings(max_examples=60, deadline=None)
@given(
    pixel_format=st.sampled_from([name for name, row in PIXEL_FORMATS.items() if row.has_chroma]),
    points=st.lists(st.tuples(PARTS, PARTS), min_size=3, max_size=6).map(tuple),
)
@example(pixel_format="yuv420p", points=((0.0, 0.992), (1.0, 0.992), (1.0, 1.0), (0.0, 1.0)))
def test_every_pixel_that_a_zone_touches_is_covered(pixel_format: str, points: tuple[Point, ...]) -> None:
    layout = PictureLayout(width=64, height=48, pixel_format=pixel_format)
    planes = noise(layout)
    before = [plane.copy() for plane in planes]
    Zones((ZoneSettings(points=points),), layout).cover(planes, MONDAY_NOON)
    touched = is_inside(points, 64, 48)
    for plane, was in zip(planes, before, strict=True):
        y_step, x_step = 48 // plane.shape[0], 64 // plane.shape[1]
        samples = touched.reshape(plane.shape[0], y_step, plane.shape[1], x_step).any(axis=(1, 3))
        assert (plane[samples] != was[samples]).all(), "an original sample is left in the zone"
        assert len(np.unique(plane[samples])) <= 1


def test_a_zone_leaves_what_is_outside() -> None:
    planes = noise(LAYOUT)
    before = planes[0].copy()
    Zones((box_zone(0.25, 0.25, 0.5, 0.5),), LAYOUT).cover(planes, MONDAY_NOON)
    assert np.array_equal(planes[0][:9], before[:9])
    assert np.array_equal(planes[0][:, 36:], before[:, 36:])


@pytest.mark.parametrize("points", [((0.5, 0.5),) * 3, ((0, 0), (1, 1), (0, 0)), ((0, 1), (1, 1), (0.5, 1))])
def test_a_zone_without_an_area_is_at_least_a_line(points: tuple[Point, ...]) -> None:
    planes = noise(LAYOUT)
    before = planes[0].copy()
    Zones((ZoneSettings(points=points),), LAYOUT).cover(planes, MONDAY_NOON)
    assert (planes[0] != before).any()


def faces_at(*middles: tuple[float, float]) -> Faces:
    boxes = np.array([(x - 4, y - 6, x + 4, y + 6) for x, y in middles], np.float32)
    return Faces(boxes=boxes, scores=np.linspace(0.5, 0.9, len(middles), dtype=np.float32))


def test_faces_are_left_by_their_middle() -> None:
    zones = Zones((box_zone(0, 0, 0.5, 1, do="ignore"),), LAYOUT)
    faces = faces_at((10, 10), (30, 40), (34, 40), (60, 20), (-3, 20), (67, 20))
    kept = zones.without_ignored(faces, MONDAY_NOON)
    assert np.array_equal(kept.boxes, faces.boxes[[2, 3, 5]])
    assert np.array_equal(kept.scores, faces.scores[[2, 3, 5]])
    assert len(zones.without_ignored(no_faces(), MONDAY_NOON)) == 0


def test_only_zones_that_ignore_leave_faces_and_only_those_that_cover_cover() -> None:
    assert len(Zones((box_zone(0, 0, 1, 1),), LAYOUT).without_ignored(faces_at((10, 10)), MONDAY_NOON)) == 1
    planes = noise(LAYOUT)
    before = planes[0].copy()
    Zones((box_zone(0, 0, 1, 1, do="ignore"),), LAYOUT).cover(planes, MONDAY_NOON)
    assert np.array_equal(planes[0], before)
    assert not Zones((), LAYOUT)
    assert Zones((box_zone(0, 0, 1, 1),), LAYOUT)


@pytest.mark.parametrize(
    ("schedule", "is_active"),
    [
        ((), True),
        (("mon 11:00-13:00",), True),
        (("tue",), False),
        (("22:00-06:00",), False),
        (("tue", "mon-fri 12:00-12:01"), True),
    ],
)
def test_a_zone_counts_when_it_is_scheduled(schedule: tuple[str, ...], is_active: bool) -> None:
    cover, ignore = (box_zone(0, 0, 1, 1, do=do, schedule=schedule) for do in ("cover", "ignore"))
    planes = noise(LAYOUT)
    before = planes[0].copy()
    Zones((cover,), LAYOUT).cover(planes, MONDAY_NOON)
    assert (planes[0] != before).all() == is_active
    assert len(Zones((ignore,), LAYOUT).without_ignored(faces_at((10, 10)), MONDAY_NOON)) == (0 if is_active else 1)

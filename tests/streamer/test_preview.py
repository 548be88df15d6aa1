"""Boxes and their reasons are drawn on every format, at any place."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.pictures import PIXEL_FORMATS, ColorTags, PictureLayout, Plane, color_samples, region_to_rgb
from streamer.preview import REASON_COLORS, draw_detections


def grey(pixel_format: str, **color: int) -> tuple[PictureLayout, tuple[Plane, ...]]:
    layout = PictureLayout(width=320, height=240, pixel_format=pixel_format, color=ColorTags(**color))
    planes = layout.planes(np.zeros(layout.nbytes, np.uint8))
    for plane, sample in zip(planes, color_samples((0.5, 0.5, 0.5), layout), strict=True):
        plane.fill(sample)
    return layout, planes


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
@pytest.mark.parametrize("reason", [*REASON_COLORS, "something new"])
def test_a_box_has_the_colour_of_its_reason(pixel_format: str, reason: str) -> None:
    layout, planes = grey(pixel_format)
    draw_detections(planes, layout, np.array([[80, 100, 200, 180]], np.float32), [reason], [1])
    samples = color_samples(REASON_COLORS.get(reason, (1, 1, 1)), layout)
    form = PIXEL_FORMATS[pixel_format]
    for index, (plane, sample) in enumerate(zip(planes, samples, strict=True)):
        x, y = (form.chroma_x_shift, form.chroma_y_shift) if index else (0, 0)
        assert (plane[100 >> y, 80 >> x : 200 >> x] == sample).all()
        assert (plane[100 >> y : 180 >> y, 200 >> x] == sample).all()
        assert (plane[110 >> y : 170 >> y, 90 >> x : 190 >> x] == plane[-1, 0]).all()


def test_reasons_can_be_told_apart_in_luma_alone() -> None:
    layout, _ = grey("gray")
    assert len({color_samples(color, layout) for color in REASON_COLORS.values()}) == len(REASON_COLORS)


def test_the_label_differs_by_reason_and_track() -> None:
    labels = []
    for reason, track in (("detected", 1), ("detected", 2), ("held", 1)):
        layout, planes = grey("gray")
        draw_detections(planes, layout, np.array([[80, 100, 200, 180]], np.float32), [reason], [track])
        labels.append(planes[0][80:99].tobytes())
    assert len(set(labels)) == 3


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
@pytest.mark.parametrize(
    "box",
    [(-50, -50, 20, 20), (300, 220, 400, 400), (-1e9, -1e9, 1e9, 1e9), (500, 500, 600, 600), (0, 0, 0.5, 0.5), (310, 0, 319, 5)],
)
def test_a_box_may_lie_anywhere(pixel_format: str, box: tuple[float, float, float, float]) -> None:
    layout, planes = grey(pixel_format)
    draw_detections(planes, layout, np.array([box], np.float32), ["bridged"], [123456])


def test_no_box_draws_nothing_and_lists_of_other_lengths_are_refused() -> None:
    layout, planes = grey("yuv420p")
    draw_detections(planes, layout, np.zeros((0, 4), np.float32), [], [])
    assert all(np.ptp(plane) == 0 for plane in planes)
    with pytest.raises(ValueError, match="zip"):
        draw_detections(planes, layout, np.array([[1, 1, 9, 9]], np.float32), [], [])


def test_hdr_is_drawn_no_brighter_than_white_paper() -> None:
    layout, planes = grey("yuv420p10le", transfer=16, matrix=9, range=1)
    for plane, sample in zip(planes, color_samples((0, 0, 0), layout), strict=True):
        plane.fill(sample)
    draw_detections(planes, layout, np.array([[80, 100, 200, 180]], np.float32), ["other"], [1])
    assert region_to_rgb(planes, layout, (0, 0, 320, 240)).max() <= 0.6 * 65535

"""What counts as a face of the original that still shows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.detectors import RgbImage
from streamer.verify.exposure import Exposure, measure_exposure
from streamer.verify.surroundings import LEAST_KEPT, LEAST_TOLERANCE, MOST_TOLERANCE, encoding_noise, kept_around
from tests.streamer.portraits import (
    Cover,
    another_face,
    blackout,
    box_in,
    covered,
    frame,
    half_a_face_aside,
    heavy_blur,
    nothing,
    pixelate,
    region,
)

BOXES = box_in(0)[None]


def gray(picture: RgbImage) -> NDArray[np.uint8]:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def compressed(picture: RgbImage, quality: int) -> RgbImage:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR).astype(np.uint8)


def look(picture: RgbImage, boxes: NDArray[np.float32] = BOXES, row: int = 0) -> Exposure:
    original, anonymized = gray(frame(0)), gray(picture)
    exposure = measure_exposure(original, anonymized, boxes, row, encoding_noise(original, anonymized, boxes))
    assert exposure is not None
    return exposure


@pytest.mark.parametrize("quality", [100, 80, 40])
def test_a_face_that_was_only_encoded_again_shows_whole(quality: int) -> None:
    exposure = look(compressed(covered(0, nothing), quality))

    assert exposure.is_exposed
    assert exposure.exposed_share > 0.9
    assert exposure.correlation > 0.8


@pytest.mark.parametrize("cover", [blackout, heavy_blur, pixelate, another_face])
@pytest.mark.parametrize("quality", [100, 40])
def test_a_hidden_face_does_not_show_however_it_is_encoded(cover: Cover, quality: int) -> None:
    exposure = look(compressed(covered(0, cover), quality))

    assert not exposure.is_exposed
    assert exposure.exposed_share < 0.3


def test_a_cover_beside_the_face_leaves_half_of_it() -> None:
    exposure = look(covered(0, half_a_face_aside))

    assert exposure.is_exposed
    assert 0.3 < exposure.exposed_share < 0.7


def test_a_quarter_of_a_face_that_is_left_out_is_found() -> None:
    picture = covered(0, blackout)
    rows, columns = region(BOXES[0], growth=0.0)
    quarter = (slice(rows.start, (rows.start + rows.stop) // 2), slice(columns.start, (columns.start + columns.stop) // 2))
    picture[quarter] = frame(0)[quarter]

    exposure = look(picture)

    assert exposure.is_exposed
    assert 0 < exposure.exposed_share < 0.3


@pytest.mark.parametrize("place", [(0.3, 0.35), (0.5, 0.5), (0.62, 0.4), (0.45, 0.72)])
@pytest.mark.parametrize("cover", [blackout, another_face])
def test_a_sharp_hole_of_a_sixth_of_a_face_is_found_wherever_it_lies(place: tuple[float, float], cover: Cover) -> None:
    picture = covered(0, cover)
    x1, y1, x2, y2 = (float(edge) for edge in BOXES[0])
    width, height = 0.41 * (x2 - x1), 0.41 * (y2 - y1)
    left, top = int(x1 + place[0] * (x2 - x1) - width / 2), int(y1 + place[1] * (y2 - y1) - height / 2)
    hole = (slice(top, top + round(height)), slice(left, left + round(width)))
    picture[hole] = frame(0)[hole]

    assert look(compressed(picture, 90)).is_exposed


def small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A face of four cells."""
    return cv2.resize(picture, None, fx=SMALL, fy=SMALL, interpolation=cv2.INTER_AREA).astype(np.uint8)


SMALL = 17.5 / float(BOXES[0, 2] - BOXES[0, 0])


def test_a_face_of_four_cells_with_the_detail_of_the_original_but_not_its_pixels_does_not_show() -> None:
    """As a painted one that happens to look as the original does."""
    original = small(gray(frame(0)))
    alike = np.clip(small(gray(frame(0))).astype(int) + 40, 0, 255).astype(np.uint8)

    shown, painted = (
        measure_exposure(original, picture, BOXES * np.float32(SMALL), 0, LEAST_TOLERANCE) for picture in (original, alike)
    )

    assert shown is not None
    assert painted is not None
    assert (shown.exposed_share, shown.is_exposed) == (1.0, True)
    assert (painted.exposed_share, painted.is_exposed) == (1.0, False)


def test_two_cells_alike_by_chance_show_nothing_unless_their_pixels_are_the_original_s() -> None:
    """A face of sixteen cells, two of which have the detail of the original."""
    x1, y1, x2, y2 = BOXES[0].tolist()
    down, across = (
        np.rint(start + np.array(parts) * side).astype(int)
        for start, side, parts in (
            (y1, y2 - y1, (0.2, 0.55)),
            (x1, x2 - x1, (0.2, 0.8)),
        )
    )
    cells = (slice(*down), slice(*across))
    left_out, alike = covered(0, blackout), covered(0, blackout)
    left_out[cells] = frame(0)[cells]
    alike[cells] = np.clip(frame(0)[cells].astype(int) + 40, 0, 255)

    assert look(left_out).is_exposed
    assert not look(alike).is_exposed


def test_brightness_and_contrast_hide_nothing() -> None:
    assert look((frame(0) * 0.7 + 50).astype(np.uint8)).is_exposed


def test_a_small_blur_leaves_a_face_and_a_wide_one_does_not() -> None:
    assert look(cv2.GaussianBlur(frame(0), (0, 0), 0.8).astype(np.uint8)).is_exposed
    assert not look(cv2.GaussianBlur(frame(0), (0, 0), 6).astype(np.uint8)).is_exposed


def test_a_face_without_detail_is_judged_by_its_pixels() -> None:
    flat = cv2.GaussianBlur(frame(0), (0, 0), 9).astype(np.uint8)
    original, hidden = gray(flat), gray(flat)
    hidden[region(BOXES[0])] = 40

    shown, gone = (measure_exposure(original, picture, BOXES, 0, LEAST_TOLERANCE) for picture in (original, hidden))

    assert shown is not None
    assert gone is not None
    assert (shown.judged_by, shown.is_exposed) == ("pixels", True)
    assert (gone.judged_by, gone.is_exposed) == ("pixels", False)


def test_a_tiny_face_shows_only_if_its_pixels_are_those_of_the_original_too() -> None:
    small = cv2.resize(gray(frame(0)), None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA).astype(np.uint8)
    tiny = BOXES * np.float32(0.2)
    brighter = np.clip(small.astype(int) + 40, 0, 255).astype(np.uint8)

    shown, alike = (measure_exposure(small, picture, tiny, 0, LEAST_TOLERANCE) for picture in (small, brighter))

    assert tiny[0, 2] - tiny[0, 0] < 16
    assert shown is not None
    assert alike is not None
    assert (shown.exposed_share, shown.is_exposed) == (1.0, True)
    assert (alike.exposed_share, alike.is_exposed) == (1.0, False)


def test_a_face_at_the_border_is_judged_by_the_part_that_is_in_the_frame() -> None:
    box = BOXES[0] - np.array([BOXES[0, 0] + 30, 0] * 2, np.float32)
    start = int(box_in(0)[0]) + 30
    original = np.ascontiguousarray(gray(frame(0))[:, start:])

    shown = measure_exposure(original, original, box[None], 0, LEAST_TOLERANCE)
    gone = measure_exposure(original, np.zeros_like(original), box[None], 0, LEAST_TOLERANCE)

    assert shown is not None
    assert gone is not None
    assert shown.is_exposed
    assert not gone.is_exposed


def test_a_face_outside_the_frame_is_not_looked_at() -> None:
    picture = gray(frame(0))
    outside = np.array([[-50, 10, 2, 60]], np.float32)

    assert measure_exposure(picture, picture, outside, 0, LEAST_TOLERANCE) is None


def test_each_face_is_judged_for_itself() -> None:
    picture = np.concatenate([frame(0), covered(0, blackout)], axis=1)
    original = np.concatenate([frame(0), frame(0)], axis=1)
    boxes = np.stack([BOXES[0], BOXES[0] + np.array([240, 0, 240, 0], np.float32)])

    faces = [measure_exposure(gray(original), gray(picture), boxes, row, LEAST_TOLERANCE) for row in (0, 1)]

    assert [face is not None and face.is_exposed for face in faces] == [True, False]


def test_the_surroundings_say_how_much_encoding_changes_and_no_more_than_that_is_believed() -> None:
    original = gray(frame(0))
    coarse = gray(compressed(frame(0), 20))

    assert encoding_noise(original, original, BOXES) == LEAST_TOLERANCE
    assert LEAST_TOLERANCE < encoding_noise(original, coarse, BOXES) <= MOST_TOLERANCE
    assert encoding_noise(original, 255 - original, BOXES) == MOST_TOLERANCE
    assert encoding_noise(original, 255 - original, np.array([[0, 0, 240, 180]], np.float32)) == LEAST_TOLERANCE

    same, inverse = (kept_around(original, picture, BOXES, 0, 64.0) for picture in (original, 255 - original))
    assert (same.correlation, same.gain) == pytest.approx((1.0, 1.0))
    assert (inverse.correlation, inverse.gain) == (LEAST_KEPT, LEAST_KEPT)

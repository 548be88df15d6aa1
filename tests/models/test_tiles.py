"""Faces that are small in a large photo are found, and none is cut by the border of a tile or taken for two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.detectors import WORKING_SIDES, Effort, FaceDetector, Render, RgbImage, Size, image_render, open_detector
from models.faces import Boxes, Faces, no_faces
from models.tiles import FINEST, RIM, TILE_PX, TiledDetector, tile_sides, tiles
from tests.models.test_detectors import FACE_PART, FACES, assert_each_found_once, read_rgb


@pytest.fixture(scope="module")
def detectors() -> dict[str, TiledDetector]:
    part = open_detector("centerface", TILE_PX)
    return {size: tiled(open_detector("centerface", size), part, size) for size in ("default", "full")}


def tiled(whole: FaceDetector, part: FaceDetector, size: Literal["default", "full"] = "default") -> TiledDetector:
    return TiledDetector(whole=whole, whole_px=WORKING_SIDES[size]["thorough"], part=part, finest=FINEST[size])


def scattered(widths: list[float], frame_size: Size, seed: int = 0) -> tuple[RgbImage, Boxes]:
    """A soft background with a face of each width in a place of a grid of four by four, anywhere in it, and where the faces are."""
    rng = np.random.default_rng(seed)
    width, height = frame_size
    coarse = rng.integers(60, 200, (height // 8, width // 8, 3)).astype(np.uint8)
    frame = cv2.resize(cv2.GaussianBlur(coarse, (0, 0), 3), frame_size).astype(np.uint8, copy=False)
    boxes = []
    for index, face_width in enumerate(widths):
        side = round(face_width / FACE_PART)
        x = index % 4 * width // 4 + int(rng.integers(0, width // 4 - side))
        y = index // 4 * height // 4 + int(rng.integers(0, height // 4 - side))
        portrait = cv2.resize(read_rgb(FACES[index % len(FACES)]), (side, side), interpolation=cv2.INTER_AREA)
        frame[y : y + side, x : x + side] = portrait
        boxes.append((x + 0.2 * side, y + 0.15 * side, x + 0.8 * side, y + 0.92 * side))
    return frame, np.array(boxes, np.float32)


def test_faces_of_twenty_pixels_and_more_are_each_found_once_in_a_large_photo(detectors: dict[str, TiledDetector]) -> None:
    size = (2600, 1800)
    photo, boxes = scattered([20, 24, 30, 45, 60, 90, 130, 200] * 2, size)
    assert_each_found_once(detectors["default"].detect(image_render(photo), size), boxes)
    assert len(detectors["default"].whole.detect(image_render(photo), size)) < len(boxes) - 4


def test_full_finds_faces_of_twelve_pixels(detectors: dict[str, TiledDetector]) -> None:
    size = (1400, 1000)
    photo, boxes = scattered([12] * 16, size)
    assert len(detectors["full"].detect(image_render(photo), size)) >= len(boxes) - 1
    assert len(detectors["full"].whole.detect(image_render(photo), size)) < len(boxes) - 4


@pytest.mark.parametrize("part", [0.3, 0.9, 1.0])
def test_a_face_that_is_larger_than_tiles_is_no_heap_of_fragments(detectors: dict[str, TiledDetector], part: float) -> None:
    size = (2000, 1500)
    photo = np.full((size[1], size[0], 3), 120, np.uint8)
    side = round(part * size[1])
    x, y = (size[0] - side) // 2, (size[1] - side) // 2
    photo[y : y + side, x : x + side] = cv2.resize(read_rgb(FACES[4]), (side, side))
    whole = detectors["default"].whole.detect(image_render(photo), size)
    found = detectors["default"].detect(image_render(photo), size)
    assert_each_found_once(found, whole.boxes)


def test_a_small_photo_is_looked_at_whole_alone(detectors: dict[str, TiledDetector]) -> None:
    size = (640, 480)
    photo, _ = scattered([40] * 8, size)
    found, whole = (detector.detect(image_render(photo), size) for detector in (detectors["default"], detectors["default"].whole))
    np.testing.assert_array_equal(found.boxes, whole.boxes)


@given(st.integers(1, 30_000), st.sampled_from(sorted(FINEST.values())))
def test_tiles_cover_the_photo_and_share_what_a_face_of_eighty_pixels_of_the_working_size_needs(length: int, finest: int) -> None:
    for side in tile_sides((length, 10), finest, TILE_PX):
        regions = tiles((length, 10), side)
        assert (regions[0][0], regions[-1][2]) == (0, length)
        assert {(y1, y2) for _, y1, _, y2 in regions} == {(0, 10)}
        assert all(before[2] - after[0] >= (80 / TILE_PX + 2 * RIM) * side - 1 for before, after in pairwise(regions))


@dataclass
class AnsweringDetector:
    """Gives what a function says of a size, and notes the sizes; satisfies FaceDetector."""

    answer: Callable[[Size], Faces]
    asked: list[Size] = field(default_factory=list)

    def detect(self, render: Render, frame_size: Size, *, effort: Effort = "thorough") -> Faces:
        self.asked.append(frame_size)
        render((0, 0, *frame_size), (32, 32))
        return self.answer(frame_size)


def nothing(size: Size) -> Faces:
    return no_faces()


def test_what_a_border_between_tiles_may_cut_is_left_to_the_others_and_the_picture_s_own_is_none() -> None:
    def at_left_border(size: Size) -> Faces:
        return Faces(boxes=np.array([[2, 300, 42, 350]], np.float32), scores=np.ones(1, np.float32))

    part = AnsweringDetector(at_left_border)
    photo = np.zeros((640, 1100, 3), np.uint8)
    found = tiled(AnsweringDetector(nothing), part).detect(image_render(photo), (1100, 640))
    assert part.asked == [(640, 640), (640, 640)]
    assert found.boxes.tolist() == [[2, 300, 42, 350]]


def test_faces_of_tiles_are_given_in_pixels_of_the_photo_with_their_keypoints() -> None:
    def in_the_middle(size: Size) -> Faces:
        keypoints = np.full((1, 7, 2), 320, np.float32)
        box = np.array([[300, 300, 340, 350]], np.float32)
        return Faces(boxes=box, scores=np.ones(1, np.float32), keypoints=keypoints, keypoint_scores=np.ones((1, 7), np.float32))

    photo = np.zeros((1000, 640, 3), np.uint8)
    detector = tiled(AnsweringDetector(nothing), AnsweringDetector(in_the_middle))
    found = detector.detect(image_render(photo), (640, 1000))
    assert found.boxes.tolist() == [[300, 300, 340, 350], [300, 660, 340, 710]]
    assert found.keypoints[:, 0].tolist() == [[320, 320], [320, 680]]


def test_what_is_small_in_coarse_tiles_is_left_to_the_finer_ones() -> None:
    def two(size: Size) -> Faces:
        boxes = np.array([[200, 200, 215, 215], [400, 400, 440, 440]], np.float32) * (max(size) / 640)
        return Faces(boxes=boxes, scores=np.ones(2, np.float32)) if size[0] > 640 else no_faces()

    detector = tiled(AnsweringDetector(nothing), AnsweringDetector(two))
    photo = np.zeros((1280, 2000, 3), np.uint8)
    found = detector.detect(image_render(photo), (2000, 1280))
    assert len(found) == 2
    assert (found.boxes[:, 2] - found.boxes[:, 0]).tolist() == [80, 80]

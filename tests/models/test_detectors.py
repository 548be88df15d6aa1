"""The detector finds faces where they are, once each, at every size that it promises, and nothing where there is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.detectors import (
    CenterFaceDetector,
    DetectorSize,
    Effort,
    FaceDetector,
    Region,
    RgbImage,
    Size,
    has_small_faces,
    image_render,
    open_detector,
    working_size,
)
from models.faces import KEYPOINT_NAMES, Boxes, Faces

FACES = sorted((Path(__file__).parents[2] / "streamer" / "demo_faces").glob("*.jpg"))[:8]
FRAME_SIZE = (1280, 720)
FACE_PART = 0.6
"""Of the width of the demo pictures, about: the face itself."""


def read_rgb(path: Path) -> RgbImage:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


@pytest.fixture(scope="module")
def portraits() -> list[RgbImage]:
    return [read_rgb(path) for path in FACES]


@pytest.fixture(scope="module")
def detectors() -> dict[DetectorSize, FaceDetector]:
    sizes: tuple[DetectorSize, ...] = ("default", "full")
    return {size: open_detector("centerface", size) for size in sizes}


def collage(portraits: list[RgbImage], face_width: float, frame_size: Size = FRAME_SIZE) -> tuple[RgbImage, Boxes]:
    """A grey frame with the portraits in a row, each face about `face_width` wide, and where the faces are."""
    side = round(face_width / FACE_PART)
    width, height = frame_size
    frame = np.full((height, width, 3), 120, np.uint8)
    boxes = []
    for index, portrait in enumerate(portraits):
        x = round((index + 0.5) * width / len(portraits) - side / 2)
        y = round(height / 2 - side / 2) + (index % 3 - 1) * min(side, 100)
        frame[y : y + side, x : x + side] = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
        boxes.append((x + 0.2 * side, y + 0.15 * side, x + 0.8 * side, y + 0.92 * side))
    return frame, np.array(boxes, np.float32)


def overlaps(box: Boxes, others: Boxes) -> Boxes:
    shared = np.prod(np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0), axis=1)
    return shared / (np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - shared)


def times_found(faces: Faces, expected: Boxes) -> list[int]:
    return [int((overlaps(box, faces.boxes) > 0.4).sum()) for box in expected]


def assert_each_found_once(faces: Faces, expected: Boxes) -> None:
    assert times_found(faces, expected) == [1] * len(expected)
    assert len(faces) == len(expected)


@pytest.mark.parametrize(
    ("size", "effort", "face_width"),
    [("full", "thorough", 12), ("full", "careful", 12), ("default", "thorough", 20), ("default", "careful", 24)],
)
def test_of_eight_faces_of_the_least_width_at_most_one_is_missed(
    portraits: list[RgbImage],
    detectors: dict[DetectorSize, FaceDetector],
    size: DetectorSize,
    effort: Effort,
    face_width: float,
) -> None:
    frame, boxes = collage(portraits, face_width)
    found = times_found(detectors[size].detect(image_render(frame), FRAME_SIZE, effort=effort), boxes)
    assert sum(found) >= len(boxes) - 1
    assert max(found) == 1


@pytest.mark.parametrize("effort", ["thorough", "careful"])
@pytest.mark.parametrize("face_width", [28, 40, 64])
def test_each_face_above_the_least_width_is_found_once(
    portraits: list[RgbImage], detectors: dict[DetectorSize, FaceDetector], face_width: float, effort: Effort
) -> None:
    frame, boxes = collage(portraits, face_width)
    assert_each_found_once(detectors["default"].detect(image_render(frame), FRAME_SIZE, effort=effort), boxes)


@pytest.mark.parametrize("size", ["default", "full"])
@pytest.mark.parametrize("face_width", [76, 90])
def test_a_quick_look_finds_each_face_that_is_not_small_and_covers_it(
    portraits: list[RgbImage], detectors: dict[DetectorSize, FaceDetector], face_width: float, size: DetectorSize
) -> None:
    frame, boxes = collage(portraits, face_width)
    thorough = detectors[size].detect(image_render(frame), FRAME_SIZE)
    quick = detectors[size].detect(image_render(frame), FRAME_SIZE, effort="quick")
    assert not has_small_faces(thorough.boxes, FRAME_SIZE)
    assert_each_found_once(quick, boxes)
    for box in thorough.boxes:
        covering = quick.boxes[np.argmax(overlaps(box, quick.boxes))]
        assert (covering[:2] - box[:2] <= 0.03 * face_width).all()
        assert (box[2:] - covering[2:] <= 0.03 * face_width).all()


@pytest.mark.parametrize(("width", "is_small"), [(20, True), (60, True), (84, False)])
def test_one_small_face_among_large_ones_asks_for_care(width: float, is_small: bool) -> None:
    boxes = np.array([[100, 100, 300, 350], [500, 400, 500 + width, 400 + 1.2 * width]], np.float32)
    assert has_small_faces(boxes, (1280, 720)) == is_small
    assert has_small_faces(boxes * 2, (2560, 1440)) == is_small
    assert not has_small_faces(boxes[:0], (1280, 720))


@pytest.mark.parametrize("frame_size", [(640, 360), (1920, 1080), (3840, 2160), (720, 1280)])
def test_a_face_of_the_same_share_is_found_in_frames_of_any_size(
    portraits: list[RgbImage], detectors: dict[DetectorSize, FaceDetector], frame_size: Size
) -> None:
    frame, boxes = collage(portraits, 40 * max(frame_size) / 1280, frame_size)
    assert_each_found_once(detectors["default"].detect(image_render(frame), frame_size), boxes)


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 1.1])
def test_a_face_that_fills_the_frame_is_found_once(
    portraits: list[RgbImage], detectors: dict[DetectorSize, FaceDetector], share: float
) -> None:
    width = round(512 * FACE_PART / share)
    height = width * 9 // 16
    for portrait in portraits:
        x, y = (512 - width) // 2, (540 - height) // 2
        part = portrait[max(y, 0) : y + height, max(x, 0) : x + width] if share > FACE_PART else widened(portrait, width, height)
        frame = cv2.resize(part, FRAME_SIZE, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
        faces = detectors["default"].detect(image_render(frame), FRAME_SIZE)
        is_large = (faces.boxes[:, 2:] - faces.boxes[:, :2] > (0.3 * 1280, 0.5 * 720)).all(axis=1)
        assert is_large[0]
        assert is_large.sum() == 1


@pytest.mark.parametrize("size", ["default", "full"])
def test_a_portrait_has_one_face_and_it_is_covered_from_brow_to_chin(
    detectors: dict[DetectorSize, FaceDetector], size: DetectorSize
) -> None:
    for path in sorted(FACES[0].parent.glob("*.jpg")):
        faces = detectors[size].detect(image_render(read_rgb(path)), (512, 512))
        sure = faces.boxes[faces.scores > 0.5]
        assert len(sure) == 1, path
        x1, y1, x2, y2 = sure[0]
        assert x1 < 180
        assert x2 > 345
        assert y1 < 170
        assert y2 > 430


@pytest.mark.parametrize("size", ["default", "full"])
def test_two_large_faces_that_touch_and_a_small_one_before_them_all_stay(
    portraits: list[RgbImage], detectors: dict[DetectorSize, FaceDetector], size: DetectorSize
) -> None:
    frame = np.concatenate([portraits[0][:, 100:410], portraits[7][:, 100:410]], axis=1)
    expected = [(10, 100, 300, 500), (310, 60, 600, 500)]
    for corner in ((60, 380), (400, 0)):
        both = frame.copy()
        left, top = corner
        both[top : top + 130, left : left + 130] = cv2.resize(portraits[2], (130, 130), interpolation=cv2.INTER_AREA)
        small = (left + 34, top + 20, left + 106, top + 123)
        faces = detectors[size].detect(image_render(both), (both.shape[1], both.shape[0]))
        sure = faces[faces.scores > 0.5]
        assert times_found(sure, np.array([*expected, small], np.float32)) == [1, 1, 1], corner
        assert len(sure) == 3


def test_a_higher_threshold_never_makes_fragments_of_a_large_face(portraits: list[RgbImage]) -> None:
    for portrait in (portraits[0], portraits[7]):
        counts = [
            len(open_detector("centerface", "full", threshold).detect(image_render(portrait), (512, 512)))
            for threshold in (0.3, 0.7, 0.85, 0.97)
        ]
        assert counts == [1, 1, 1, 0]


def widened(portrait: RgbImage, width: int, height: int) -> RgbImage:
    """The middle of a portrait, mirrored at the sides up to `width`."""
    side = (width - 512) // 2
    wide = cv2.copyMakeBorder(portrait, 0, 0, side, side, cv2.BORDER_REFLECT_101)
    y = (540 - height) // 2
    return wide[y : y + height].astype(np.uint8, copy=False)


@pytest.mark.parametrize("angle_deg", [-30, 0, 30])
def test_tilted_heads_are_found(portraits: list[RgbImage], detectors: dict[DetectorSize, FaceDetector], angle_deg: float) -> None:
    turn = cv2.getRotationMatrix2D((256, 256), angle_deg, 1)
    tilted = [cv2.warpAffine(each, turn, (512, 512), borderMode=cv2.BORDER_REFLECT_101).astype(np.uint8) for each in portraits]
    frame, boxes = collage(tilted, 60)
    assert_each_found_once(detectors["default"].detect(image_render(frame), FRAME_SIZE), boxes)


@pytest.mark.parametrize("level", [0, 16, 128, 255])
def test_an_empty_frame_has_no_faces(detectors: dict[DetectorSize, FaceDetector], level: int) -> None:
    frame = np.full((360, 640, 3), level, np.uint8)
    assert len(detectors["default"].detect(image_render(frame), (640, 360))) == 0


def test_detection_depends_on_nothing_but_the_frame(portraits: list[RgbImage], detectors: dict[DetectorSize, FaceDetector]) -> None:
    frame, _ = collage(portraits, 40)
    detector = detectors["default"]
    first = detector.detect(image_render(frame), FRAME_SIZE)
    detector.detect(image_render(portraits[0]), (512, 512))
    again = detector.detect(image_render(frame), FRAME_SIZE)
    assert first.boxes.tobytes() == again.boxes.tobytes()
    assert first.scores.tobytes() == again.scores.tobytes()


def test_faces_come_best_first(portraits: list[RgbImage], detectors: dict[DetectorSize, FaceDetector]) -> None:
    frame, _ = collage(portraits, 40)
    scores = detectors["default"].detect(image_render(frame), FRAME_SIZE).scores
    assert (np.diff(scores) <= 0).all()


def test_eyes_and_nose_lie_where_a_person_has_them(portraits: list[RgbImage], detectors: dict[DetectorSize, FaceDetector]) -> None:
    known = [KEYPOINT_NAMES.index(name) for name in ("nose", "left_eye", "right_eye")]
    for portrait in portraits:
        faces = detectors["default"].detect(image_render(portrait), (512, 512))
        nose, left_eye, right_eye = faces.keypoints[0, known]
        assert right_eye[0] < nose[0] < left_eye[0]
        assert nose[1] > max(left_eye[1], right_eye[1])
        x1, y1, x2, y2 = faces.boxes[0]
        assert ((faces.keypoints[0, known] > (x1, y1)) & (faces.keypoints[0, known] < (x2, y2))).all()
        assert (faces.keypoint_scores[0] > 0).nonzero()[0].tolist() == sorted(known)


def test_a_higher_threshold_only_removes_faces(portraits: list[RgbImage]) -> None:
    frame, _ = collage(portraits, 20)
    low, high = (open_detector("centerface", threshold=value).detect(image_render(frame), FRAME_SIZE) for value in (0.05, 0.3))
    kept = low[low.scores > 0.3]
    assert 0 < len(high) < len(low)
    assert kept.boxes.tobytes() == high.boxes.tobytes()


def test_an_unknown_detector_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown detector 'haar', use one of: centerface"):
        open_detector("haar")


@pytest.mark.parametrize("threshold", [0.0, 1.0, 1.7, float("nan")])
def test_a_threshold_that_is_no_score_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold must be above 0 and below 1"):
        open_detector("centerface", threshold=threshold)


def test_one_small_render_serves_all_passes() -> None:
    asked: list[tuple[Region, Size]] = []

    def render(region: Region, size: Size) -> RgbImage:
        asked.append((region, size))
        return np.zeros((size[1], size[0], 3), np.uint8)

    detector = open_detector("centerface")
    detector.detect(render, (3840, 2160))
    detector.detect(render, (3840, 2160), effort="careful")
    detector.detect(render, (3840, 2160), effort="quick")
    whole = (0, 0, 3840, 2160)
    assert asked == [(whole, (640, 352)), (whole, (576, 320)), (whole, (320, 192))]


def test_a_network_that_answers_with_nonsense_does_not_mean_that_there_are_no_faces(
    portraits: list[RgbImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = CenterFaceDetector()
    run = detector._network.run

    def overflowing(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        (maps,) = run(inputs)
        maps[0, 5, 3, 3] = np.nan
        return [maps]

    monkeypatch.setattr(detector._network, "run", overflowing)
    with pytest.raises(FloatingPointError, match="not finite"):
        detector.detect(image_render(portraits[0]), (256, 256))


@given(st.integers(16, 8192), st.integers(16, 8192), st.integers(128, 2048))
def test_working_sizes_fit_the_network(width: int, height: int, longer_side: int) -> None:
    size = working_size((width, height), longer_side)
    assert all(side % 32 == 0 and side > 0 for side in size)
    assert max(size) <= longer_side + 16
    assert max(size) <= 4 * max(width, height) + 16

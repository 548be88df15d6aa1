"""The generated face in the picture: blind to every face, the same person in every frame, honest where it cannot paint."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import streamer
from models.detectors import CenterFaceDetector, image_render
from models.face_generator import FaceGenerator, open_generator
from models.faces import Faces
from models.geometry import PAINT, expand_to_square
from models.keypoints import NetworkKeypoints
from models.weights import WeightsError
from streamer.config import FilterSettings
from streamer.errors import InternalError, UsageError
from streamer.filters import FILTERS, open_filter
from streamer.gan import GanFilter, Identities, hidden_crop, open_gan, secret_of
from streamer.hiding import Hider, KnownFaces, PhotoHider
from streamer.masks import face_mask
from streamer.pictures import PIXEL_FORMATS, ColorTags, PictureLayout, Plane, rgb_to_region
from streamer.raw_pictures import RgbPicture, YuvPicture

FACES = sorted((Path(streamer.__file__).parent / "demo_faces").glob("*.jpg"))
GENERATOR = open_generator()
SIZE = (320, 240)


@pytest.fixture(autouse=True)
def opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILTERS, "gan", lambda setting, backend: GanFilter(GENERATOR, identity_seed=setting.identity_seed))


def gan(**changes: Any) -> FilterSettings:
    return FilterSettings(name="gan", **{"identity_seed": 1, **changes})


def layout_of(pixel_format: str, **color: int) -> PictureLayout:
    return PictureLayout(width=SIZE[0], height=SIZE[1], pixel_format=pixel_format, color=ColorTags(**color))


def noise(layout: PictureLayout, seed: int) -> tuple[Plane, ...]:
    planes = layout.planes(np.zeros(layout.nbytes, np.uint8))
    rng = np.random.default_rng(seed)
    for plane in planes:
        plane[:] = rng.integers(0, 1 << PIXEL_FORMATS[layout.pixel_format].bits, plane.shape)
    return planes


def known(
    boxes: NDArray[np.float32], *, tracks: Sequence[int] | None = None, score: float = 1.0, best_score: float = 0.9
) -> KnownFaces:
    """Keypoints where they usually are in a box."""
    places = np.array([[0.5, 0.6], [0.68, 0.4], [0.32, 0.4], [0.95, 0.45], [0.05, 0.45], [1.2, 1.3], [-0.2, 1.3]], np.float32)
    keypoints = boxes[:, None, :2] + places * (boxes[:, None, 2:] - boxes[:, None, :2])
    scores = np.full((len(boxes), 7), score, np.float32)
    return KnownFaces(
        tracks=np.array(tracks if tracks is not None else range(1, len(boxes) + 1)),
        best_scores=np.full(len(boxes), best_score, np.float32),
        keypoints=keypoints,
        keypoint_scores=scores,
    )


corners = st.tuples(
    st.floats(-30, 280, width=32), st.floats(-30, 200, width=32), st.floats(14, 150, width=32), st.floats(14, 150, width=32)
)
some_boxes = st.lists(corners, min_size=1, max_size=3).map(
    lambda rows: np.array([[x, y, x + width, y + height] for x, y, width, height in rows], np.float32)
)


@settings(max_examples=60, deadline=None)
@given(
    boxes=some_boxes,
    pixel_format=st.sampled_from(sorted(PIXEL_FORMATS)),
    margin=st.sampled_from([0.0, 0.05, 0.3]),
    times_s=st.sampled_from([(None,), (0.0, 0.3), (0.0, 0.05, 0.1)]),
)
def test_no_pixel_of_any_face_changes_what_is_painted(
    boxes: NDArray[np.float32], pixel_format: str, margin: float, times_s: tuple[float | None, ...]
) -> None:
    layout = layout_of(pixel_format, matrix=1)
    setting = gan(margin=margin, soft_edge=0.0)
    one, other = noise(layout, 1), noise(layout, 2)
    form = PIXEL_FORMATS[pixel_format]
    covered = [np.zeros(plane.shape, np.bool_) for plane in one]
    for box in boxes:
        steps = (1 << form.chroma_x_shift, 1 << form.chroma_y_shift)
        mask = face_mask(box, SIZE, shape="box", margin=margin, soft_edge=0.0, steps=steps)
        if mask is None:
            continue
        x1, y1, x2, y2 = (max(edge, 0) for edge in mask.core)
        for where, (x_step, y_step) in zip(covered, ((1, 1), steps, steps), strict=False):
            where[y1 // y_step : -(-y2 // y_step), x1 // x_step : -(-x2 // x_step)] = True
    for plane, second, where in zip(one, other, covered, strict=True):
        second[~where] = plane[~where]
    outputs = []
    for raw in (one, other):
        safe, hider = noise(layout, 3), Hider(setting, layout)
        for time_s in times_s:
            hider.hide(raw, safe, boxes, dataclasses.replace(known(boxes), time_s=time_s))
        outputs.append(safe)
    for first, second, where in zip(*outputs, covered, strict=True):
        np.testing.assert_array_equal(first[where], second[where])
        np.testing.assert_array_equal(first, second)


def test_a_crop_of_one_face_shows_no_other_face_either() -> None:
    image = np.full((240, 320, 3), 200, np.uint8)
    boxes = np.array([[100, 80, 150, 140], [140, 90, 190, 150]], np.float32)
    masks = [face_mask(box, SIZE, shape="box", margin=0.05, soft_edge=0.1) for box in boxes]
    every = [mask for mask in masks if mask is not None]
    for x1, y1, x2, y2 in boxes.astype(int):
        image[y1:y2, x1:x2] = 7
    crop = expand_to_square(boxes[0], SIZE, 0.225)
    small, mask = hidden_crop(RgbPicture(image=image), crop, every, 64)
    assert (small[mask] == PAINT).all()
    assert mask[32, 60], "the other face is hidden where it reaches into the crop"
    # The mean of areas may mix the grey of the hidden into the pixels around, never the face.
    assert small[~mask].min() >= PAINT


class Portrait:
    """A face of nobody, found by the detectors that ship."""

    def __init__(self, path: Path) -> None:
        self.image = cv2.cvtColor(cv2.resize(cv2.imread(str(path)), (480, 480)), cv2.COLOR_BGR2RGB)
        render = image_render(self.image)
        found = CenterFaceDetector(threshold=0.4).detect(render, (480, 480))
        self.faces: Faces = NetworkKeypoints().estimate(render, (480, 480), found)

    def known(self, track: int = 1) -> KnownFaces:
        return KnownFaces(
            tracks=np.array([track] * len(self.faces)),
            best_scores=self.faces.scores,
            keypoints=self.faces.keypoints,
            keypoint_scores=self.faces.keypoint_scores,
        )

    def painted(self, setting: FilterSettings, track: int = 1) -> NDArray[np.uint8]:
        safe, fallbacks = PhotoHider(setting).hide_rgb(self.image, self.faces.boxes, self.known(track))
        assert fallbacks == {}
        return safe.astype(np.uint8)


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return Portrait(FACES[0])


def test_a_face_is_painted_where_the_face_was(portrait: Portrait) -> None:
    safe = portrait.painted(gan())
    assert len(portrait.faces) == 1
    again = CenterFaceDetector(threshold=0.4).detect(image_render(safe), (480, 480))
    assert len(again) == 1
    assert np.abs(again.boxes - portrait.faces.boxes).max() < 0.2 * 480
    x1, y1, x2, y2 = portrait.faces.boxes[0].astype(int)
    before, after = portrait.image[y1:y2, x1:x2].astype(float), safe[y1:y2, x1:x2].astype(float)
    assert np.abs(before - after).mean() > 8


def test_a_track_keeps_its_face_and_another_track_has_another(portrait: Portrait) -> None:
    first = portrait.painted(gan(), 1)
    np.testing.assert_array_equal(first, portrait.painted(gan(), 1))
    assert (first != portrait.painted(gan(), 2)).any()
    assert (first != portrait.painted(gan(identity_seed=2), 1)).any()


def test_without_a_seed_nobody_can_repeat_a_face(portrait: Portrait) -> None:
    setting = gan(identity_seed=None)
    assert (portrait.painted(setting) != portrait.painted(setting)).any()


def test_identities_are_standard_normal_and_differ() -> None:
    identities = Identities(secret_of(3), (32, 4, 4))
    drawn = np.stack([identities.noise(track) for track in range(100)])
    assert drawn.dtype == np.float32
    assert abs(float(drawn.mean())) < 0.02
    assert abs(float(drawn.std()) - 1) < 0.02
    assert np.abs(np.corrcoef(drawn.reshape(100, -1)) - np.eye(100)).max() < 0.25


def test_yuv_and_rgb_are_painted_alike(portrait: Portrait) -> None:
    layout = PictureLayout(width=480, height=480, pixel_format="yuv444p", color=ColorTags(range=2, matrix=1))
    raw = rgb_to_region(portrait.image, layout)
    safe = layout.planes(np.zeros(layout.nbytes, np.uint8))
    Hider(gan(), layout).hide(raw, safe, portrait.faces.boxes, portrait.known())
    from_yuv = YuvPicture(planes=safe, layout=layout).rgb((0, 0, 480, 480)).astype(float)
    assert np.abs(from_yuv - portrait.painted(gan())).mean() < 2


def test_deep_photos_are_painted_in_their_depth(portrait: Portrait) -> None:
    deep = portrait.image.astype(np.uint16) * 257
    safe, fallbacks = PhotoHider(gan()).hide_rgb(deep, portrait.faces.boxes, portrait.known())
    assert safe.dtype == np.uint16
    assert fallbacks == {}
    assert np.abs(safe / 257 - portrait.painted(gan())).mean() < 1


@pytest.mark.parametrize(
    ("box", "score", "best_score", "why"),
    [
        ([100, 100, 110, 113], 1.0, 0.9, "small"),
        ([-70, 50, 30, 170], 1.0, 0.9, "outside"),
        ([100, 50, 180, 150], 0.0, 0.9, "keypoints"),
        ([100, 50, 180, 150], 1.0, 0.3, "unsure"),
    ],
)
def test_what_cannot_be_painted_is_filled_from_around_with_the_reason(
    box: list[float], score: float, best_score: float, why: str
) -> None:
    layout = layout_of("yuv420p", matrix=1)
    boxes = np.array([box], np.float32)
    raw, safe = layout.planes(np.full(layout.nbytes, 90, np.uint8)), noise(layout, 2)
    inside = face_mask(boxes[0], SIZE, shape="box", margin=0.05, soft_edge=0.1)
    assert inside is not None
    x1, y1, x2, y2 = (max(edge, 0) for edge in inside.core)
    raw[0][y1:y2, x1:x2] = 255
    assert Hider(gan(), layout).hide(raw, safe, boxes, known(boxes, score=score, best_score=best_score)) == {0: why}
    assert safe[0].max() < 130, "the colour of the surroundings, not that of the face"


def test_a_face_alone_in_the_picture_without_surroundings_is_covered() -> None:
    layout = layout_of("gray")
    raw, safe = noise(layout, 1), noise(layout, 2)
    boxes = np.array([[-50, -50, 400, 300]], np.float32)
    fallbacks = Hider(gan(), layout).hide(raw, safe, boxes, known(boxes, score=0.0))
    assert fallbacks == {0: "keypoints"}
    assert np.ptp(safe[0]) == 0


def test_without_keypoints_at_all_no_face_is_painted() -> None:
    layout = layout_of("yuv420p", matrix=1)
    boxes = np.array([[100, 50, 180, 150]], np.float32)
    assert Hider(gan(), layout).hide(noise(layout, 1), noise(layout, 2), boxes) == {0: "keypoints"}


def test_a_generator_that_breaks_leaves_a_plain_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(FaceGenerator, "paint", broken)
    layout = layout_of("yuv420p", matrix=1, range=2)
    raw, safe = noise(layout, 1), noise(layout, 2)
    boxes = np.array([[100, 50, 180, 150]], np.float32)
    assert Hider(gan(), layout).hide(raw, safe, boxes, known(boxes)) == {0: "failed"}
    assert (safe[0][52:148, 102:178] == 51).all()


def test_ellipses_are_refused_and_missing_weights_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(UsageError, match=r"filter\.mask: the filter gan paints into a box"):
        open_filter(gan(mask="ellipse"))

    def missing(*arguments: object, **options: object) -> None:
        raise WeightsError("generator.onnx: no such file")

    monkeypatch.setattr("streamer.gan.open_generator", missing)
    with pytest.raises(InternalError, match=r"generator\.onnx: no such file"):
        open_gan(gan(), "cpu")


def test_a_fill_is_no_larger_than_needed() -> None:
    """A large face is stretched plane by plane; a small one is exactly as large as its region."""
    image = np.random.default_rng(0).integers(0, 255, (1200, 1600, 3), np.uint8)
    for side, most in ((900, 260), (60, 90)):
        boxes = np.array([[300, 150, 300 + side, 150 + side]], np.float32)
        mask = face_mask(boxes[0], (1600, 1200), shape="box", margin=0.05, soft_edge=0.1)
        assert mask is not None
        found = known(boxes).add_to(mask, 0)
        (fill,) = GanFilter(GENERATOR, identity_seed=1).fills(RgbPicture(image=image), [found], [found])
        assert fill.fallback is None
        assert max(fill.rgb.shape) <= most
        assert fill.rgb.shape[:2] <= mask.alpha.shape


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_surroundings_of_photos_hide_before_they_shrink(dtype: type[np.unsignedinteger]) -> None:
    image = np.full((240, 320, 3), np.iinfo(dtype).max, dtype)
    hidden = (40, 40, 81, 81)
    image[40:81, 40:81] = 0
    small = RgbPicture(image=image).surroundings([hidden])((0, 0, 320, 240), (64, 48))
    assert small.dtype == np.uint8
    assert small.min() >= 127
    assert image[60, 60, 0] == 0, "the picture itself is untouched"


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


def test_many_faces_are_painted_by_all_cores_and_few_by_one() -> None:
    opened: list[FaceGenerator] = []

    def open_for_many() -> FaceGenerator:
        opened.append(open_generator(threads=2))
        return opened[-1]

    layout = layout_of("yuv420p", matrix=1)
    raw, filters = noise(layout, 1), {}
    boxes = np.array([[10 + 100 * row, 40, 80 + 100 * row, 130] for row in range(3)], np.float32)
    for name, many in (("one", None), ("all", open_for_many)):
        gan_filter = GanFilter(GENERATOR, identity_seed=1, open_for_many=many)
        masks = [face_mask(box, SIZE, shape="box", margin=0.05, soft_edge=0.1, steps=(2, 2)) for box in boxes]
        faces = [known(boxes).add_to(mask, row) for row, mask in enumerate(masks) if mask is not None]
        picture = YuvPicture(planes=raw, layout=layout)
        gan_filter.fills(picture, faces[:2], faces[:2])
        assert opened == []
        filters[name] = gan_filter.fills(picture, faces, faces)
        assert gan_filter.fills(picture, faces, faces)
    assert len(opened) == 1
    for one, other in zip(filters["one"], filters["all"], strict=True):
        assert np.abs(one.rgb.astype(int) - other.rgb).max() <= 1


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
    layout = layout_of("yuv420p", matrix=1, range=2)
    boxes = np.array([[60, 30, 210, 210]], np.float32)
    found = {}
    for level in (0.0, 6.0):
        raw, safe = grainy(level, 1, layout), noise(layout, 2)
        Hider(gan(), layout).hide(raw, safe, boxes, known(boxes))
        found[level] = fine_detail(safe[0][60:180, 90:180])
        beside = fine_detail(raw[0][60:180, 215:305])
    assert found[0.0] < 1.5
    assert found[6.0] == pytest.approx(beside, rel=0.35)


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

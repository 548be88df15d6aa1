"""The generated face in the picture: blind to every face, the same person in every frame, honest where it cannot paint."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.detectors import CenterFaceDetector, image_render
from models.face_generator import FaceGenerator, open_generator
from models.geometry import PAINT, expand_to_square
from models.weights import WeightsError
from streamer.errors import InternalError, UsageError
from streamer.filters import FILTERS, open_filter
from streamer.gan import GanFilter, Identities, hidden_crop, open_gan, secret_of
from streamer.hiding import Hider, PhotoHider
from streamer.masks import face_mask
from streamer.pictures import PIXEL_FORMATS, ColorTags, PictureLayout, rgb_to_region
from streamer.raw_pictures import RgbPicture, YuvPicture
from tests.streamer.painted import FACES, GENERATOR, SIZE, Portrait, gan, known, layout_of, noise


@pytest.fixture(autouse=True)
def opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILTERS, "gan", lambda setting, backend: GanFilter(GENERATOR, identity_seed=setting.identity_seed))


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

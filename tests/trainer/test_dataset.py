"""Readers and augmentation: what is hidden, what is varied, what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import torch
from loguru import logger

from models import geometry
from trainer.augment import LabelledFace, mirror, vary
from trainer.config import AugmentSettings, DataSettings, TrainSettings
from trainer.dataset import DataError, ExampleSource, FlickrDiverseFaces, LabelledFolder
from trainer.schedule import Stage

STILL = AugmentSettings(
    flip=0, box_jitter=0, crop_min=1.5, crop_max=1.5, shift=0, rotate_deg=0, color=0, gray=0, degrade=0, margin_max=0, ellipse=0,
    neighbour=0, keypoint_drop=0,
)  # fmt: skip


def stage(resolution: int, alpha: float = 1.0) -> Stage:
    return Stage(resolution=resolution, alpha=alpha, batch=1, images_into_phase=0)


def dotted_face() -> LabelledFace:
    """A black picture with a bright dot of 3x3 pixels at each keypoint; the face box holds them all."""
    picture = np.zeros((128, 128, 3), np.uint8)
    keypoints = np.array([[64, 70], [76, 56], [52, 56], [86, 60], [42, 60], [80, 86], [48, 86]], np.float32)
    for x, y in keypoints.astype(int):
        picture[y - 1 : y + 2, x - 1 : x + 2] = 255
    return LabelledFace(picture=picture, box=np.array([36, 34, 92, 98], np.float32), keypoints=keypoints + 0.5)


@pytest.mark.parametrize("seed", range(20))
def test_keypoints_follow_the_picture_through_every_variation(seed: int) -> None:
    settings = AugmentSettings(color=0, gray=0, degrade=0, keypoint_drop=0, rotate_deg=30, shift=0.1)
    example = vary(dotted_face(), 64, settings, np.random.default_rng(seed))
    for x, y in example.keypoints.reshape(-1, 2) * 64:
        column, row = int(x), int(y)
        if 1 <= column < 63 and 1 <= row < 63:
            assert example.picture[row - 1 : row + 2, column - 1 : column + 2].max() > 60


@pytest.mark.parametrize("seed", range(20))
def test_the_face_is_hidden_in_every_variation(seed: int) -> None:
    """The keypoints lie well inside the face, so that all of them must be hidden however it is turned."""
    settings = AugmentSettings(rotate_deg=20, keypoint_drop=0)
    example = vary(dotted_face(), 64, settings, np.random.default_rng(seed))
    for x, y in example.keypoints.reshape(-1, 2) * 64:
        assert example.mask[int(np.clip(y, 0, 63)), int(np.clip(x, 0, 63))]


def test_training_cuts_what_serving_cuts() -> None:
    """Without variation, the example is what serving makes of the same crop, up to interpolation of the picture."""
    face = dotted_face()
    example = vary(face, 32, STILL, np.random.default_rng(0))
    crop = geometry.expand_to_square(face.box, (128, 128), expansion=0.25)
    assert crop.side == 96
    _, mask = geometry.hide(geometry.cut(face.picture, crop), geometry.mark_faces(face.box[None], crop), 32)
    assert np.array_equal(example.mask, mask)
    scores = np.ones((1, 7), np.float32)
    assert np.allclose(example.keypoints, geometry.keypoints_in_crop(face.keypoints[None], scores, crop)[0], atol=1e-5)


def test_a_mirrored_left_eye_is_a_right_eye() -> None:
    face = dotted_face()
    mirrored = mirror(face, swap_left_right=True)
    assert mirrored.keypoints[1].tolist() == [128 - face.keypoints[2][0], face.keypoints[2][1]]
    assert np.allclose(mirror(mirrored, swap_left_right=True).keypoints, face.keypoints)
    unswapped = mirror(face, swap_left_right=False)
    assert unswapped.keypoints[1].tolist() == [128 - face.keypoints[1][0], face.keypoints[1][1]]


def test_absent_and_dropped_keypoints_lie_outside() -> None:
    face = dotted_face()
    face.keypoints[5:] = np.nan
    example = vary(face, 32, STILL, np.random.default_rng(0))
    assert (example.keypoints[10:] == geometry.ABSENT).all()
    assert (example.keypoints[:10] > 0).all()
    dropped = vary(face, 32, msgspec.structs.replace(STILL, keypoint_drop=1.0), np.random.default_rng(0))
    assert (dropped.keypoints == geometry.ABSENT).all()


def test_the_same_position_is_the_same_example_whatever_was_asked_before(small_settings: TrainSettings) -> None:
    def source() -> ExampleSource:
        return ExampleSource(
            LabelledFolder(Path(small_settings.data.root), small_settings.data, small_settings.augment), small_settings
        )

    first, second = source(), source()
    second.batch(range(40, 50), stage(16))
    for position in (0, 7, 33):
        one, other = first.example(position, stage(16)), second.example(position, stage(16))
        assert np.array_equal(one.picture, other.picture)
        assert np.array_equal(one.mask, other.mask)
        assert np.array_equal(one.keypoints, other.keypoints)


def test_threads_change_nothing(small_settings: TrainSettings) -> None:
    threaded = msgspec.structs.replace(small_settings, data=msgspec.structs.replace(small_settings.data, loader_threads=3))
    batches = []
    for settings in (small_settings, threaded):
        data = LabelledFolder(Path(settings.data.root), settings.data, settings.augment)
        batches.append(ExampleSource(data, settings).batch(range(10), stage(16)))
    assert batches[0].pictures.equal(batches[1].pictures)
    assert batches[0].keypoints.equal(batches[1].keypoints)


def test_each_turn_shows_every_training_face_once_and_no_other(small_settings: TrainSettings) -> None:
    data = LabelledFolder(Path(small_settings.data.root), small_settings.data, small_settings.augment)
    assert 0 < data.training < len(data)
    asked: list[int] = []

    class Recorder:
        training = data.training
        expansion = data.expansion

        def __len__(self) -> int:
            return len(data)

        def example(self, number: int, at: Stage, random: np.random.Generator) -> object:
            asked.append(number)
            return data.example(number, at, random)

    source = ExampleSource(Recorder(), small_settings)  # type: ignore[arg-type]
    source.batch(range(2 * data.training), stage(8))
    turns = asked[: data.training], asked[data.training :]
    assert sorted(turns[0]) == sorted(turns[1]) == list(range(data.training))
    assert turns[0] != turns[1]


def labels(folder: Path, change: Callable[[dict[str, str]], object]) -> Path:
    """The labels of a folder with every row changed, in a folder that has the same pictures."""
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        change(row)
    return write_labels(folder, rows)


def write_labels(folder: Path, rows: list[dict[str, str]]) -> Path:
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture
def copied(faces_folder: Path, tmp_path: Path) -> Path:
    for path in faces_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def open_folder(folder: Path, share: float = 0.0) -> LabelledFolder:
    return LabelledFolder(folder, DataSettings(kind="labels", root=str(folder), validation_share=share), STILL)


def test_pictures_of_one_group_are_never_split(copied: Path) -> None:
    rows_of = iter(range(100))
    folder = labels(copied, lambda row: row.update(group=f"group {next(rows_of) // 4}"))
    for share in (0.2, 0.5, 0.8):
        data = open_folder(folder, share) if share < 0.8 else None
        if data is not None:
            assert data.training % 4 == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(score="0.1"), "no face to train on"),
        (lambda row: row.pop("nose_x"), "a column is missing"),
        (lambda row: row.update(x0="left"), "not a number"),
        (lambda row: row.update(x0="0.9"), "empty"),
        (lambda row: row.update(y1="nan"), "not finite"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_with_their_place(
    copied: Path, change: Callable[[dict[str, str]], object], message: str
) -> None:
    labels(copied, change)
    with pytest.raises(DataError, match=message) as error:
        open_folder(copied)
    assert "labels.csv" in str(error.value)


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv: cannot be read"):
        open_folder(tmp_path)


def test_a_damaged_picture_among_others_is_left_out_counted_and_named(copied: Path, small_settings: TrainSettings) -> None:
    damaged = sorted(copied.glob("*.jpg"))[3]
    damaged.write_bytes(damaged.read_bytes()[:40])
    data = open_folder(copied)
    source = ExampleSource(data, small_settings)
    logger.remove()
    batch = source.batch(range(2 * data.training), stage(8))
    assert len(batch.pictures) == 2 * data.training
    assert len(source.unreadable) == 1
    assert str(damaged) in next(iter(source.unreadable.values()))


def test_a_folder_of_nothing_but_damaged_pictures_is_refused(copied: Path, small_settings: TrainSettings) -> None:
    for path in copied.glob("*.jpg"):
        path.write_bytes(b"")
    logger.remove()
    with pytest.raises(DataError, match="none of the 16 pictures"):
        ExampleSource(open_folder(copied), small_settings).example(0, stage(8))


@pytest.fixture
def fdf(tmp_path: Path) -> Path:
    """Twelve faces in the published layout at 8 and 16 pixels, with numbers that sort differently as text."""
    meta = {}
    random = np.random.default_rng(0)
    for number in range(12):
        for size in (8, 16):
            (tmp_path / "images" / str(size)).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "images" / str(size) / f"{number}.png"), random.integers(0, 256, (size, size, 3), np.uint8))
        meta[str(number)] = {
            "bounding_box": [0.25, 0.3, 0.75, 0.8],
            "landmark": [[0.5, 0.5 + 0.01 * number]] * 7,
            "category": "training",
        }
    (tmp_path / "fdf_metainfo.json").write_text(json.dumps(meta))
    return tmp_path


def open_fdf(folder: Path, held_back: int = 2, **augment: float) -> FlickrDiverseFaces:
    settings = DataSettings(kind="fdf", root=str(folder), validation_images=held_back)
    return FlickrDiverseFaces(folder, settings, msgspec.structs.replace(STILL, **augment))


def test_fdf_holds_back_its_last_pictures_and_paints_the_floored_box(fdf: Path) -> None:
    data = open_fdf(fdf)
    assert (len(data), data.training) == (12, 10)
    example = data.example(10, stage(16), np.random.default_rng(0))
    assert example.keypoints[1] == pytest.approx(0.6)
    rows, columns = np.nonzero(example.mask)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (4, 12, 4, 12)


def test_the_box_of_fdf_is_faded_like_its_picture(fdf: Path) -> None:
    """y: floor(4.8) = 4, floor(12.8) = 12; x at 16 pixels 0.31 would be 4 of which half resolution keeps 4."""
    meta = json.loads((fdf / "fdf_metainfo.json").read_text())
    meta["0"]["bounding_box"] = [5 / 16, 5 / 16, 11 / 16, 11 / 16]
    (fdf / "fdf_metainfo.json").write_text(json.dumps(meta))
    for alpha, first in ((0.0, 4), (0.5, 4), (1.0, 5)):
        mask = open_fdf(fdf).example(0, stage(16, alpha), np.random.default_rng(0)).mask
        assert np.nonzero(mask.any(1))[0][0] == first


def test_a_mirrored_picture_of_fdf_keeps_its_eyes_unless_told_otherwise(fdf: Path) -> None:
    meta = json.loads((fdf / "fdf_metainfo.json").read_text())
    meta["0"]["landmark"] = [[0.5, 0.5], [0.6, 0.4], [0.3, 0.4], *[[0.5, 0.5]] * 4]
    (fdf / "fdf_metainfo.json").write_text(json.dumps(meta))
    as_published = open_fdf(fdf, flip=1.0, swap_left_right=False).example(0, stage(16), np.random.default_rng(0))
    swapped = open_fdf(fdf, flip=1.0, swap_left_right=True).example(0, stage(16), np.random.default_rng(0))
    assert as_published.keypoints[2:6] == pytest.approx([0.4, 0.4, 0.7, 0.4])
    assert swapped.keypoints[2:6] == pytest.approx([0.7, 0.4, 0.4, 0.4])


def test_fdf_without_usable_metainfo_is_refused(fdf: Path) -> None:
    with pytest.raises(DataError, match="leave none to train on"):
        open_fdf(fdf, held_back=12)
    (fdf / "fdf_metainfo.json").write_text('{"0": {}}')
    with pytest.raises(DataError, match="bounding_box"):
        open_fdf(fdf)


@pytest.mark.parametrize("suffix", ["npy", "torch"])
def test_fdf_arrays_say_what_its_metainfo_says(fdf: Path, suffix: str) -> None:
    from_metainfo = open_fdf(fdf)
    meta = json.loads((fdf / "fdf_metainfo.json").read_text())
    for size in (8, 16):
        boxes = np.floor(np.array([meta[str(n)]["bounding_box"] for n in range(12)]) * size + 1e-6).astype(np.int64)
        points = (np.array([meta[str(n)]["landmark"] for n in range(12)], np.float32) * size).reshape(12, 14)
        for folder, array in (("bounding_box", boxes), ("landmarks", points)):
            path = fdf / folder / f"{size}.{suffix}"
            path.parent.mkdir(exist_ok=True)
            if suffix == "npy":
                np.save(path, array)
            else:
                torch.save(torch.from_numpy(array), path)
    (fdf / "fdf_metainfo.json").unlink()
    from_arrays = open_fdf(fdf)
    assert len(from_arrays) == len(from_metainfo) == 12
    for number in range(12):
        for size in (8, 16):
            one, other = (data.example(number, stage(size), np.random.default_rng(0)) for data in (from_metainfo, from_arrays))
            assert np.array_equal(one.picture, other.picture)
            assert np.array_equal(one.mask, other.mask)
            assert np.allclose(one.keypoints, other.keypoints, atol=1e-6)
    (fdf / "bounding_box" / f"16.{suffix}").write_bytes(b"damaged")
    with pytest.raises(DataError, match="damaged, or not an array"):
        open_fdf(fdf)

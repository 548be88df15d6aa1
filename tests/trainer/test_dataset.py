"""Readers and augmentation: what is hidden, what is varied, what is refused."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from loguru import logger

from models import geometry
from trainer.augment import LabelledFace, mirror, vary
from trainer.config import AugmentSettings, DataSettings, TrainSettings
from trainer.dataset import ExampleSource, LabelledFolder
from trainer.pictures import DataError, PictureError, read_picture
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
            LabelledFolder(Path(small_settings.data.root), small_settings.data, small_settings.augment), small_settings.run.seed
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
        batches.append(ExampleSource(data, settings.run.seed, settings.data.loader_threads).batch(range(10), stage(16)))
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

    source = ExampleSource(Recorder(), small_settings.run.seed)  # type: ignore[arg-type]
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
        (lambda row: row.update(nose_x="61.5", nose_s="0.9"), "line 2: box or keypoints lie far outside the picture"),
        (lambda row: row.update(x1="96"), "line 2: box or keypoints lie far outside the picture"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_with_their_place(
    copied: Path, change: Callable[[dict[str, str]], object], message: str
) -> None:
    labels(copied, change)
    with pytest.raises(DataError, match=message) as error:
        open_folder(copied)
    assert "labels.csv" in str(error.value)


def test_a_keypoint_a_little_outside_is_kept_and_an_absent_one_may_be_anywhere(copied: Path) -> None:
    labels(copied, lambda row: row.update(left_ear_x="1.1", left_ear_s="0.9", nose_x="-70", nose_s="0.0"))
    keypoints = open_folder(copied).face(0).keypoints
    assert keypoints[3][0] == pytest.approx(1.1 * 96)
    assert np.isnan(keypoints[0]).all()


@pytest.mark.parametrize("keep", [0, 1], ids=["empty file", "no rows"])
def test_labels_of_no_faces_are_refused(copied: Path, keep: int) -> None:
    lines = (copied / "labels.csv").read_text().splitlines(keepends=True)
    (copied / "labels.csv").write_text("".join(lines[:keep]))
    with pytest.raises(DataError, match=r"labels\.csv: holds no faces"):
        open_folder(copied)


def test_a_jpeg_that_ends_early_is_damaged_and_a_whole_one_with_a_tail_is_not(copied: Path) -> None:
    """Decoders fill up what is missing with gray, without a word."""
    path = sorted(copied.glob("*.jpg"))[0]
    whole = path.read_bytes()
    expected = read_picture(path)
    path.write_bytes(whole + bytes(100))
    assert np.array_equal(read_picture(path), expected)
    for share in (0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(PictureError, match="its end is missing"):
            read_picture(path)


def test_faces_in_pictures_of_many_sizes_are_one_batch(copied: Path, small_settings: TrainSettings) -> None:
    for number, path in enumerate(sorted(copied.glob("*.jpg"))):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (40 + 11 * number, 60 + 7 * number)))
    logger.remove()
    source = ExampleSource(open_folder(copied), small_settings.run.seed)
    assert source.batch(range(16), stage(16)).pictures.shape == (16, 3, 16, 16)
    assert not source.unreadable


def test_a_damaged_picture_that_is_held_back_is_left_out_and_named(copied: Path, small_settings: TrainSettings) -> None:
    data = open_folder(copied, share=0.5)
    source = ExampleSource(data, small_settings.run.seed)
    logger.remove()
    whole = source.validation(4, stage(8))
    broken = next(row.path for row in data._rows[data.training :])
    (copied / broken).write_bytes(b"\xff\xd8 no more")
    assert len(source.validation(4, stage(8)).pictures) == len(whole.pictures) - 1
    assert broken in next(iter(source.unreadable.values()))
    for row in data._rows:
        (copied / row.path).unlink()
    with pytest.raises(DataError, match="none of the pictures held back"):
        source.validation(4, stage(8))


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv: cannot be read"):
        open_folder(tmp_path)


def test_a_damaged_picture_among_others_is_left_out_counted_and_named(copied: Path, small_settings: TrainSettings) -> None:
    damaged = sorted(copied.glob("*.jpg"))[3]
    damaged.write_bytes(damaged.read_bytes()[:40])
    data = open_folder(copied)
    source = ExampleSource(data, small_settings.run.seed)
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
        ExampleSource(open_folder(copied), small_settings.run.seed).example(0, stage(8))

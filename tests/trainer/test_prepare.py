"""Own material becomes a data set that the readers read, however often the work is interrupted."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.detectors import RgbImage
from trainer import synthesize as synthesis
from trainer.cli import build_parser
from trainer.collecting import pose_of, summarize
from trainer.collection import Collection, CollectionError, Description
from trainer.config import AugmentSettings, DataSettings
from trainer.dataset import LabelledFolder
from trainer.fdf import FlickrDiverseFaces
from trainer.labelling import CropSettings, FilterSettings, open_labeller
from trainer.layouts import FaceRow, default_crops
from trainer.media import fingerprint
from trainer.prepare import Preparation
from trainer.schedule import Stage

DEMO_FACES = sorted((Path(__file__).parents[2] / "streamer" / "demo_faces").glob("*.jpg"))
STAGE_32 = Stage(resolution=32, alpha=1.0, batch=1, images_into_phase=0)


def portrait(number: int) -> RgbImage:
    """A face of nobody in wide surroundings, (600, 600, 3)."""
    picture = cv2.cvtColor(cv2.imread(str(DEMO_FACES[number])), cv2.COLOR_BGR2RGB)
    small = cv2.resize(picture, (300, 300), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.copyMakeBorder(small, 150, 150, 150, 150, cv2.BORDER_REPLICATE), np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos, one of them truncated."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.jpg"), cv2.cvtColor(portrait(number), cv2.COLOR_RGB2BGR))
    content = (folder / "2.jpg").read_bytes()
    (folder / "2.jpg").write_bytes(content[: len(content) // 3])
    return folder


def run_command(*arguments: object) -> int:
    words = [str(argument) for argument in arguments]
    parser, runs = build_parser(words)
    parsed = parser.parse_args(words)
    return runs[parsed.subcommand](parsed)


def labels(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def described(layout: str = "labels") -> Description:
    return Description(
        made_by="prepare", layout=layout, terms="tests", filters=FilterSettings(), crops=default_crops(layout), options={}
    )


def test_photos_become_a_data_set_and_a_broken_one_is_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "set"
    assert run_command("prepare", photos, "-o", output) == 4
    error = capsys.readouterr().err
    assert error.count("left out: ") == 1
    assert "2.jpg" in error.split("left out: ")[1]
    rows = labels(output)
    assert len(rows) == 2
    assert len({row["group"] for row in rows}) == 2
    assert all(float(row["left_eye_s"]) > 0 for row in rows)
    assert (output / "contact-sheet.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((output / "statistics.json").read_text())
    assert (figures["faces"], figures["groups"]) == (2, 2)
    data = LabelledFolder(output, DataSettings(kind="labels", root=str(output), validation_share=0.0), AugmentSettings())
    example = data.example(0, STAGE_32, np.random.default_rng(0))
    assert example.picture.shape == (32, 32, 3)
    assert example.mask.any()


def test_a_second_run_adds_only_what_is_new(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, folder = tmp_path / "set", tmp_path / "photos"
    folder.mkdir()
    shutil.copy(photos / "0.jpg", folder / "0.jpg")
    assert run_command("prepare", folder, "-o", output) == 0
    first = labels(output)
    shutil.copy(photos / "0.jpg", folder / "the same under another name.jpg")
    shutil.copy(photos / "1.jpg", folder / "1.jpg")
    assert run_command("prepare", folder, "-o", output) == 0
    rows = labels(output)
    assert rows[: len(first)] == first
    assert len(rows) == len(first) + 1
    assert run_command("prepare", folder, "-o", output, "--min-width", "60") == 2
    assert "min_width 48" in capsys.readouterr().err


def test_the_published_layout_is_read_back(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "fdf"
    assert run_command("prepare", photos / "0.jpg", photos / "1.jpg", "-o", output, "--layout", "fdf") == 0
    data = FlickrDiverseFaces(
        output, DataSettings(kind="fdf", root=str(output), validation_images=0), AugmentSettings(flip=0, box_jitter=0)
    )
    assert len(data) == 2
    whole, half = (data.example(0, Stage(resolution=size, alpha=1.0, batch=1, images_into_phase=0), np.random.default_rng(0))
                   for size in (128, 64))  # fmt: skip
    sums = whole.picture.astype(int).reshape(64, 2, 64, 2, 3).sum((1, 3))
    assert np.array_equal(half.picture, sums // 4)


def write_video(path: Path, numbers: list[int]) -> None:
    """Half a second of each of these faces at 8 pictures a second."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8, options={"crf": "12", "threads": "1"})
        stream.width = stream.height = 600
        stream.pix_fmt = "yuv420p"
        for number in numbers:
            for _ in range(4):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(portrait(number), "rgb24")))
        container.mux(stream.encode(None))


def test_a_video_is_one_group_and_gives_no_face_twice(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", [3, 3, 4])
    output = tmp_path / "set"
    assert run_command("prepare", tmp_path / "clip.mp4", "-o", output, "--every", "0.25") == 0
    rows = labels(output)
    assert len(rows) == 2
    assert len({row["group"] for row in rows}) == 1
    assert json.loads((output / "statistics.json").read_text())["left_out"]["repeated"] >= 3


class Killed(BaseException):
    """Like a process that is gone."""


def test_an_interrupted_run_ends_with_the_same_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "clip.mp4", [3, 4, 5])
    filters, crops = FilterSettings(), CropSettings()
    labeller = open_labeller(filters, crops, size="default", threads=1)

    def make(root: Path) -> None:
        with Collection(root, described()) as collection:
            Preparation(collection, labeller, 0.25).take(tmp_path / "clip.mp4")
            collection.write_labels()

    make(tmp_path / "whole")
    original, calls = Collection.add, iter(range(100))

    def dying(self: Collection, *arguments: object, **named: object) -> None:
        if next(calls) == 3:
            raise Killed
        original(self, *arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Collection, "add", dying)
        with pytest.raises(Killed):
            make(tmp_path / "parts")
    with (tmp_path / "parts" / "journal.jsonl").open("ab") as file:
        file.write(b'{"source": "half a li')  # as a kill leaves it
    make(tmp_path / "parts")
    assert (tmp_path / "parts" / "labels.csv").read_text() == (tmp_path / "whole" / "labels.csv").read_text()


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(CollectionError, match="holds other files"):
        Collection(tmp_path, described())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.jpg"], 3, "nowhere.jpg: no such file or folder"),
        (["{empty}"], 3, "holds no photos or videos"),
        (["{text}"], 3, "text.mp4"),
        (["{photo}", "--every", "0"], 2, "--every"),
        (["{photo}", "--min-score", "2"], 2, "min_score"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, message: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("not a video")
    names = {"empty": tmp_path / "empty", "text": tmp_path / "text.mp4", "photo": photos / "0.jpg"}
    assert run_command("prepare", *(word.format(**names) for word in arguments), "-o", tmp_path / "set") == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_the_same_content_has_the_same_fingerprint(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "0.jpg", tmp_path / "other.jpg")
    assert fingerprint(tmp_path / "other.jpg") == fingerprint(photos / "0.jpg") != fingerprint(photos / "1.jpg")


def row(nose_x: float, *, score: float = 0.9) -> FaceRow:
    points = ((nose_x, 0.6, score), (0.6, 0.5, 0.9), (0.4, 0.5, 0.9), *((0.0, 0.0, 0.0),) * 4)
    return FaceRow(
        path="a", group="g", set="own", gray=False, score=0.9, box=(0.2, 0.2, 0.8, 0.8), keypoints=points, width_px=50,
        brightness=100, sharpness=0.1, time_s=0,
    )  # fmt: skip


def test_pose_is_where_the_nose_is_between_the_eyes() -> None:
    assert [pose_of(row(x)) for x in (0.5, 0.55, 0.62)] == ["ahead", "half", "profile"]
    assert pose_of(row(0.5, score=0.0)) == "unknown"
    assert summarize([row(0.5)] * 3, 7, Counter(small=2))["width_px"] == [50, 50, 50, 50, 50]
    assert summarize([], 0, Counter())["score"] is None


class Portraits:
    """Demo faces in place of a generator."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def portrait(self, index: int) -> RgbImage:
        self.made.append(index)
        return portrait(index % len(DEMO_FACES))


def test_portraits_are_made_once_and_labelled(tmp_path: Path) -> None:
    labeller = open_labeller(FilterSettings(), CropSettings(), size="default", threads=1)
    portraits = Portraits()
    for count in (2, 4):
        with Collection(tmp_path / "set", described()) as collection:
            synthesis.synthesize(collection, labeller, portraits, range(count))
            collection.write_labels()
    assert portraits.made == [0, 1, 2, 3]
    assert [row["group"] for row in labels(tmp_path / "set")] == [f"portrait {index}" for index in range(4)]


class WholePortraits:
    """The demo faces as a generator of portraits frames them: the face takes 70 to 85 % of the height."""

    def __init__(self, threads: int) -> None:
        pass

    def portrait(self, index: int) -> RgbImage:
        picture = cv2.cvtColor(cv2.imread(str(DEMO_FACES[index])), cv2.COLOR_BGR2RGB)
        return np.asarray(picture, np.uint8)


def test_portraits_are_not_left_out_for_their_framing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "RandomFace", WholePortraits)
    assert run_command("synthesize", "-o", tmp_path / "all", "--count", "8") == 0
    rows = labels(tmp_path / "all")
    assert len(rows) == 8
    longer_sides = [max(float(row["x1"]) - float(row["x0"]), float(row["y1"]) - float(row["y0"])) for row in rows]
    assert max(longer_sides) > 1 / 1.25
    settings = DataSettings(kind="labels", root=str(tmp_path / "all"), validation_share=0.0)
    data = LabelledFolder(tmp_path / "all", settings, AugmentSettings())
    for number in range(len(data)):
        assert not data.example(number, STAGE_32, np.random.default_rng(number)).mask.all()
    assert run_command("synthesize", "-o", tmp_path / "wide", "--count", "8", "--min-surroundings", "1.25") == 0
    assert 0 < len(labels(tmp_path / "wide")) < 8
    left_out = json.loads((tmp_path / "wide" / "statistics.json").read_text())["left_out"]
    assert left_out == {"too close": 8 - len(labels(tmp_path / "wide"))}


def test_a_portrait_depends_on_its_number_alone() -> None:
    one, other = synthesis.latent(5), synthesis.latent(5)
    assert np.array_equal(one[0], other[0])
    assert one[1] == other[1]
    assert not np.array_equal(one[0], synthesis.latent(6)[0])
    assert 0.75 <= one[1] <= 1.0


@pytest.fixture
def _without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis.importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("_without_packages")
def test_a_missing_package_is_one_line_that_says_what_to_install(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("synthesize", "-o", tmp_path / "set", "--count", "1") == 2
    error = capsys.readouterr().err
    assert "pip install" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "set").exists()

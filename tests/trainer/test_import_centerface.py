"""The import takes the published file and no other, and writes only weights that answer the same."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from models.backends.cpu import CpuBackend
from models.centerface import CenterFace, PictureInput
from models.weights import MANIFEST, read_weights
from trainer.import_centerface import ConversionError, export, network_of, published_maps, run, with_scores, write_weights

HEADS = (1, 2, 2, 10)


def published_like(network: CenterFace) -> onnx.ModelProto:
    """A file laid out as the published one, with the weights of `network`: batch norm after each upsampling, four heads."""
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    names = {module: name for name, module in network.named_modules()}
    nodes: list[onnx.NodeProto] = []
    tensors: list[TensorProto] = []

    def add(kind: str, source: list[str], parameters: list[np.ndarray], **attributes: object) -> str:
        output = f"v{len(nodes)}"
        inputs = list(source)
        for index, value in enumerate(parameters):
            inputs.append(f"{output}.{index}")
            tensors.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), inputs[-1]))
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolve(module: torch.nn.Conv2d, source: str, *, is_linear: bool = False) -> str:
        name = names[module]
        pads, strides = [module.padding[0]] * 4, list(module.stride)
        parameters = [state[f"{name}.weight"], state[f"{name}.bias"]]
        output = add("Conv", [source], parameters, group=module.groups, pads=pads, strides=strides)
        return output if is_linear else add("Relu", [output], [])

    x = convolve(network.stem, "picture")
    taps = []
    for group in network.groups:
        for block in group:
            y = x if block.expand is None else convolve(block.expand, x)
            y = convolve(block.project, convolve(block.depthwise, y), is_linear=True)
            x = add("Add", [x, y], []) if block.is_residual else y
        taps.append(x)
    taps = [taps[index] for index in (1, 2, 4, 6)]
    x = convolve(network.laterals[3], taps[3])
    for level in (2, 1, 0):
        name = names[network.upsamples[level]]
        mean, gain = np.full(24, 0.25, np.float32), np.full(24, 2.0, np.float32)
        x = add("ConvTranspose", [x], [state[f"{name}.weight"] / 2], strides=[2, 2])
        shift = state[f"{name}.bias"] + mean * gain
        x = add("BatchNormalization", [x], [gain, shift, mean, np.full(24, 1 - 1e-3, np.float32)], epsilon=1e-3)
        x = add("Add", [add("Relu", [x], []), convolve(network.laterals[level], taps[level])], [])
    x = convolve(network.fuse, x)
    outputs = []
    start = 0
    for channels in HEADS:
        rows = slice(start, start + channels)
        outputs.append(add("Conv", [x], [state["heads.weight"][rows], state["heads.bias"][rows]]))
        start += channels
    outputs[0] = add("Sigmoid", [outputs[0]], [])
    graph = helper.make_graph(
        nodes,
        "published",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [10, 3, 32, 32])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [10, count, 8, 8])
            for name, count in zip(outputs, HEADS, strict=True)
        ],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)


@pytest.fixture(scope="module")
def network() -> CenterFace:
    torch.manual_seed(3)
    return CenterFace().eval()


@pytest.fixture(scope="module")
def published(network: CenterFace) -> onnx.ModelProto:
    return published_like(network)


def pictures() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)


def test_the_mapped_network_answers_like_the_file(published: onnx.ModelProto) -> None:
    with torch.no_grad():
        maps = PictureInput(network_of(published))(torch.from_numpy(pictures())).numpy()
    np.testing.assert_allclose(with_scores(maps), published_maps(published, pictures()), atol=1e-4)


def test_the_exported_file_answers_like_the_network(network: CenterFace) -> None:
    exported = export(network)
    with torch.no_grad():
        expected = PictureInput(network)(torch.from_numpy(pictures())).numpy()
    np.testing.assert_allclose(CpuBackend(exported).run([pictures()])[0], expected, atol=1e-4)
    assert b"/trainer/" not in exported


def test_a_missing_layer_is_refused(published: onnx.ModelProto) -> None:
    shorter = onnx.ModelProto()
    shorter.CopyFrom(published)
    last = [index for index, node in enumerate(shorter.graph.node) if node.op_type == "Conv"][-1]
    del shorter.graph.node[last]
    with pytest.raises(ConversionError, match="not CenterFace as published") as caught:
        network_of(shorter)
    assert "\n" not in str(caught.value)


def test_a_layer_too_many_is_refused(published: onnx.ModelProto) -> None:
    longer = onnx.ModelProto()
    longer.CopyFrom(published)
    longer.graph.node.append(longer.graph.node[0])
    with pytest.raises(ConversionError, match="not CenterFace as published"):
        network_of(longer)


def test_another_file_is_refused_and_nothing_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "centerface.onnx"
    source.write_bytes(b"another network")
    output = tmp_path / "weights"
    assert run(argparse.Namespace(file=source, output=output)) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{source}: SHA-256 is ")
    assert error.count("\n") == 1
    assert not output.exists()


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argparse.Namespace(file=tmp_path / "absent.onnx", output=tmp_path)) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_written_weights_can_be_read_and_other_lines_of_the_manifest_stay(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"other.onnx": "00"}')
    write_weights(tmp_path, b"network")
    assert read_weights("centerface.onnx", tmp_path) == b"network"
    assert json.loads((tmp_path / MANIFEST).read_text())["other.onnx"] == "00"

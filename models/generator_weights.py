"""The generator's weights on disk: safetensors with metadata, and the published checkpoints.

training -> save_generator -> .safetensors -> load_generator -> generator_export
published checkpoint -> read_published -> save_generator
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import re
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from models.generator import Generator, GeneratorArchitecture
from models.geometry import PAPER_EXPANSION
from models.weights import WeightsError

FORMAT = "veil-generator-1"

Built = TypeVar("Built", bound=nn.Module)

PUBLISHED_TERMS = (
    "non-commercial use only: trained on FDF (Flickr photographs under Creative Commons licences, most of them non-commercial)"
)
"""Terms of the published DeepPrivacy weights."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where weights come from.

    training_data: what they were trained on. terms: what they may be used for. images_seen: images the discriminator saw, 0 = not
    known. expansion: of the crops they were trained on, as `geometry.expand_to_square` takes it.
    """

    training_data: str
    terms: str
    images_seen: int
    expansion: float = PAPER_EXPANSION


def digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and values of all tensors in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is complete under its name or not there; a file of that name is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def save_generator(path: Path, generator: Generator, provenance: Provenance) -> None:
    """Write a generator that has finished growing; the layers of a fade are left out."""
    weights = {name: value.detach().cpu().contiguous() for name, value in generator.state_dict().items() if "_old." not in name}
    metadata = {
        "format": FORMAT,
        "architecture": json.dumps(asdict(generator.architecture)),
        "provenance": json.dumps(asdict(provenance)),
        "sha256": digest(weights),
    }
    write_atomically(path, to_safetensors(weights, metadata))


def format_of(path: Path) -> str:
    """What a file of weights says that it is, "" where it says nothing. Raises WeightsError where it cannot be read."""
    return _read(path)[0].get("format", "")


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file. Raises WeightsError."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: damaged or not a safetensors file ({error})") from error


def read_tensors(path: Path, format_name: str, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file of ours.

    format_name: what its metadata must say. what: whose weights they should be, for the message.
    Raises WeightsError unless every tensor is there and unchanged.
    """
    metadata, weights = _read(path)
    if metadata.get("format") != format_name:
        raise WeightsError(f"{path}: not the weights of {what} (format is {metadata.get('format')!r}, {format_name!r} is needed)")
    if digest(weights) != metadata.get("sha256"):
        raise WeightsError(f"{path}: damaged: its values do not match their checksum")
    return weights, metadata


def load_generator(path: Path) -> tuple[Generator, Provenance]:
    """Read what `save_generator` wrote, ready for inference. Raises WeightsError unless every tensor is there and unchanged."""
    weights, metadata = read_tensors(path, FORMAT, "a generator")
    architecture, provenance = read_description(path, metadata)
    return with_tensors(path, Generator(architecture), weights), provenance


def read_description(path: Path, metadata: Mapping[str, str]) -> tuple[GeneratorArchitecture, Provenance]:
    """What the metadata of a file of weights, .safetensors or .onnx, says about it. Raises WeightsError where it says nothing."""
    try:
        fields = json.loads(metadata["architecture"])
        architecture = GeneratorArchitecture(**{**fields, "widths": tuple(fields["widths"])})
        return architecture, Provenance(**json.loads(metadata["provenance"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its description cannot be read ({error})") from error


def with_tensors(path: Path, network: Built, weights: Mapping[str, Tensor]) -> Built:
    """The network with these weights, ready for inference. Raises WeightsError where they do not fit it."""
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if wanted != found:
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        name = wrong[0]
        difference = f"{name} is {found.get(name, 'missing')}, needed is {wanted.get(name, 'none')}"
        raise WeightsError(f"{path}: {len(wrong)} tensors do not fit the architecture; {difference}")
    network.load_state_dict(dict(weights), strict=True)
    return network.eval().requires_grad_(False)


def read_published(path: Path) -> tuple[Generator, Provenance]:
    """Read the generator of a checkpoint published with DeepPrivacy (version 1, or the flat layout of version 2).

    Takes the running average. The file is read without unpickling anything but tensors and plain containers.
    Raises WeightsError where it is damaged or not such a file.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: damaged, or holds more than weights ({str(error).splitlines()[0]})") from error
    average = content.get("running_average_generator") if isinstance(content, dict) else None
    if not isinstance(average, Mapping):
        raise WeightsError(f"{path}: not a DeepPrivacy checkpoint (it has no running_average_generator)")
    parameters = average.get("parameters", average)
    if not isinstance(parameters, Mapping) or not all(isinstance(value, Tensor) for value in parameters.values()):
        raise WeightsError(f"{path}: not a DeepPrivacy checkpoint (its running_average_generator holds no tensors)")
    try:
        weights = {name: value for name, value in rename_published(parameters).items() if "_old." not in name}
        architecture = _architecture_of(weights)
    except (ValueError, KeyError, IndexError) as error:
        raise WeightsError(f"{path}: not a DeepPrivacy generator ({error})") from error
    return with_tensors(path, Generator(architecture), weights), Provenance(
        training_data="FDF (Flickr Diverse Faces), by the authors of DeepPrivacy",
        terms=PUBLISHED_TERMS,
        images_seen=int(content["global_step"]) if isinstance(content.get("global_step"), int) else 0,
    )


PUBLISHED_NAMES_2: tuple[tuple[str, str], ...] = (
    (r"encoder\.from_rgb\.conv\.0", "from_rgb.conv"),
    (r"to_rgb", "to_rgb"),
    (r"decoder\.conv1x1\.conv\.0", "decoder.{0}.merge.conv"),
    (r"decoder\.skip_connection(?P<level>\d+)\.conv\.layers\.0", "decoder.{0}.merge.conv"),
    (r"(?P<side>encoder|decoder)\.basic_block(?P<level>\d+)\.layers\.(?P<order>[03])", "{1}.{0}.{2}.conv"),
)
"""Names in the flat layout of version 2; {0} is the resolution 4 * 2**level, {1} the side, {2} first or second."""


def rename_published(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a published generator (either layout) under the names used here, fading layers included.

    Raises ValueError on a tensor that is no part of such a generator.
    """
    version_1 = _names_of_version_1(parameters) if any(name.startswith("core_blocks_up.") for name in parameters) else None
    renamed: dict[str, Tensor] = {}
    for name, value in parameters.items():
        owner, _, kind = name.rpartition(".")
        target = _name_of_version_2(owner) if version_1 is None else version_1.get(owner.removesuffix(".conv"))
        if target is None or kind not in ("weight", "bias"):
            raise ValueError(f"unknown tensor {name}")
        renamed[f"{target}.{kind}"] = value.reshape(-1) if kind == "bias" else value
    return renamed


def _names_of_version_1(parameters: Mapping[str, Tensor]) -> dict[str, str]:
    """What each convolution of version 1 is called here; the numbering depends on how far the network has grown."""
    top = 1 + max(int(name.split(".")[1]) for name in parameters if name.startswith("core_blocks_up."))
    names = {
        "from_rgb_new.0": "from_rgb.conv",
        "from_rgb_old.1.0": "from_rgb_old.conv",
        "to_rgb_new": "to_rgb",
        "to_rgb_old": "to_rgb_old",
    }
    for order, half in enumerate(("first", "second")):
        for level in range(top + 1):
            size, depth = 4 << level, top - 1 - level
            below = {
                top: f"new_down.0.model.{order}.0",
                top - 1: f"core_blocks_down.0.0.model.{order}.0",
                0: f"core_blocks_down.{depth}.1.{order}.0",
            }
            names[below.get(level, f"core_blocks_down.{depth}.1.model.{order}.0")] = f"encoder.{size}.{half}.conv"
            block = "new_up" if level == top else f"core_blocks_up.{level}" if level else "core_blocks_up.0.0"
            names[f"{block}.1.model.{order}.0"] = f"decoder.{size}.{half}.conv"
            names[f"{block}.0.0"] = f"decoder.{size}.merge.conv"
    return names


def _name_of_version_2(owner: str) -> str | None:
    for pattern, target in PUBLISHED_NAMES_2:
        if found := re.fullmatch(pattern, owner):
            parts = found.groupdict()
            order = {"0": "first", "3": "second"}.get(parts.get("order", ""), "")
            return target.format(4 << int(parts.get("level", 0)), parts.get("side", ""), order)
    return None


def _architecture_of(weights: Mapping[str, Tensor]) -> GeneratorArchitecture:
    """The shape of a published generator, from the shapes of its tensors; `with_tensors` then checks every one."""
    sizes = sorted(int(name.split(".")[1]) for name in weights if re.fullmatch(r"decoder\.\d+\.second\.conv\.weight", name))
    widths = tuple(weights[f"decoder.{size}.second.conv.weight"].shape[0] for size in sizes)
    keypoints = weights["decoder.8.merge.conv.weight"].shape[1] - 2 * widths[0]
    noise_planes = weights["decoder.4.merge.conv.weight"].shape[1] - widths[0] - keypoints
    return GeneratorArchitecture(resolution=sizes[-1], widths=widths, keypoints=keypoints, noise_planes=noise_planes)


def parameter_count(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(math.prod(value.shape) for value in network.parameters())

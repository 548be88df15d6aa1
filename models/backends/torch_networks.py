"""Exported networks as torch modules again, with the exported file's own weights, so that all backends serve the same bytes.

    ONNX bytes -> names and values of its weights -> CenterFace, KeypointNetwork or Generator

The exporter keeps the names of the parameters, and no code of the file is run: the modules are those of this package.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from models import generator_weights, keypoint_weights
from models.centerface import BACKBONE, CenterFace, PictureInput
from models.generator import Generator, GeneratorArchitecture
from models.generator_export import as_exported
from models.keypoint_network import ConfidentKeypoints, ConvolutionUnit, KeypointArchitecture, KeypointNetwork
from models.refiner import Refiner, RefinerArchitecture
from models.weights import WeightsError


@dataclass(frozen=True, kw_only=True)
class TorchNetwork:
    """module: takes and returns tensors in the order of the exported file, ready for inference. names: of its inputs, in order.
    metadata: what the file says of itself.
    """

    module: nn.Module
    names: tuple[str, ...]
    metadata: Mapping[str, str]


def read_network(network: bytes) -> TorchNetwork:
    """The exported network in torch. Raises WeightsError where it is none of ours, or not as this version exports it."""
    try:
        model = onnx.load_from_string(network)
    except DecodeError as error:
        raise WeightsError(f"not an ONNX file ({error})") from error
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    weights = {value.name: torch.from_numpy(numpy_helper.to_array(value).copy()) for value in model.graph.initializer}
    form = metadata.get("format", "")
    if form not in _MAKERS:
        raise WeightsError(f"a network of the format {form!r} cannot be run by torch")
    try:
        module = _MAKERS[form](weights, metadata).eval().requires_grad_(False)
        # Constants of the graph are among the weights of the file, but nothing of the module may be missing there.
        module.load_state_dict({name: weights[name] for name in module.state_dict()}, strict=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"the exported network does not fit its architecture ({str(error).splitlines()[0]})") from error
    return TorchNetwork(module=module, names=tuple(value.name for value in model.graph.input), metadata=metadata)


def exported_generator(architecture: GeneratorArchitecture, refiner: RefinerArchitecture | None = None) -> nn.Module:
    """A generator in the form in which `export_onnx` writes it: scales folded, epsilon large enough for half precision."""
    return as_exported(Generator(architecture), None if refiner is None else Refiner(refiner))


def _make_generator(weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> nn.Module:
    fields = json.loads(metadata["architecture"])
    refiner = RefinerArchitecture(**json.loads(metadata["refiner"])) if "refiner" in metadata else None
    return exported_generator(GeneratorArchitecture(**{**fields, "widths": tuple(fields["widths"])}), refiner)


def _make_keypoints(weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> nn.Module:
    fields = json.loads(metadata["architecture"])
    network = KeypointNetwork(KeypointArchitecture(**{**fields, "widths": tuple(fields["widths"])})).eval()
    for module in network.modules():
        if isinstance(module, ConvolutionUnit):
            module.fold()
    network.calibration = keypoint_weights.read_calibration(metadata.get("calibration", "null"))
    return ConfidentKeypoints(network)


def _make_centerface(weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> nn.Module:
    blocks = [(group, block) for group, row in enumerate(BACKBONE) for block in range(row.repeats)]
    return PictureInput(CenterFace([len(weights[f"network.groups.{group}.{block}.depthwise.weight"]) for group, block in blocks]))


_MAKERS: dict[str, Callable[[Mapping[str, Tensor], Mapping[str, str]], nn.Module]] = {
    generator_weights.FORMAT: _make_generator,
    keypoint_weights.FORMAT: _make_keypoints,
    "": _make_centerface,
}
"""Format in the metadata -> what makes the module; the detector's file says nothing of itself."""

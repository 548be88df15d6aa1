"""Export to ONNX: a generator, alone or with its refiner, as one network with everything that its layers imply.

.safetensors -> Generator (-> RefinedGenerator) -> export_onnx -> .onnx (what serving runs)
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.generator import Generator
from models.generator_weights import FORMAT, Provenance, write_atomically
from models.layers import EqualizedConv2d, GeneratorBlock, fold_scales
from models.refiner import FACTOR, RefinedGenerator, Refiner

EXPORT_EPSILON_SUM = 2e-7
"""Smallest constant inside an exported pixel norm (channels times epsilon): exporters delete an added 1e-8 as if it were zero."""


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Without the exporter's remarks on its own internals and on packages that are not needed."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


class ExportedGenerator(nn.Module):
    """A generator, refined or not, whose inputs are all tensors, for the exporter."""

    def __init__(self, generator: Generator | RefinedGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, *inputs: Tensor) -> Tensor:
        result: Tensor = self.generator(*inputs)
        return result


def _exportable(generator: Generator, refiner: Refiner | None) -> ExportedGenerator:
    """A copy of the networks on the CPU, with all scales folded into the weights."""
    network = Generator(generator.architecture)
    network.load_state_dict({name: value.detach().cpu() for name, value in generator.state_dict().items() if "_old." not in name})
    copied = None
    if refiner is not None:
        copied = Refiner(refiner.architecture)
        copied.load_state_dict({name: value.detach().cpu() for name, value in refiner.state_dict().items()})
    for each in (network, copied):
        if each is not None:
            fold_scales(each)
    return as_exported(network, copied)


def as_exported(generator: Generator, refiner: Refiner | None) -> ExportedGenerator:
    """Networks whose weights have their scales folded in already, in the form that is exported; they are changed."""
    network: Generator | RefinedGenerator = generator if refiner is None else RefinedGenerator(generator, refiner)
    for module in network.modules():
        if isinstance(module, EqualizedConv2d):
            module.scale = 1.0
        if isinstance(module, GeneratorBlock):
            module.epsilon = max(module.epsilon, EXPORT_EPSILON_SUM / module.conv.weight.shape[0])
    return ExportedGenerator(network).eval()


def export_onnx(path: Path, generator: Generator, provenance: Provenance, refiner: Refiner | None = None) -> None:
    """Write the generator, with a refiner both, as one ONNX file with any batch size.

    Inputs, float32: image (B, 3, R, R) in [-1, 1], keypoints (B, 2 K), noise (B, noise planes, 4, 4) and, with a mask channel,
    mask (B, 1, R, R).
    Output: painted (B, 3, R, R). R is twice the generator's resolution where there is a refiner. Hiding what the mask marks, the
    pose planes and keeping the known pixels are part of the graph. The metadata of the file holds architectures and provenance.
    The given networks are not changed.
    """
    import onnx  # export alone needs it

    a = generator.architecture
    resolution = a.resolution if refiner is None else FACTOR * a.resolution
    network = _exportable(generator, refiner)
    names = ["image", "keypoints", "noise"] + ["mask"] * a.has_mask
    shapes = {
        "image": (3, resolution, resolution),
        "keypoints": (2 * a.keypoints,),
        "noise": (a.noise_planes, 4, 4),
        "mask": (1, resolution, resolution),
    }
    # A batch of two: the exporter takes one for a constant.
    examples = tuple(torch.zeros(2, *shapes[name]) for name in names)
    batch = torch.export.Dim("batch", min=1, max=1024)
    with quiet_exporter():
        program = torch.onnx.export(
            network,
            examples,
            dynamo=True,
            input_names=names,
            output_names=["painted"],
            dynamic_shapes=(tuple({0: batch} for _ in names),),
            opset_version=20,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the exporter returned nothing")
    model = program.model_proto
    forget_its_making(model)
    described: dict[str, Any] = {
        "format": FORMAT,
        "architecture": json.dumps(asdict(a)),
        "provenance": json.dumps(asdict(provenance)),
    }
    if refiner is not None:
        described["refiner"] = json.dumps(asdict(refiner.architecture))
    onnx.helper.set_model_props(model, described)
    onnx.checker.check_model(model, full_check=True)
    write_atomically(path, model.SerializeToString(deterministic=True))


def forget_its_making(model: Any) -> None:
    """Remove what the exporter notes of the code and the folders from which an ONNX model was made."""
    for node in model.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]

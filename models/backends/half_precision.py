"""The networks as TensorRT gets them: half precision, except where its range or its steps do not do, at one fixed shape.

    TorchNetwork -> HalfPrecision -> torch.export -> (torch_tensorrt)

Statistics stay in single precision inside the networks (pixel norm, contrast). Pictures come as bytes and are widened before
their channels are moved, because engines cannot move bytes. Answers leave as the network computes them: half as many bytes travel.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from models.backends.engine_cache import Forms
from models.backends.engine_runtime import BUILD_SETTINGS
from models.backends.torch_networks import TorchNetwork

SINGLE_PRECISION_INPUTS = frozenset({"keypoints", "crops"})
"""Coordinates, of which a pixel depends on the last bits, and crops, whose contrast is evened out first."""


class HalfPrecision(nn.Module):
    """A network of ours with halved weights and the inputs of the exported file."""

    def __init__(self, network: TorchNetwork) -> None:
        super().__init__()
        self.module = copy.deepcopy(network.module).half()
        self.names = network.names

    def forward(self, *inputs: Tensor) -> Tensor:
        named = zip(self.names, inputs, strict=True)
        answer: Tensor = self.module(*(value.float() if name in SINGLE_PRECISION_INPUTS else value.half() for name, value in named))
        return answer


def export(network: TorchNetwork, forms: Forms, device: str = "cpu") -> ExportedProgram:
    """The half-precision network at these shapes."""
    examples = tuple(torch.zeros(form.shape, dtype=getattr(torch, form.dtype), device=device) for form in forms)
    with torch.no_grad():
        return torch.export.export(HalfPrecision(network).eval().to(device), examples)


def specifications(compiler: Any, forms: Forms) -> list[Any]:
    """The same shapes in the words of torch_tensorrt. compiler: that package."""
    return [compiler.Input(form.shape, dtype=getattr(torch, form.dtype)) for form in forms]


def compile_plan(compiler: Any, network: TorchNetwork, forms: Forms, device: str) -> bytes:
    """The plan of the engine of a network at these shapes. compiler: torch_tensorrt. Raises whatever that raises."""
    # The compiler's own place for timings, which TensorRT reads, is a folder that everybody can write.
    with tempfile.TemporaryDirectory(prefix="veil-engine-") as folder:
        plan = compiler.dynamo.convert_exported_program_to_serialized_trt_engine(
            export(network, forms, device),
            arg_inputs=specifications(compiler, forms),
            timing_cache_path=str(Path(folder) / "timing.bin"),
            cache_built_engines=False,
            reuse_cached_engines=False,
            **BUILD_SETTINGS,
        )
    return bytes(plan)

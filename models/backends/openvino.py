"""OpenVINO on the CPU; reads the same ONNX bytes as the others. Its telemetry is kept from being imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backends import Precision


def import_openvino() -> Any:
    """The package without its telemetry: importing it reports the import to its makers unless this module is missing."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    return importlib.import_module("openvino")


def has_fast_bfloat16(flags: Collection[str]) -> bool:
    """Whether a processor with these flags computes faster in bfloat16 than in single precision. With AVX-512 alone it can, but
    slower: OpenVINO takes 1.6 times as long for the generator, and would choose it all the same.
    """
    return "amx_bf16" in flags


def _processor_flags() -> frozenset[str]:
    """As Linux names them; none where it does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


class OpenVinoBackend:
    """Runs an ONNX network; waits without spinning."""

    name = "openvino"

    def __init__(self, network: bytes, *, threads: int = 1, precision: Precision = "single") -> None:
        """precision: where bfloat16 is enough, OpenVINO computes in it if the processor multiplies matrices of it (AMX).

        Raises RuntimeError where OpenVINO cannot read or compile the network.
        """
        core = import_openvino().Core()
        model = core.read_model(network)
        described = dict(model.rt_info).get("framework", {})
        self._metadata = {key: str(value.value) for key, value in described.items()}
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        if precision == "single" or not has_fast_bfloat16(_processor_flags()):
            options["INFERENCE_PRECISION_HINT"] = "f32"
        compiled = core.compile_model(model, "CPU", options)
        used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self._providers = tuple(f"{device} {used}" for device in compiled.get_property("EXECUTION_DEVICES"))
        self._request = compiled.create_infer_request()
        self._outputs = range(len(compiled.outputs))

    @property
    def providers(self) -> tuple[str, ...]:
        return self._providers

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._metadata

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        answers = self._request.infer([np.ascontiguousarray(value) for value in inputs], share_inputs=True)
        return [answers[index] for index in self._outputs]

"""OpenVINO on the CPU; reads the same ONNX bytes as the others. Its telemetry is kept from being imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backends import Precision


def import_openvino() -> Any:
    """The package without its telemetry: importing it reports the import to its makers unless this module is missing."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    return importlib.import_module("openvino")


class OpenVinoBackend:
    """Runs an ONNX network; waits without spinning."""

    name = "openvino"

    def __init__(self, network: bytes, *, threads: int = 1, precision: Precision = "single") -> None:
        """precision: where bfloat16 is enough, OpenVINO computes in what the processor does fastest.

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
        if precision == "single":
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

"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

# Heeded at its import only: else it keeps the number of a session for its maker's statistics in the folder for temporary files.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from numpy.typing import NDArray

from models.backends import Precision

ERRORS_ONLY = 3


class CpuBackend:
    """Runs an ONNX network; waits without spinning, because decoder and encoder want the same cores."""

    name = "cpu"

    def __init__(self, network: bytes, *, threads: int = 1, precision: Precision = "single") -> None:
        """precision: more than is needed is given."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        self._input_names = [value.name for value in self._session.get_inputs()]

    @property
    def input_names(self) -> tuple[str, ...]:
        """As exported, in order."""
        return tuple(self._input_names)

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(self._session.get_providers())

    @property
    def metadata(self) -> Mapping[str, str]:
        described: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return described

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        outputs: list[NDArray[Any]] = self._session.run(None, dict(zip(self._input_names, inputs, strict=True)))
        return outputs

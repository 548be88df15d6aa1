"""A runtime for engines that needs no GPU: a plan is text that names what it was built from, and ONNX Runtime answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backends.cpu import CpuBackend
from models.backends.engine_cache import Forms
from models.backends.engine_runtime import Engine, EngineError


class FakeEngine:
    """Takes inputs of its own forms only; adds `error` to every answer."""

    def __init__(self, runtime: FakeRuntime, forms: list[Any]) -> None:
        self._runtime, self._forms = runtime, forms

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        given = [{"dtype": str(value.dtype), "shape": list(value.shape)} for value in inputs]
        if given != self._forms:
            raise EngineError(f"inputs of {given} for an engine of {self._forms}")
        self._runtime.runs.append(len(inputs[0]))
        if len(self._runtime.runs) > self._runtime.runs_before_failure:
            raise EngineError("the GPU has fallen off the bus")
        return [answer + np.float32(self._runtime.error) for answer in self._runtime.network.run(inputs)]


@dataclass
class FakeRuntime:
    """Satisfies EngineRuntime."""

    network: CpuBackend
    error: float = 0.0
    runs_before_failure: int = 1_000_000
    settings: Mapping[str, Any] = field(default_factory=lambda: {"form": 1})
    versions: dict[str, str] = field(default_factory=lambda: {"tensorrt": "11.1", "gpu": "Fake 4090", "driver": "580"})
    builds: list[Forms] = field(default_factory=list)
    loads: int = 0
    runs: list[int] = field(default_factory=list)
    """The batch of each run of an engine."""

    def platform(self) -> Mapping[str, str]:
        return dict(self.versions)

    def build(self, network: bytes, forms: Forms) -> bytes:
        self.builds.append(forms)
        return json.dumps([asdict(form) for form in forms]).encode()

    def load(self, plan: bytes) -> Engine:
        self.loads += 1
        return FakeEngine(self, json.loads(plan))

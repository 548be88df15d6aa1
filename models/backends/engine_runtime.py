"""What builds and runs TensorRT engines, behind two small protocols so that everything around it can be tested without a GPU.

exported network -> HalfPrecision -> torch.export -> torch_tensorrt -> plan (bytes) -> CudaEngine -> arrays
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.backends.engine_cache import Forms
from models.backends.nvidia import first_gpu

BUILD_SETTINGS: dict[str, Any] = {"min_block_size": 1, "require_full_compilation": True}
"""Of torch_tensorrt: all of a network in one engine, or none at all. Precision is that of the exported program."""
FORM = 1
"""Counts the changes of what is exported; engines of another form are not found again."""


class EngineError(Exception):
    """An engine cannot be built, read or run; one line."""


class Engine(Protocol):
    """A network at one fixed shape, loaded."""

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Inputs of exactly the forms that it was built for. Returns float32. Raises EngineError."""
        ...


class EngineRuntime(Protocol):
    """Builds and loads engines."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything but network and platform that decides what is built."""
        ...

    def platform(self) -> Mapping[str, str]:
        """Versions of packages and driver, name and compute capability of the GPU."""
        ...

    def build(self, network: bytes, forms: Forms) -> bytes:
        """The plan of an engine. Raises whatever the packages raise."""
        ...

    def load(self, plan: bytes) -> Engine:
        """Raises EngineError, or whatever the packages raise."""
        ...


class TensorRtRuntime:
    """torch_tensorrt ahead of time, and TensorRT's own runtime; satisfies EngineRuntime. Imports both only when needed."""

    settings: Mapping[str, Any] = {**BUILD_SETTINGS, "form": FORM}

    def platform(self) -> Mapping[str, str]:
        torch: Any = importlib.import_module("torch")
        gpu = torch.cuda.get_device_properties(torch.cuda.current_device())
        return {
            "torch": str(torch.__version__),
            "torch_tensorrt": version("torch_tensorrt"),
            "tensorrt": str(importlib.import_module("tensorrt").__version__),
            "gpu": gpu.name,
            "capability": f"{gpu.major}.{gpu.minor}",
            "driver": first_gpu().driver,
        }

    def build(self, network: bytes, forms: Forms) -> bytes:
        from models.backends.half_precision import compile_plan
        from models.backends.torch_networks import read_network

        return compile_plan(importlib.import_module("torch_tensorrt"), read_network(network), forms, "cuda")

    def load(self, plan: bytes) -> Engine:
        return CudaEngine(plan)


class CudaEngine:
    """A plan on the current GPU, behind a CUDA graph; inputs and outputs cross in pinned memory. Satisfies Engine."""

    def __init__(self, plan: bytes) -> None:
        """Raises EngineError where TensorRT cannot read the plan."""
        self._torch: Any = importlib.import_module("torch")
        tensorrt: Any = importlib.import_module("tensorrt")
        self._engine = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR)).deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError("TensorRT cannot read the engine")
        self._context = self._engine.create_execution_context()
        types = {tensorrt.uint8: "uint8", tensorrt.float16: "float16", tensorrt.float32: "float32"}
        self._inputs: list[tuple[Any, Any]] = []
        self._outputs: list[tuple[Any, Any]] = []
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            is_input = self._engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT
            pair = self._buffers(tuple(self._engine.get_tensor_shape(name)), types[self._engine.get_tensor_dtype(name)])
            (self._inputs if is_input else self._outputs).append(pair)
            self._context.set_tensor_address(name, pair[1].data_ptr())
        self._stream = self._torch.cuda.Stream()
        self._graph = self._capture()

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        for (pinned, _), value in zip(self._inputs, inputs, strict=True):
            if tuple(pinned.shape) != value.shape:
                raise EngineError(f"an input of {value.shape} for an engine of {tuple(pinned.shape)}")
            pinned.numpy()[...] = value
        with self._torch.cuda.stream(self._stream):
            for pinned, on_gpu in self._inputs:
                on_gpu.copy_(pinned, non_blocking=True)
            self._graph.replay()
            for pinned, on_gpu in self._outputs:
                pinned.copy_(on_gpu, non_blocking=True)
        self._stream.synchronize()
        return [pinned.numpy().astype(np.float32) for pinned, _ in self._outputs]

    def _buffers(self, shape: tuple[int, ...], dtype: str) -> tuple[Any, Any]:
        """Pinned, and on the GPU."""
        kind = getattr(self._torch, dtype)
        return self._torch.zeros(shape, dtype=kind).pin_memory(), self._torch.zeros(shape, dtype=kind, device="cuda")

    def _capture(self) -> Any:
        """The launches of one inference, to be repeated as one; TensorRT sets itself up in a run before."""
        self._torch.cuda.synchronize()
        self._execute()
        self._stream.synchronize()
        graph = self._torch.cuda.CUDAGraph()
        with self._torch.cuda.graph(graph, stream=self._stream):
            self._execute()
        return graph

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise EngineError("TensorRT cannot run the engine")

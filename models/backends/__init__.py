"""Inference backends: run an exported network on some hardware.

    open_backend(name, weights) -> verified bytes of models/pretrained -> InferenceBackend.run(arrays) -> arrays

A backend is a class in its own module and a row of BACKENDS; the module, and with it the runtime, is imported when it is opened.
Every backend but `cpu` is opened inside a FallbackBackend, so that one that fails is replaced by `cpu` and never by nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, cast

from numpy.typing import NDArray

from models.backends.nvidia import gpu_obstacle
from models.weights import read_weights

Precision = Literal["single", "bfloat16"]
"""What arithmetic a network needs at least: bfloat16 where no decision hangs on its answer and no eye sees the difference."""


class InferenceBackend(Protocol):
    """An opened network."""

    @property
    def name(self) -> str:
        """Its row in BACKENDS."""
        ...

    @property
    def providers(self) -> tuple[str, ...]:
        """What computes, in the runtime's own words, for reports."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the exported file says of itself."""
        ...

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Inputs and outputs in the order of the exported network."""
        ...


class BackendFactory(Protocol):
    """What a row of BACKENDS names: makes a backend from the bytes of an exported network."""

    def __call__(self, network: bytes, *, threads: int, precision: Precision) -> InferenceBackend: ...


class BackendRow(NamedTuple):
    """A row of BACKENDS."""

    factory: str
    """module:class."""
    summary: str
    packages: tuple[str, ...] = ()
    """Modules that it imports and that the default installation lacks."""
    extra: str = ""
    """The extra of this package that brings them."""
    needs_gpu: bool = False


BACKENDS: dict[str, BackendRow] = {
    "tensorrt": BackendRow(
        "models.backends.tensorrt:open_tensorrt",
        "TensorRT on an NVIDIA GPU, half precision",
        packages=("tensorrt", "torch_tensorrt", "torch", "onnx"),
        extra="tensorrt",
        needs_gpu=True,
    ),
    "cpu": BackendRow("models.backends.cpu:CpuBackend", "ONNX Runtime on the processor"),
    "openvino": BackendRow(
        "models.backends.openvino:OpenVinoBackend",
        "OpenVINO on the processor",
        packages=("openvino",),
        extra="openvino",
    ),
    "torch": BackendRow(
        "models.backends.reference:TorchBackend",
        "PyTorch on the processor, the reference",
        packages=("torch", "onnx"),
        extra="torch",
    ),
}
"""Every backend."""

AUTO: dict[Precision, tuple[str, ...]] = {"single": ("tensorrt", "cpu"), "bfloat16": ("tensorrt", "openvino", "cpu")}
"""`auto` is the first of these that is usable. On the shipped networks OpenVINO is slower than ONNX Runtime where single precision
is needed, and faster where bfloat16 does: several times on processors that have it (BENCHMARKS.md)."""
BACKEND_NAMES = ("auto", *BACKENDS)
DEFAULT_BACKEND = "auto"


class BackendError(Exception):
    """A backend cannot be used on this machine; the message is one line that says why and what to do."""


def obstacle_to(name: str) -> str | None:
    """Why a row of BACKENDS cannot be used on this machine; None where it can. Imports no runtime."""
    row = BACKENDS[name]
    missing = [package for package in row.packages if not _is_installed(package)]
    if missing:
        return f"{' and '.join(missing)} not installed (pip install 'veilstream[{row.extra}]')"
    return gpu_obstacle() if row.needs_gpu else None


def usable_backends() -> dict[str, str | None]:
    """Every row of BACKENDS with what stands in its way on this machine; None where it is usable."""
    return {name: obstacle_to(name) for name in BACKENDS}


def choose_backend(name: str = DEFAULT_BACKEND, precision: Precision = "single") -> str:
    """The row that a setting means for a network: `auto` is the first of AUTO that is usable, any other name itself.

    Raises ValueError for an unknown name and BackendError for one that cannot be used on this machine.
    """
    if name == "auto":
        return next(row for row in AUTO[precision] if obstacle_to(row) is None)
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}, use one of: {', '.join(BACKEND_NAMES)}")
    obstacle = obstacle_to(name)
    if obstacle is not None:
        raise BackendError(f"{name} cannot be used here: {obstacle}; use auto")
    return name


def open_backend(name: str, weights: str, *, threads: int = 1, precision: Precision = "single") -> InferenceBackend:
    """Open the weights `models/pretrained/<weights>` on a backend, a row of BACKENDS or `auto`.

    threads: of one inference; 1 wherever several processes share the cores. precision: what the network needs at least.
    Raises ValueError for an unknown name, BackendError for one that is not usable, and WeightsError for weights that are missing
    or damaged.
    """
    chosen = choose_backend(name, precision)
    network = read_weights(weights)
    if chosen == "cpu":
        return open_network(chosen, network, threads=threads)
    from models.backends.fallback import FallbackBackend

    return FallbackBackend(
        lambda: open_network(chosen, network, threads=threads, precision=precision),
        lambda: open_network("cpu", network, threads=threads),
        network=weights,
        backend=chosen,
    )


def open_network(name: str, network: bytes, *, threads: int = 1, precision: Precision = "single") -> InferenceBackend:
    """Open an exported network on a row of BACKENDS, with nothing to fall back to: what its runtime raises comes through."""
    module, factory = BACKENDS[name].factory.split(":")
    make = cast(BackendFactory, getattr(importlib.import_module(module), factory))
    return make(network, threads=threads, precision=precision)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False

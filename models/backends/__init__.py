"""Inference backends: run an exported network on some hardware.

    open_backend(name, weights) -> verified bytes of models/pretrained -> InferenceBackend.run(arrays) -> arrays

A backend is a class in its own module and a row of BACKENDS; the module, and with it the runtime, is imported when it is opened.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from models.weights import read_weights


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

    def __call__(self, network: bytes, *, threads: int) -> InferenceBackend: ...


BACKENDS: dict[str, str] = {
    "cpu": "models.backends.cpu:CpuBackend",
}
"""Name -> module:class."""


def open_backend(name: str, weights: str, *, threads: int = 1) -> InferenceBackend:
    """Open the weights `models/pretrained/<weights>` on a backend.

    threads: of one inference; 1 wherever several processes share the cores.
    Raises ValueError for an unknown name and WeightsError for weights that are missing or damaged.
    """
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}, use one of: {', '.join(BACKENDS)}")
    module, factory = BACKENDS[name].split(":")
    make = cast(BackendFactory, getattr(importlib.import_module(module), factory))
    return make(read_weights(weights), threads=threads)

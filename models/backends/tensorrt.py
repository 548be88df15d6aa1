"""TensorRT on an NVIDIA GPU: engines for fixed batches, built in the background while the processor serves.

    inputs -> batches of at most 8, padded to 1, 2, 4 or 8 -> EngineShelf -> engine, or the reference until there is one

An engine is used only after it has answered nearly as the reference does; where it cannot be built or is refused, the reference
goes on serving its shape, with one warning.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backends import Precision
from models.backends.cpu import CpuBackend
from models.backends.engine_build import build_apart, key_of
from models.backends.engine_cache import EngineCache, Forms, TensorForm, default_folder
from models.backends.engine_runtime import Engine, EngineRuntime, TensorRtRuntime

logger = logging.getLogger(__name__)

BATCHES = (1, 2, 4, 8)
"""What engines are built for; CUDA graphs need fixed shapes."""
CALLS_BEFORE_BUILD = 8
"""So often a shape must be asked for before its engine is built, so that a folder of odd photos builds none."""

BuildEngine = Callable[[bytes, Forms], object]
"""Blocks until the cache holds the engine or its refusal; raises where neither comes about."""


def batch_of(count: int) -> int:
    """The batch in which `count` rows run, 1 to 8."""
    return next(batch for batch in BATCHES if batch >= count)


def padded(value: NDArray[Any], batch: int) -> NDArray[Any]:
    """The rows and zeros behind them."""
    if len(value) == batch:
        return np.ascontiguousarray(value)
    return np.concatenate([value, np.zeros((batch - len(value), *value.shape[1:]), value.dtype)])


def forms_of(inputs: Sequence[NDArray[Any]]) -> Forms:
    return tuple(TensorForm(dtype=str(value.dtype), shape=value.shape) for value in inputs)


class EngineShelf:
    """The engines of one network: those that are ready, and the one that is being built."""

    def __init__(self, network: bytes, runtime: EngineRuntime, cache: EngineCache, build: BuildEngine) -> None:
        self._network, self._runtime, self._cache, self._build = network, runtime, cache, build
        self._ready: dict[Forms, Engine] = {}
        self._given_up: set[Forms] = set()
        self._built: set[Forms] = set()
        self._calls: Counter[Forms] = Counter()
        self._work: tuple[Forms, Thread] | None = None
        self._failure: Exception | None = None

    def find(self, forms: Forms) -> Engine | None:
        """The engine for these inputs; None where there is none yet, or never will be.

        Raises CacheError where the cache cannot be used, and whatever the runtime raises where an engine cannot be loaded.
        """
        self._collect()
        if forms in self._ready or forms in self._given_up:
            return self._ready.get(forms)
        self._calls[forms] += 1
        if self._calls[forms] == 1:
            self._take_from_cache(forms)
        elif self._calls[forms] >= CALLS_BEFORE_BUILD and self._work is None:
            self._start(forms)
        return self._ready.get(forms)

    def wait(self) -> None:
        """Until nothing is being built."""
        if self._work is not None:
            self._work[1].join()

    def _collect(self) -> None:
        """Notice the end of a build: its engine is looked up when it is next asked for."""
        if self._work is None or self._work[1].is_alive():
            return
        built, self._work = self._work[0], None
        failure, self._failure = self._failure, None
        if failure is None:
            self._built.add(built)
            self._calls[built] = 0
        else:
            self._give_up(built, (str(failure).strip() or type(failure).__name__).splitlines()[0])

    def _take_from_cache(self, forms: Forms) -> None:
        cached = self._cache.load(key_of(self._network, forms, self._runtime))
        if cached is None:
            if forms in self._built:
                self._give_up(forms, "what was built is not in the cache")
        elif cached.plan is None:
            self._give_up(forms, f"refused: {cached.refusal}")
        else:
            self._ready[forms] = self._runtime.load(cached.plan)

    def _start(self, forms: Forms) -> None:
        """Build in the background, one engine at a time."""
        thread = Thread(target=self._run_build, args=(forms,), name="engine-build", daemon=True)
        self._work = forms, thread
        thread.start()

    def _run_build(self, forms: Forms) -> None:
        try:
            self._build(self._network, forms)
        except Exception as error:
            self._failure = error

    def _give_up(self, forms: Forms, reason: str) -> None:
        self._given_up.add(forms)
        logger.warning("no TensorRT engine for %s, the processor goes on: %s", " ".join(str(form.shape) for form in forms), reason)


class TensorRtBackend:
    """Runs a network on engines where it has them and on the reference where not; satisfies InferenceBackend."""

    name = "tensorrt"

    def __init__(self, reference: CpuBackend, shelf: EngineShelf, providers: tuple[str, ...]) -> None:
        self._reference, self._shelf = reference, shelf
        self.providers = providers

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._reference.metadata

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        rows, most = len(inputs[0]), BATCHES[-1]
        parts = [self._run([value[start : start + most] for value in inputs]) for start in range(0, rows, most)]
        return parts[0] if len(parts) == 1 else [np.concatenate(columns) for columns in zip(*parts, strict=True)]

    def _run(self, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        rows = len(inputs[0])
        whole = [padded(value, batch_of(rows)) for value in inputs]
        engine = self._shelf.find(forms_of(whole))
        return self._reference.run(inputs) if engine is None else [answer[:rows] for answer in engine.run(whole)]


def open_tensorrt(network: bytes, *, threads: int = 1, precision: Precision = "single") -> TensorRtBackend:
    """The row of BACKENDS. precision: half precision, whose steps are an eighth of bfloat16's, is held against the reference.

    Raises NoGpuError, CacheError, or whatever the packages raise.
    """
    runtime = TensorRtRuntime()
    platform = runtime.platform()
    shelf = EngineShelf(network, runtime, EngineCache(default_folder()), build_apart)
    return TensorRtBackend(
        CpuBackend(network, threads=threads), shelf, (f"TensorRT {platform['tensorrt']}", f"{platform['gpu']}, half precision")
    )

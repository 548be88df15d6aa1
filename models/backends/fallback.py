"""A backend that may fail, with the processor's behind it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backends import InferenceBackend

logger = logging.getLogger(__name__)

OpenBackend = Callable[[], InferenceBackend]


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """A backend that failed in this process: which network ran on it, what has run it since, and why, one line."""

    network: str
    backend: str
    replaced_by: str
    reason: str

    def __str__(self) -> str:
        return f"{self.network} on {self.backend} failed and is replaced by {self.replaced_by}: {self.reason}"


_replacements: list[Replacement] = []


def replacements() -> tuple[Replacement, ...]:
    """All of this process so far, in order; each network has at most one."""
    return tuple(_replacements)


class FallbackBackend:
    """Runs a network on one backend until that fails, and from then on, for good, on another; satisfies InferenceBackend.

    An answer that is not finite is a failure too: half precision overflows, and would find no face without a word.
    What failed is said once, as a warning, and stands in `replacements`. The inputs of the call that failed go to the other
    backend, so that the caller notices nothing but time; an exception of the other backend is the caller's.
    """

    def __init__(self, open_first: OpenBackend, open_second: OpenBackend, *, network: str, backend: str) -> None:
        """network: name of the weights. backend: the first one's row in BACKENDS."""
        self._open_second, self._network, self._first = open_second, network, backend
        self._has_failed = False
        try:
            self._backend = open_first()
        except Exception as error:
            self._switch(error)

    @property
    def name(self) -> str:
        return self._backend.name

    @property
    def providers(self) -> tuple[str, ...]:
        return self._backend.providers

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._backend.metadata

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        if self._has_failed:
            return self._backend.run(inputs)
        try:
            answers = self._backend.run(inputs)
            if not all(np.isfinite(answer).all() for answer in answers):
                raise FloatingPointError("its answer is not finite")
        except Exception as error:
            self._switch(error)
            return self._backend.run(inputs)
        return answers

    def _switch(self, error: Exception) -> None:
        self._backend = self._open_second()
        self._has_failed = True
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        replacement = Replacement(network=self._network, backend=self._first, replaced_by=self._backend.name, reason=reason)
        _replacements.append(replacement)
        logger.warning("%s", replacement)

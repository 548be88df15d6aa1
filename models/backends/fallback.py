"""A backend that may fail, with the processor's behind it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from models.backends import InferenceBackend

logger = logging.getLogger(__name__)

OpenBackend = Callable[[], InferenceBackend]


class FallbackBackend:
    """Runs a network on one backend until that fails, and from then on, for good, on another; satisfies InferenceBackend.

    What failed is said once, as a warning. The inputs of the call that failed go to the other backend, so that the caller notices
    nothing but time; an exception of the other backend is the caller's.
    """

    def __init__(self, open_first: OpenBackend, open_second: OpenBackend, *, what: str) -> None:
        """what: the network and the backend, for the warning."""
        self._open_second, self._what = open_second, what
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
            return self._backend.run(inputs)
        except Exception as error:
            self._switch(error)
            return self._backend.run(inputs)

    def _switch(self, error: Exception) -> None:
        self._backend = self._open_second()
        self._has_failed = True
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        logger.warning("%s failed and is replaced by %s: %s", self._what, self._backend.name, reason)

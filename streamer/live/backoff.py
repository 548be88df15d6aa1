"""How long to wait before something is tried again: longer each time, and never quite the same for all."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_S = 0.25
MOST_S = 10.0
STABLE_S = 10.0
"""What has worked for so long begins anew when it fails."""


class Backoff:
    """Doubles from FIRST_S to MOST_S; each wait is a random part, from a half to the whole, so that not all come at once."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        """draw: a number from 0 to 1."""
        self._draw = draw
        self._next_s = FIRST_S

    def wait_s(self, worked_s: float) -> float:
        """Seconds to wait now, after it has worked for so long."""
        if worked_s >= STABLE_S:
            self._next_s = FIRST_S
        waited_s = self._next_s * (0.5 + 0.5 * self._draw())
        self._next_s = min(2 * self._next_s, MOST_S)
        return waited_s

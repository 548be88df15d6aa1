"""The newest small picture of each stream, made only while somebody looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

WANTED_EVERY_S = 1.0
"""Least time between two requests for a picture of the same stream, however many look."""
_FRESH_S = 3.0
"""Older ones are not shown: they would pass for what is there now."""
_WAIT_S = 1.5


@dataclass(frozen=True, kw_only=True)
class _Kept:
    jpeg: bytes
    at_s: float


class PreviewDesk:
    """Belongs to the server's loop; only that calls it."""

    def __init__(self, want: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """want: told the name of the stream of which a picture shall be made."""
        self._want = want
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._wanted_s: dict[str, float] = {}
        self._arrivals: dict[str, asyncio.Event] = {}

    def put(self, name: str, jpeg: bytes) -> None:
        """A picture has come."""
        self._kept[name] = _Kept(jpeg=jpeg, at_s=self._clock())
        if arrival := self._arrivals.pop(name, None):
            arrival.set()

    def keep_only(self, names: Collection[str]) -> None:
        """Forget what belongs to streams that are no more."""
        for table in (self._kept, self._wanted_s, self._arrivals):
            for name in [name for name in table if name not in names]:
                del table[name]

    async def newest(self, name: str) -> bytes | None:
        """The newest JPEG, waited for a moment where there is none; None where none comes."""
        now_s = self._clock()
        if now_s - self._wanted_s.get(name, -WANTED_EVERY_S) >= WANTED_EVERY_S:
            self._wanted_s[name] = now_s
            self._want(name)
        if (fresh := self._fresh(name)) is not None:
            return fresh
        arrival = self._arrivals.setdefault(name, asyncio.Event())
        try:
            async with asyncio.timeout(_WAIT_S):
                await arrival.wait()
        except TimeoutError:
            return None
        return self._fresh(name)

    def _fresh(self, name: str) -> bytes | None:
        kept = self._kept.get(name)
        return kept.jpeg if kept is not None and self._clock() - kept.at_s < _FRESH_S else None

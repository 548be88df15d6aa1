"""Signs of life: each child writes the time into its cell of a shared page, the supervisor reads how old it is.

A thread could not do this: it would go on answering while the main loop hangs.
"""

from __future__ import annotations

import mmap
import os
import time

import numpy as np

CELLS = mmap.PAGESIZE // 8


class Heartbeat:
    """A child's cell."""

    def __init__(self, descriptor: int, cell: int) -> None:
        self._times_ns = np.frombuffer(mmap.mmap(descriptor, mmap.PAGESIZE), np.int64)
        self._cell = cell

    def beat(self) -> None:
        self._times_ns[self._cell] = time.monotonic_ns()


class HeartbeatPage:
    """The supervisor's view of all cells."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("veil-heartbeats", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, mmap.PAGESIZE)
        self._page = mmap.mmap(self.descriptor, mmap.PAGESIZE)
        self._times_ns = np.frombuffer(self._page, np.int64)

    def reset(self, cell: int) -> None:
        """The cell is given to a process that has not started yet."""
        self._times_ns[cell] = time.monotonic_ns()

    def last_s(self, cell: int) -> float:
        """When the cell was written last, in seconds of `time.monotonic`."""
        return float(self._times_ns[cell]) / 1e9

    def close(self) -> None:
        del self._times_ns
        self._page.close()  # it holds a descriptor of its own
        os.close(self.descriptor)

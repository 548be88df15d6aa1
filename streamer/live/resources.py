"""What the processes of a daemon use, as the kernel counts it."""

from __future__ import annotations

import os
import resource
from collections import deque
from collections.abc import Iterable
from pathlib import Path

_PARTS = 10
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def allow_descriptors() -> None:
    """As many as the system lets this process have: each camera takes a dozen, and the usual limit is soon reached."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Memory:
    """What all processes take together, measured a few at a time: the kernel walks through all pages of one to tell."""

    def __init__(self) -> None:
        self._bytes: dict[int, int] = {}
        self._turn: deque[int] = deque()

    def measure(self, pids: Iterable[int]) -> None:
        """Look at a tenth of them; each has its turn. Those that have ended count nothing."""
        alive = dict.fromkeys(pids)
        self._bytes = {pid: size for pid, size in self._bytes.items() if pid in alive}
        self._turn = deque(pid for pid in self._turn if pid in alive)
        self._turn.extendleft(pid for pid in alive if pid not in self._bytes and pid not in self._turn)
        for _ in range(min(len(self._turn), -(-len(alive) // _PARTS))):
            pid = self._turn.popleft()
            self._bytes[pid] = _proportional_bytes(pid)
            self._turn.append(pid)

    @property
    def total_bytes(self) -> int:
        """What several share is counted once."""
        return sum(self._bytes.values())


def cpu_s(pid: int) -> float:
    """User and system time of a process so far; 0 for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    except (OSError, ValueError, IndexError):
        return 0.0


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)

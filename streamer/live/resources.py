"""What the processes of a daemon use, as the kernel counts it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_ROLE_PREFIX = "veil-"


def memory_bytes(pids: Iterable[int]) -> int:
    """Of all together, what several share counted once; those that have ended meanwhile count nothing."""
    return sum(_proportional_bytes(pid) for pid in pids)


def cpu_s(pids: Iterable[int]) -> dict[str, float]:
    """User and system time of living processes by their role."""
    spent: dict[str, float] = {}
    for pid in pids:
        try:
            name, fields = _stat(pid)
        except (OSError, ValueError, IndexError):
            continue  # it has ended
        role = name.removeprefix(_ROLE_PREFIX)
        spent[role] = spent.get(role, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return spent


def _stat(pid: int) -> tuple[str, list[str]]:
    before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    return before.partition("(")[2], after.split()


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)

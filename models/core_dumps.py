"""Crashes that leave no picture behind: what a process holds goes neither into a core file nor to a collector of crashes.

Of no use to the networks: it lies here because this package is the only one that both commands may import.
"""

from __future__ import annotations

import ctypes
import resource

_PR_SET_DUMPABLE = 4


def leave_no_core(*, seal: bool = False) -> None:
    """A crash of this process, or of one that it starts, must not write faces to the disk.

    Linux takes a limit of 0 bytes as no file, but only 1 as nothing for a collector either. Where nothing is allowed already
    (`ulimit -c 0`), it cannot be raised to 1, and stays.
    seal: this process is not dumped whatever the limit, and no other program of the same user can look into it. That closes what
    /proc tells of its memory and descriptors too, so it is not for processes whose figures somebody needs.
    """
    _, allowed = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 0 if allowed == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
    if seal:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

"""How a command of `veil-train` ends that cannot do what it was asked."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""Exit code of what a signal ended and the same command, or --resume, goes on with."""


def failed(command: str, error: Exception | str, exit_code: int) -> int:
    """Says so in one line, and returns the exit code. command: without `veil-train`."""
    print(f"veil-train {command}: {error}", file=sys.stderr)
    return exit_code

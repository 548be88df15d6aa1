"""How a command of `veil-train` ends that cannot do what it was asked."""

from __future__ import annotations

import sys


def failed(command: str, error: Exception | str, exit_code: int) -> int:
    """Says so in one line, and returns the exit code. command: without `veil-train`."""
    print(f"veil-train {command}: {error}", file=sys.stderr)
    return exit_code

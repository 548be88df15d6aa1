"""The pictures of one frame after the other lie in the same memory."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from streamer.process import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def frames(count):
    for _ in range(count):
        pictures = [np.ones(3_000_000, np.uint8) for _ in range(4)]
        pictures += [np.ones(40_000_000, np.uint8)]
frames(2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
frames(20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True, timeout=120).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_memory_of_a_freed_picture_is_not_asked_for_again() -> None:
    assert page_faults("kept") * 10 < page_faults("given back")

"""Running `veil` in the tests as a user does, and looking into the clips that it reads and writes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

SIZE = (640, 360)
SECONDS, RATE = 2.0, 25
"""Of the clip with faces."""
VEIL = (sys.executable, "-c", "from streamer.starting import main; main()")
TIMEOUT_S = 300.0

_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2


def veil(
    *arguments: str | Path, cwd: Path, before: Callable[[], None] | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `veil`; before: called in the new process ahead of it."""
    return subprocess.run(
        [*VEIL, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        preexec_fn=before,
        env={**os.environ, **(environment or {})},
    )


def obey_permissions() -> None:
    """Even as root, a file without permissions cannot be read from here on."""
    libc = ctypes.CDLL(None)
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a clip holds."""

    pictures: list[NDArray[np.uint8]]
    times: list[float]
    audio: list[tuple[bytes, float | None]]


def content(path: Path) -> Content:
    with av.open(str(path)) as container:
        frames = [(frame.to_ndarray(format="rgb24"), frame.time) for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        audio = [(bytes(packet), None if packet.pts is None else float(packet.pts * packet.time_base)) for packet in packets]
    return Content(pictures=[picture for picture, _ in frames], times=[time for _, time in frames], audio=audio)

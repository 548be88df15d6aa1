"""Many cameras at once through one daemon for a while, and what that took: of the soak, the overload and the benchmarks."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from models.detectors import FaceDetector
from streamer.demo import make_demo_clip
from streamer.live.status import LATENCY_BOUNDS_S, ServeStatus, StreamStatus
from tests.live.camera import Camera
from tests.live.daemon import Daemon
from tests.live.rtsp_control import RtspServer
from tests.live.viewer import Viewer
from tests.live.witness import Witness, look_at_footage

START_S = 120.0
SAMPLE_S = 1.0
_MEMORY_EVERY = 2
"""Samples: the kernel walks through all pages of a process to tell."""
MEBIBYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Load:
    """size, rate: of the cameras' pictures. stream: settings of every stream. is_copy: cameras send a clip's packets as they are,
    which costs next to nothing, without clock. is_watched: somebody looks at every output."""

    cameras: int
    size: tuple[int, int]
    rate: int
    stream: Mapping[str, Any] = field(default_factory=lambda: {"filter": {"name": "blackout"}})
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_copy: bool = False
    is_watched: bool = True


@dataclass(kw_only=True)
class Running:
    """Everything of a load while it runs; what is sampled of it."""

    daemon: Daemon
    viewers: list[Viewer]
    witnesses: list[Witness]
    samples: list[ServeStatus] = field(default_factory=list)
    """Once a second."""
    mebibytes: list[float] = field(default_factory=list)
    """PSS of all processes of the daemon, at times."""

    def run(self, seconds: float) -> None:
        """Take samples for so long."""
        end_s, pause = time.monotonic() + seconds, threading.Event()
        while time.monotonic() < end_s:
            self.samples.append(self.daemon.wait_for(lambda status: True))
            if len(self.samples) % _MEMORY_EVERY == 0:
                self.mebibytes.append(proportional_mebibytes(self.daemon.process.pid))
            pause.wait(SAMPLE_S)
        self.samples.append(self.daemon.wait_for(lambda status: True))

    def counted(self, name: str, of: str) -> int:
        """By how much one of the counters of a stream grew while samples were taken."""
        first, last = stream_of(self.samples[0], name), stream_of(self.samples[-1], name)
        return int(getattr(last, of) - getattr(first, of))

    def dropped(self, name: str) -> dict[str, int]:
        """By reason, while samples were taken."""
        first, last = stream_of(self.samples[0], name).dropped, stream_of(self.samples[-1], name).dropped
        return {reason: count - first.get(reason, 0) for reason, count in last.items() if count > first.get(reason, 0)}

    @property
    def seconds(self) -> float:
        return self.samples[-1].now - self.samples[0].now

    @property
    def cpu_parts(self) -> dict[str, float]:
        """Cores in use by role, while samples were taken."""
        first, last = self.samples[0].cpu_s, self.samples[-1].cpu_s
        return {role: (spent - first.get(role, 0.0)) / self.seconds for role, spent in last.items()}

    @property
    def restarts(self) -> int:
        """Of all processes, since the start."""
        last = self.samples[-1]
        return last.detector_restarts + sum(sum(stream.restarts.values()) for stream in last.streams)

    @property
    def memory_growth(self) -> float:
        """The memory of the last quarter over that of the second one, which begins when all is warm; 1 is none."""
        quarter = max(len(self.mebibytes) // 4, 1)
        return statistics.median(self.mebibytes[-quarter:]) / statistics.median(self.mebibytes[quarter : 2 * quarter])

    @property
    def names(self) -> list[str]:
        return [stream.name for stream in self.samples[-1].streams]

    def part_later(self, name: str, over_s: float) -> float:
        """Part of all frames since the start that came out later than that, one of LATENCY_BOUNDS_S."""
        buckets = stream_of(self.samples[-1], name).latency_buckets
        return sum(buckets[LATENCY_BOUNDS_S.index(over_s) + 1 :]) / max(sum(buckets), 1)


@contextmanager
def running(folder: Path, load: Load, judge: FaceDetector | None = None) -> Iterator[Running]:
    """Inside, all cameras come out. judge: looks for faces in the footage, which witnesses then look for in what comes out."""
    clip = folder / f"people-{load.size[0]}x{load.size[1]}-{load.rate}.mp4"
    if not clip.exists():
        make_demo_clip(clip, size=load.size, duration_s=4.0, rate=load.rate)
    footage = look_at_footage(clip, judge) if judge is not None else None
    with ExitStack() as stack:
        server = stack.enter_context(RtspServer())
        outside = stack.enter_context(RtspServer())
        names = [f"camera{number + 1}" for number in range(load.cameras)]
        film = [
            Camera(
                clip,
                server.publish_url(name),
                number=number,
                size=None if load.is_copy else load.size,
                rate=load.rate,
                sound=None if load.is_copy else "aac",
                is_copy=load.is_copy,
            )
            for number, name in enumerate(names)
        ]
        for camera in film:
            stack.enter_context(camera)
        streams = [
            {"name": name, "input": server.read_url(name), "outputs": outside.publish_url(name), **load.stream} for name in names
        ]
        daemon = stack.enter_context(Daemon(folder, streams, settings=load.settings))
        daemon.wait_for(lambda status: all(stream.frames_out > load.rate for stream in status.streams), START_S)
        run = Running(daemon=daemon, viewers=[], witnesses=[])
        for number, name in enumerate(names if load.is_watched else ()):
            on_frame = None
            if footage is not None:
                run.witnesses.append(Witness(footage, load.rate, number))
                on_frame = run.witnesses[-1].look
            viewer = Viewer(outside.read_url(name), thumbnail_px=load.size[0] if on_frame else None, on_frame=on_frame)
            run.viewers.append(stack.enter_context(viewer))
        for viewer in run.viewers:
            viewer.wait_for(lambda viewer: len(viewer.frames) > 0, START_S)
        yield run


def stream_of(status: ServeStatus, name: str) -> StreamStatus:
    return next(stream for stream in status.streams if stream.name == name)


def proportional_mebibytes(pid: int) -> float:
    """Of a process and all its descendants; shared pages count once."""
    root = psutil.Process(pid)
    total = 0
    for process in (root, *root.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / MEBIBYTE


def sound_lags_ms(viewer: Viewer) -> tuple[float, float]:
    """At the start and at the end: medians of the first and of the last third of the beeps."""
    lags = viewer.sound_lags_s
    third = max(len(lags) // 3, 1)
    return 1000 * statistics.median(lags[:third]), 1000 * statistics.median(lags[-third:])


def quantile(values: Sequence[float], part: float) -> float:
    """The value that this part of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def faces_showing(run: Running, judge: FaceDetector) -> list[str]:
    """What should not have come out, of all pictures; a detector looks at a part of them."""
    showing = [line for witness in run.witnesses for line in witness.showing]
    seen: Sequence[int] = [witness.judge(judge) for witness in run.witnesses]
    return showing + [f"a detector sees {count} faces in pictures of camera {number}" for number, count in enumerate(seen) if count]

"""Runs of whole jobs for the tests: a synthetic clip, a table with other workers, and a look at what is left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np
import psutil
import pytest

from streamer.config import AnonymizeSettings, DetectorSettings, FilterSettings
from streamer.encoders import plan_output
from streamer.forkserver import ForkServer
from streamer.job import VideoJob, run_video_job
from streamer.job_record import JobResult
from streamer.messages import FrameReport
from streamer.pipeline import VIDEO_PIPELINE, ProcessRow
from streamer.probe import probe
from streamer.supervisor import StopRequest

REPOSITORY = Path(__file__).parents[2]
FRAMES = 60
SIZE = (256, 96)
"""x264 on processors with AVX-512 writes now these, now those bytes for the same pictures unless 256 divides their width."""
SQUARE = 24
_NEVER = StopRequest()


def write_clip(path: Path, frames: int = FRAMES, *, size: tuple[int, int] = SIZE, has_sound: bool = True) -> None:
    """A white square (the face of `BrightSquareDetector`) that wanders over grey noise, 25 frames a second, with a tone."""
    width, height = size
    noise = np.random.default_rng(7).integers(40, 120, (height, width, 3), np.uint8)
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "10", "threads": "1"})
        pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("aac", rate=16000) if has_sound else None
        for number in range(frames):
            picture = noise.copy()
            x, y = (3 * number) % (width - SQUARE), number % (height - SQUARE)
            picture[y : y + SQUARE, x : x + SQUARE] = 255
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(pictures.encode(None))
        if sound is not None:
            tone = np.sin(np.arange(16000 * frames // 25) / 5, dtype=np.float32)[None] * 0.3
            wave = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
            wave.sample_rate, wave.pts, wave.time_base = 16000, 0, Fraction(1, 16000)
            container.mux(sound.encode(wave))
            container.mux(sound.encode(None))


def table_with(
    *,
    detector: str = "SquareDetectorWorker",
    anonymizer: str | None = None,
    hang_limits_s: Mapping[str, float] = MappingProxyType({}),
) -> tuple[ProcessRow, ...]:
    """The video pipeline with workers of `faulty_workers` and, by role, other limits for silence."""
    rows = []
    for row in VIDEO_PIPELINE:
        worker = {"detector": detector, "anonymizer": anonymizer}.get(row.role)
        if worker is not None:
            row = replace(row, worker=f"tests.streamer.faulty_workers:{worker}")
        if row.role in hang_limits_s:
            row = replace(row, hang_limit_s=hang_limits_s[row.role], hang_limit_s_per_megapixel=0.0)
        rows.append(row)
    return tuple(rows)


@dataclass
class Finished:
    result: JobResult
    output: Path
    reports: list[FrameReport]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.output.read_bytes()).hexdigest()


def run(
    source: Path,
    output: Path,
    *,
    table: tuple[ProcessRow, ...],
    processes: int = 2,
    on_frame: Callable[[FrameReport], None] = lambda _: None,
    stop: StopRequest = _NEVER,
    settings: AnonymizeSettings | None = None,
) -> Finished:
    settings = settings or AnonymizeSettings(detector=DetectorSettings(processes=processes), filter=FilterSettings(identity_seed=1))
    reports: list[FrameReport] = []

    def note(report: FrameReport) -> None:
        reports.append(report)
        on_frame(report)

    job = VideoJob(source=source, output=output, plan=plan_output(probe(source), settings.video, (), output))
    with ForkServer() as fork_server:
        result = run_video_job(job, settings, on_frame=note, stop=stop, fork_server=fork_server, table=table, log_level="ERROR")
    return Finished(result=result, output=output, reports=reports)


def child(role: str) -> psutil.Process:
    """A running process of this role."""
    for process in psutil.Process().children():
        if process.name() == f"veil-{role}":
            return process
    raise LookupError(role)


@contextmanager
def nothing_left_behind(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """Checks that the block leaves no process, socket, descriptor or temporary file; `folder` is where outputs go."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    descriptors = _open_descriptors()
    before = psutil.Process().children(recursive=True)
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as sockets:
        monkeypatch.setattr(tempfile, "tempdir", sockets)
        yield
        assert os.listdir(sockets) == []
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert not (left := set(psutil.Process().children(recursive=True)) - set(before)), f"still run: {left}"
    assert not _open_descriptors() - descriptors, f"left open: {_open_descriptors() - descriptors}"
    assert [path.name for path in folder.iterdir() if ".veil-" in path.name] == []


def _open_descriptors() -> Counter[str]:
    """What the descriptors of this process lead to."""
    found: Counter[str] = Counter()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this very listing
            found[str(link.readlink())] += 1
    return found

"""Measures `veil anonymize` as a user runs it: whole commands, speed against another program, and memory over length.

    python benchmarks/files.py speed CLIP --against '.deface/bin/deface {clip} -o {out} --replacewith mosaic --scale 640x360'
    python benchmarks/files.py memory CLIP --seconds 10 600

Timings on a shared machine drift: the commands run in alternation, and what counts is the median of the ratios round by round.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import psutil

MEBIBYTE = 1 << 20
SAMPLING_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Run:
    """One finished command."""

    wall_s: float
    cpu_s: float
    peak_mebibytes: float
    """Largest sum of the proportional set sizes of all its processes at one moment."""


class PeakMemory(threading.Thread):
    """Samples the memory of a process and all its descendants until it ends; shared pages count once."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self._ended = threading.Event()
        self.peak_bytes = 0

    def run(self) -> None:
        while not self._ended.wait(SAMPLING_S):
            try:
                family = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            self.peak_bytes = max(self.peak_bytes, sum(_proportional_bytes(process) for process in family))

    def stop(self) -> float:
        self._ended.set()
        self.join()
        return self.peak_bytes / MEBIBYTE


def _proportional_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def run(command: list[str], *, samples_memory: bool) -> Run:
    """Runs a command to its end. Raises CalledProcessError with its last words if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started_s = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        memory = PeakMemory(process.pid)
        if samples_memory:
            memory.start()
        _, errors = process.communicate()
        wall_s = time.monotonic() - started_s
        peak = memory.stop() if samples_memory else 0.0
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=errors[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall_s=wall_s, cpu_s=cpu_s, peak_mebibytes=peak)


def count_frames(clip: Path) -> int:
    with av.open(str(clip)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def loop_clip(clip: Path, seconds: float, target: Path) -> None:
    """Repeats the pictures of a clip, packet for packet, until they last this long."""
    with av.open(str(target), "w") as output:
        offset, stream = 0, None
        while True:
            with av.open(str(clip)) as source:
                video = source.streams.video[0]
                stream = stream or output.add_stream_from_template(video)
                time_base = video.time_base or Fraction(1)
                end = 0
                for packet in source.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    end = max(end, packet.pts + (packet.duration or 1))
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = stream
                    output.mux(packet)
                offset += end
                if offset * time_base >= seconds:
                    return


def veil_command(clip: Path, output: Path, options: list[str]) -> list[str]:
    return [str(Path(sys.executable).parent / "veil"), "anonymize", str(clip), "-o", str(output), "--overwrite", "-q", *options]


def stage_cpu_s(clip: Path, output: Path, options: list[str]) -> dict[str, Any]:
    """CPU seconds of each role, as the program's own report gives them, and the wall time of the job."""
    subprocess.run([*veil_command(clip, output, options), "--report"], check=True)
    report = json.loads(output.with_name(output.name + ".report.json").read_text())
    return dict(report["timings"])


def measure_speed(clip: Path, against: str | None, options: list[str], rounds: int) -> None:
    """Prints frames a second of Veil and of the other command, and the ratio, over several rounds."""
    frames = count_frames(clip)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / f"ours{clip.suffix}", Path(folder) / f"theirs{clip.suffix}"
        rows: list[tuple[Run, Run | None]] = []
        for _ in range(rounds):
            mine = run(veil_command(clip, ours, options), samples_memory=False)
            other = None
            if against is not None:
                theirs.unlink(missing_ok=True)
                words = [word.format(clip=clip, out=theirs) for word in shlex.split(against)]
                other = run(words, samples_memory=False)
            rows.append((mine, other))
            print(_speed_row(frames, mine, other), flush=True)
        print(f"median: {frames / statistics.median(mine.wall_s for mine, _ in rows):.1f} fps", end="")
        ratios = [other.wall_s / mine.wall_s for mine, other in rows if other is not None]
        print(f", {statistics.median(ratios):.2f} times the other" if ratios else "")
        _print_limit(stage_cpu_s(clip, ours, options), frames)


def _speed_row(frames: int, mine: Run, other: Run | None) -> str:
    row = f"veil {frames / mine.wall_s:.1f} fps ({1000 * mine.cpu_s / frames:.1f} CPU-ms a frame)"
    if other is None:
        return row
    return (
        f"{row}; other {frames / other.wall_s:.1f} fps ({1000 * other.cpu_s / frames:.1f} CPU-ms a frame); "
        f"ratio {other.wall_s / mine.wall_s:.2f}"
    )


def _print_limit(stages: dict[str, Any], frames: int) -> None:
    """The share of what the cores could do if they did nothing but decode, detect and encode."""
    cores = len(os.sched_getaffinity(0))
    for role, cpu_s in stages["cpu_s"].items():
        print(f"  {role:12} {1000 * cpu_s / frames:7.2f} CPU-ms a frame")
    work_s = sum(stages["cpu_s"].get(role, 0.0) for role in ("source", "detector", "sink"))
    limit_fps = frames * cores / work_s
    print(f"  limit of {cores} cores {limit_fps:.1f} fps, reached {frames / stages['wall_s']:.1f} fps: ", end="")
    print(f"{100 * frames / stages['wall_s'] / limit_fps:.0f} %")


def measure_memory(clip: Path, lengths_s: list[float], options: list[str]) -> None:
    """Prints the peak memory of whole runs over clips of several lengths."""
    with tempfile.TemporaryDirectory() as folder:
        for length_s in lengths_s:
            looped = Path(folder) / f"looped{clip.suffix}"
            loop_clip(clip, length_s, looped)
            result = run(veil_command(looped, Path(folder) / f"out{clip.suffix}", options), samples_memory=True)
            frames = count_frames(looped)
            print(f"{length_s:g} s, {frames} frames: {result.peak_mebibytes:.0f} MiB, {frames / result.wall_s:.1f} fps", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=("speed", "memory"))
    parser.add_argument("clip", type=Path)
    parser.add_argument("--against", help="command of another program; {clip} and {out} stand for the files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 600.0], help="lengths for memory")
    arguments, options = parser.parse_known_args()
    if arguments.measure == "speed":
        measure_speed(arguments.clip, arguments.against, options, arguments.rounds)
    else:
        measure_memory(arguments.clip, arguments.seconds, options)


if __name__ == "__main__":
    main()

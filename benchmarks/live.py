"""Measures `veil serve` as a user runs it, with real cameras and viewers on this machine; from the root of the repository:

    python -m benchmarks.live soak --seconds 600          four cameras with sound: memory, sound against pictures, faces, restarts
    python -m benchmarks.live overload --seconds 300      more than the machine can take: latency, queues, what is dropped
    python -m benchmarks.live latency                     glass to glass, a clock in the picture, by size and rate
    python -m benchmarks.live cameras --filter pixelate   how many cameras run without drops; CPU and memory of each
    python -m benchmarks.live recovery                    seconds without a picture after each kind of process was killed

Cameras, servers and viewers run on the same machine and take their part of it; nothing else should.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.live.load import Load, Running, faces_showing, proportional_mebibytes, quantile, running, sound_lags_ms, stream_of
from tests.live.people import open_judge

KINDS = {"640x360": ((640, 360), 15), "1280x720": ((1280, 720), 25)}
"""What cameras are counted and timed with: size and rate."""
LOOK_AHEAD_S = 0.3
ROLES = ("camera", "live-detector", "live-anonymizer", "live-sink", "publisher")
MOST_DROPPED = 0.03
"""Part of the pictures up to which another camera is tried: some are dropped before cuts, for want of a look behind them."""
WARM_UP_S = 5.0
_RECOVERY_LIMIT_S = 60.0


def soak(folder: Path, arguments: argparse.Namespace) -> int:
    """Faces, drift, growth and restarts over a long time; 1 where there were any."""
    judge = open_judge()
    load = Load(cameras=arguments.cameras, size=arguments.size, rate=arguments.rate)
    with running(folder, load, judge) as run:
        faces: list[str] = []
        end_s = time.monotonic() + arguments.seconds
        while time.monotonic() < end_s:
            run.run(min(10.0, max(end_s - time.monotonic(), 1.0)))
            faces += faces_showing(run, judge)
            for witness in run.witnesses:
                witness.showing.clear()
        print(f"{run.seconds:.0f} s, {arguments.cameras} cameras of {load.size[0]}x{load.size[1]} at {load.rate} fps")
        print(f"  memory: {_quarters(run.mebibytes)} MiB by quarters, last over second {run.memory_growth:.3f}")
        print(f"  CPU: {sum(run.cpu_parts.values()):.2f} cores: {_rounded(run.cpu_parts)}")
        checked = sum(witness.checked for witness in run.witnesses)
        print(f"  restarts {run.restarts}; {checked} faces looked for at their places, {len(faces)} seen")
        print(*faces[:10], sep="\n")
        for name, viewer in zip(run.names, run.viewers, strict=True):
            start_ms, end_ms = sound_lags_ms(viewer)
            print(f"  {_line(run, name)}; sound {start_ms:+.1f} ms at the start, {end_ms:+.1f} at the end; {viewer.summary}")
        return int(bool(faces or run.restarts))


def overload(folder: Path, arguments: argparse.Namespace) -> int:
    """Latency, queues and drops under far too much; 1 where a face showed or anything was restarted."""
    judge = open_judge()
    stream = {"filter": {"name": "blackout"}, "detector": {"size": "full"}}
    load = Load(cameras=arguments.cameras, size=arguments.size, rate=arguments.rate, stream=stream)
    with running(folder, load, judge) as run:
        run.run(arguments.seconds)
        faces = faces_showing(run, judge)
        print(f"{run.seconds:.0f} s, {arguments.cameras} cameras of {load.size[0]}x{load.size[1]} at {load.rate} fps")
        print(f"  faces seen {len(faces)}", *faces[:10], sep="\n  ")
        print(f"  memory: {_quarters(run.mebibytes)} MiB by quarters; restarts {run.restarts}")
        for name, viewer in zip(run.names, run.viewers, strict=True):
            samples = [stream_of(sample, name) for sample in run.samples]
            flight = _quarters([sample.in_flight_frames for sample in samples])
            print(f"  {_line(run, name)}; later than 1.5 s: {100 * run.part_later(name, 1.5):.2f} %")
            print(f"    queue at most {max(sample.queue_frames for sample in samples)}, in flight by quarters {flight}")
            print(f"    glass to glass {_milliseconds(viewer.latencies_s)}")
        return int(bool(faces or run.restarts))


def latency(folder: Path, arguments: argparse.Namespace) -> int:
    """From the camera's clock in the picture to the viewer's decoder, of one camera, for each kind of picture."""
    for kind, (size, rate) in KINDS.items():
        stream = {"filter": {"name": arguments.filter}, "look_ahead_s": LOOK_AHEAD_S}
        with running(folder, Load(cameras=1, size=size, rate=rate, stream=stream)) as run:
            viewer = run.viewers[0]
            run.run(WARM_UP_S)
            first = len(viewer.frames)
            run.run(arguments.seconds)
            late = [frame.latency_s for frame in viewer.frames[first:] if frame.latency_s is not None]
            print(f"{kind} at {rate} fps, {arguments.filter}: {_milliseconds(late)}, {1000 * LOOK_AHEAD_S:.0f} ms of it look-ahead")
            print(f"  {_line(run, 'camera1')}", flush=True)
    return 0


def cameras(folder: Path, arguments: argparse.Namespace) -> int:
    """One camera more as long as none drops pictures."""
    kinds = {arguments.kind: KINDS[arguments.kind]} if arguments.kind else KINDS
    for kind, (size, rate) in kinds.items():
        for count in itertools.count(1):
            stream = {"filter": {"name": arguments.filter}, "audio": "drop"}
            load = Load(cameras=count, size=size, rate=rate, stream=stream, is_copy=True, is_watched=False)
            with running(folder, load) as run:
                run.run(WARM_UP_S)
                run.samples.clear()
                run.run(arguments.seconds)
                memory = proportional_mebibytes(run.daemon.process.pid)
                lost = _part_lost(run)
                spent = sum(run.cpu_parts.values())
                print(
                    f"{kind} at {rate} fps, {arguments.filter}, {count} cameras: {100 * lost:.1f} % dropped, {spent:.2f} cores "
                    f"({spent / count:.2f} each), {memory:.0f} MiB ({memory / count:.0f} each) {_rounded(run.cpu_parts)}",
                    flush=True,
                )
            if lost > MOST_DROPPED or count >= arguments.most:
                break
    return 0


def recovery(folder: Path, arguments: argparse.Namespace) -> int:
    """The longest time without a picture at the viewer, after each kind of process was killed."""
    load = Load(cameras=1, size=arguments.size, rate=arguments.rate)
    with running(folder, load) as run:
        viewer = run.viewers[0]
        for role in ROLES:
            run.run(WARM_UP_S)
            first = len(viewer.frames) - 1
            killed_s = time.monotonic()
            run.daemon.children(role)[0].send_signal(signal.SIGKILL)
            pause = threading.Event()
            while time.monotonic() - killed_s < _RECOVERY_LIMIT_S and time.monotonic() - killed_s < 5 + _gap_s(run, first):
                pause.wait(0.2)
            print(f"{role} killed: {_gap_s(run, first):.2f} s without a picture of the camera", flush=True)
    return 0


def _gap_s(run: Running, first: int) -> float:
    """The longest time between arrivals of pictures with a clock since then, and now."""
    before = run.viewers[0].frames[first].arrival_s
    arrivals = [frame.arrival_s for frame in run.viewers[0].frames[first + 1 :] if frame.media_s is not None]
    return max(after - before for before, after in itertools.pairwise([before, *arrivals, time.monotonic()]))


def _part_lost(run: Running) -> float:
    """Of all pictures that came from the cameras, while samples were taken."""
    came = sum(run.counted(name, "frames_in") for name in run.names)
    return sum(sum(run.dropped(name).values()) for name in run.names) / max(came, 1)


def _line(run: Running, name: str) -> str:
    last = stream_of(run.samples[-1], name)
    median, late = last.latency_ms or 0, last.latency_p99_ms or 0
    counted = f"{run.counted(name, 'frames_in')} in, {run.counted(name, 'frames_out')} out, dropped {json.dumps(run.dropped(name))}"
    return f"{name}: {counted}, inside {median:.0f} ms, p99 {late:.0f}; reconnects {last.reconnects}, slates {last.slates}"


def _milliseconds(values_s: Sequence[float]) -> str:
    if not values_s:
        return "no clock was read"
    late_s = quantile(values_s, 0.99)
    return f"median {1000 * statistics.median(values_s):.0f} ms, p99 {1000 * late_s:.0f} ms of {len(values_s)} pictures"


def _quarters(values: Sequence[float]) -> list[float]:
    """Medians."""
    size = max(len(values) // 4, 1)
    return [round(statistics.median(values[start : start + size]), 1) for start in range(0, 4 * size, size) if values[start:]]


def _rounded(parts: Mapping[str, float]) -> dict[str, float]:
    return {role: round(part, 3) for role, part in parts.items()}


def _size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


MEASURES: dict[str, Any] = {"soak": soak, "overload": overload, "latency": latency, "cameras": cameras, "recovery": recovery}
SECONDS = {"soak": 600.0, "overload": 300.0, "latency": 30.0, "cameras": 20.0, "recovery": 0.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("--seconds", type=float, help=f"of each measurement (default: {SECONDS})")
    parser.add_argument("--cameras", type=int, default=4, help="for soak and overload")
    parser.add_argument("--size", type=_size, default=(480, 272), help="of pictures, for soak, overload and recovery")
    parser.add_argument("--rate", type=int, default=12, help="pictures a second, for the same")
    parser.add_argument("--filter", default="pixelate", help="for latency and cameras")
    parser.add_argument("--kind", choices=KINDS, help="for cameras: only these")
    parser.add_argument("--most", type=int, default=16, help="cameras, for cameras")
    arguments = parser.parse_args()
    arguments.seconds = SECONDS[arguments.measure] if arguments.seconds is None else arguments.seconds
    with tempfile.TemporaryDirectory(prefix="veil-live-") as folder:
        return int(MEASURES[arguments.measure](Path(folder), arguments))


if __name__ == "__main__":
    sys.exit(main())

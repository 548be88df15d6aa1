"""Several cameras for a while: nothing grows, nothing drifts, nobody shows; and more of them than the machine can take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.load import Load, faces_showing, quantile, running, sound_lags_ms, stream_of
from tests.live.people import open_judge

pytestmark = pytest.mark.slow

SIZE = (320, 192)
MAX_LATENCY_MS = 1500
TRANSPORT_S = 0.5
"""From camera to daemon and from there to the viewer, on a machine that is busy."""


def test_four_cameras_with_sound_for_half_a_minute(tmp_path: Path) -> None:
    """`python -m benchmarks.live soak` does the same for ten."""
    judge = open_judge()
    load = Load(cameras=4, size=SIZE, rate=6)
    with running(tmp_path, load, judge) as run:
        run.run(30.0)
        for name, viewer in zip(run.names, run.viewers, strict=True):
            assert run.counted(name, "frames_out") > 0.1 * 6 * run.seconds, (name, run.dropped(name))
            # Until the server's first reports a viewer does not know how sound and pictures belong together.
            _, end_ms = sound_lags_ms(viewer)
            assert abs(end_ms) < 50
            assert abs(viewer.sound_lag_s) < 0.05
        assert faces_showing(run, judge) == []
        assert all(witness.checked > 0 for witness in run.witnesses)
        assert run.restarts == 0
        assert all(stream.reconnects == 0 for stream in run.samples[-1].streams)
        assert run.memory_growth < 1.1
        assert run.daemon.stop() == 0


def test_more_than_the_machine_can_take_is_dropped_and_nothing_else_happens(tmp_path: Path) -> None:
    """One slow detector for three cameras, each of them more than it can look at."""
    judge = open_judge()
    stream = {"filter": {"name": "blackout"}, "detector": {"size": 640}, "max_latency_ms": MAX_LATENCY_MS}
    load = Load(cameras=3, size=SIZE, rate=25, stream=stream, settings={"detector_processes": 1})
    with running(tmp_path, load, judge) as run:
        run.run(20.0)
        for name, viewer in zip(run.names, run.viewers, strict=True):
            dropped = run.dropped(name)
            assert dropped.get("overload", 0) + dropped.get("late", 0) > 0.2 * run.counted(name, "frames_in")
            assert run.counted(name, "frames_out") > 0.5 * run.seconds, "it is not starved"
            assert run.part_later(name, over_s=2.0) == 0
            assert run.part_later(name, over_s=1.5) < 0.02
            assert quantile(viewer.latencies_s, 0.95) < MAX_LATENCY_MS / 1000 + 2 * TRANSPORT_S
            assert max(stream_of(sample, name).queue_frames for sample in run.samples) <= 3
            waiting = [stream_of(sample, name).in_flight_frames for sample in run.samples]
            half = len(waiting) // 2
            assert max(waiting[half:]) <= max(waiting[:half]) + 3
            assert stream_of(run.samples[-1], name).reconnects == 0
        assert faces_showing(run, judge) == []
        assert run.restarts == 0

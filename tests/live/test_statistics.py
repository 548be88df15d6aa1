"""What is counted of a stream, how long to wait, what processes use."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.deaths import Deaths
from streamer.live.backoff import FIRST_S, MOST_S, STABLE_S, Backoff
from streamer.live.resources import Memory, cpu_s
from streamer.live.statistics import WINDOW_S, Latencies, Rate, StreamStatistics
from streamer.live.status import LATENCY_BOUNDS_S
from streamer.messages import Cover, FrameReport
from streamer.pipeline import RestartLimit

BOX = (0.0, 0.0, 1.0, 1.0)


def test_a_rate_is_of_the_last_seconds() -> None:
    rate = Rate()
    for number in range(1000):
        rate.count(100 + number / 25)
    assert rate.per_second(100 + 999 / 25) == pytest.approx(25, rel=0.02)
    assert rate.per_second(100 + 999 / 25 + WINDOW_S / 2) == pytest.approx(12.5, rel=0.04)
    assert rate.per_second(100 + 999 / 25 + WINDOW_S + 1) == 0


def test_what_nobody_asks_for_does_not_pile_up() -> None:
    rate, latencies = Rate(), Latencies()
    for number in range(100_000):
        rate.count(number / 25)
        latencies.add(number / 25, 0.1)
    assert len(rate._times_s) <= WINDOW_S * 25 + 1
    assert len(latencies._recent) <= WINDOW_S * 25 + 1


@given(st.lists(st.floats(0, 20), min_size=1, max_size=200))
def test_every_latency_is_in_one_bucket_and_in_the_sum(latencies_s: list[float]) -> None:
    latencies = Latencies()
    for latency_s in latencies_s:
        latencies.add(0.0, latency_s)
    assert sum(latencies.buckets) == len(latencies_s)
    for bucket, (low, high) in enumerate(itertools.pairwise((-1.0, *LATENCY_BOUNDS_S, float("inf")))):
        assert latencies.buckets[bucket] == len([latency_s for latency_s in latencies_s if low < latency_s <= high])
    assert latencies.sum_s == pytest.approx(sum(latencies_s))
    median_ms, p99_ms = latencies.quantiles_ms(0.0)
    assert median_ms is not None
    assert p99_ms is not None
    assert sum(1000 * latency_s <= median_ms for latency_s in latencies_s) >= len(latencies_s) / 2
    assert sum(1000 * latency_s > p99_ms for latency_s in latencies_s) <= len(latencies_s) / 100


def test_quantiles_are_of_the_last_seconds_and_none_without_any() -> None:
    latencies = Latencies()
    assert latencies.quantiles_ms(0.0) == (None, None)
    latencies.add(0.0, 9.0)
    for number in range(100):
        latencies.add(WINDOW_S + 1, number / 100)
    assert latencies.quantiles_ms(WINDOW_S + 1) == (500.0, 990.0)
    assert latencies.quantiles_ms(3 * WINDOW_S) == (None, None)


def report(*reasons: str, **changes: object) -> FrameReport:
    covers = [Cover(1, BOX, reason, 0.9, "unsure" if reason == "held" else None) for reason in reasons]
    fields = {"stream": 1, "number": 0, "pts": 0, "time_s": 0.0, "raw_slot": 0, "covers": covers, "covered_whole": None}
    return FrameReport(**{**fields, **changes})  # type: ignore[arg-type]


def test_reports_are_counted_by_reason() -> None:
    statistics = StreamStatistics()
    statistics.report(report("detected", "held"))
    statistics.report(report("detected"))
    statistics.report(report(covered_whole="corrupt"))
    statistics.report(report("detected", dropped="late"))
    assert statistics.covers == {"detected": 2, "held": 1}
    assert statistics.fallbacks == {"unsure": 1}
    assert statistics.covered_whole == {"corrupt": 1}
    assert statistics.dropped == {"late": 1}
    assert statistics.faces == 0, "in the newest frame that went out"


def test_frames_are_counted_with_their_latency() -> None:
    statistics = StreamStatistics()
    statistics.frame_in(10.0)
    statistics.frame_out(10.5, captured_s=10.1)
    assert (statistics.frames_in, statistics.frames_out) == (1, 1)
    assert statistics.latencies.sum_s == pytest.approx(0.4)


def test_waits_double_up_to_the_greatest_and_begin_anew_after_success() -> None:
    backoff = Backoff(draw=lambda: 1.0)
    waits = [backoff.wait_s(0.0) for _ in range(9)]
    assert waits == [FIRST_S, 0.5, 1.0, 2.0, 4.0, 8.0, MOST_S, MOST_S, MOST_S]
    assert backoff.wait_s(STABLE_S) == FIRST_S
    assert backoff.wait_s(STABLE_S - 1) == 2 * FIRST_S


def test_waits_are_never_the_same_for_all() -> None:
    backoffs = [Backoff(random.Random(seed).random) for seed in range(50)]
    for most in (FIRST_S, 2 * FIRST_S):
        waits = [backoff.wait_s(0.0) for backoff in backoffs]
        assert len(set(waits)) == 50
        assert all(most / 2 <= wait <= most for wait in waits)
        assert max(waits) - min(waits) > most / 3


def test_too_many_deaths_within_the_limit_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    deaths = Deaths(RestartLimit(restarts=3, within_s=60.0))
    assert [deaths.add() for _ in range(4)] == [False, False, False, True]
    deaths.forget()
    for _ in range(20):
        now_s[0] += 21
        assert not deaths.add()


def test_what_processes_use_is_counted() -> None:
    before_s = cpu_s(os.getpid())
    began_s = time.process_time()
    while time.process_time() < began_s + 0.1:
        pass
    assert 0.05 < cpu_s(os.getpid()) - before_s < 5


def test_processes_that_have_ended_use_nothing() -> None:
    gone = 2**22 + 1  # beyond the greatest process id
    assert cpu_s(gone) == 0
    memory = Memory()
    memory.measure([gone])
    assert memory.total_bytes == 0


def test_the_memory_of_all_is_measured_a_few_at_a_time() -> None:
    with contextlib.ExitStack() as sleepers:
        pids = [sleepers.enter_context(subprocess.Popen(["sleep", "60"])).pid for _ in range(20)]
        memory = Memory()
        totals = []
        for _ in range(10):
            memory.measure(pids)
            totals.append(memory.total_bytes)
        assert totals == sorted(set(totals)), "each adds something"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    memory.measure([os.getpid()])
    assert memory.total_bytes > 10 << 20
    memory.measure([])
    assert memory.total_bytes == 0

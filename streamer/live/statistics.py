"""What is counted of a stream: totals since the start, and rates and latencies of the last seconds."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field

from streamer.live.attention import attention_of
from streamer.live.condition import Condition
from streamer.live.config import StreamSettings
from streamer.live.messages import CameraOpened
from streamer.live.status import LATENCY_BOUNDS_S, OutputStatus, StreamStatus
from streamer.messages import FrameReport

WINDOW_S = 5.0
"""What rates and quantiles are of."""


class Rate:
    """Events a second, over the last seconds."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque()

    def count(self, now_s: float) -> None:
        self._times_s.append(now_s)
        self._forget(now_s)

    def per_second(self, now_s: float) -> float:
        self._forget(now_s)
        return len(self._times_s) / WINDOW_S

    def _forget(self, now_s: float) -> None:
        while self._times_s and self._times_s[0] < now_s - WINDOW_S:
            self._times_s.popleft()


class Latencies:
    """A histogram since the start, and quantiles of the last seconds."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.sum_s = 0.0
        self._recent: deque[tuple[float, float]] = deque()

    def add(self, now_s: float, latency_s: float) -> None:
        self.buckets[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1
        self.sum_s += latency_s
        self._recent.append((now_s, latency_s))
        self._forget(now_s)

    def quantiles_ms(self, now_s: float) -> tuple[float, float] | tuple[None, None]:
        """Median and 99th percentile; None without any."""
        self._forget(now_s)
        if not self._recent:
            return None, None
        ordered = sorted(latency_s for _, latency_s in self._recent)
        return 1000 * ordered[len(ordered) // 2], 1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]

    def _forget(self, now_s: float) -> None:
        while self._recent and self._recent[0][0] < now_s - WINDOW_S:
            self._recent.popleft()


@dataclass(kw_only=True)
class StreamStatistics:
    """One stream's."""

    frames_in: int = 0
    frames_out: int = 0
    slates: int = 0
    reconnects: int = 0
    faces: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    covered_whole: Counter[str] = field(default_factory=Counter)
    covers: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)
    rate_in: Rate = field(default_factory=Rate)
    rate_out: Rate = field(default_factory=Rate)
    latencies: Latencies = field(default_factory=Latencies)
    frames_owed: int = 0
    """That came in and that `max_fps` lets through, of this connection, since one went out last: many where the machine is too
    slow, few where the camera is."""

    def camera_opened(self) -> None:
        self.frames_owed = 0

    def frame_in(self, now_s: float, *, is_wanted: bool = True) -> None:
        """is_wanted: `max_fps` lets it through."""
        self.frames_in += 1
        self.rate_in.count(now_s)
        if is_wanted:
            self.frames_owed += 1

    def frame_out(self, now_s: float, captured_s: float) -> None:
        self.frames_out += 1
        self.frames_owed = 0
        self.rate_out.count(now_s)
        self.latencies.add(now_s, now_s - captured_s)

    def report(self, report: FrameReport) -> None:
        """What the anonymizer did with a frame."""
        if report.dropped is not None:
            self.dropped[report.dropped] += 1
            return
        self.faces = len(report.covers)
        self.covers.update(cover.reason for cover in report.covers)
        self.fallbacks.update(cover.fallback for cover in report.covers if cover.fallback is not None)
        if report.covered_whole is not None:
            self.covered_whole[report.covered_whole] += 1


def stream_status(
    settings: StreamSettings,
    condition: Condition,
    figures: StreamStatistics,
    now_s: float,
    *,
    name: str,
    shown: str,
    opened: CameraOpened | None,
    queue_frames: int,
    in_flight_frames: int,
    outputs: tuple[OutputStatus, ...],
    is_silent: bool,
) -> StreamStatus:
    """What is told of a stream. shown: its input, without credentials. opened: what the camera sends, None while there is none."""
    median_ms, p99_ms = figures.latencies.quantiles_ms(now_s)
    return StreamStatus(
        name=name,
        state=condition.state,
        since=condition.since,
        input=shown,
        width=opened.layout.width if opened is not None else None,
        height=opened.layout.height if opened is not None else None,
        codec=opened.codec if opened is not None else None,
        filter=settings.filter.name,
        look_ahead_s=settings.look_ahead_s,
        fps_in=figures.rate_in.per_second(now_s),
        fps_out=figures.rate_out.per_second(now_s),
        latency_ms=median_ms,
        latency_p99_ms=p99_ms,
        latency_buckets=tuple(figures.latencies.buckets),
        latency_sum_s=figures.latencies.sum_s,
        faces=figures.faces if opened is not None else 0,
        frames_in=figures.frames_in,
        frames_out=figures.frames_out,
        slates=figures.slates,
        dropped=dict(figures.dropped),
        covered_whole=dict(figures.covered_whole),
        covers=dict(figures.covers),
        fallbacks=dict(figures.fallbacks),
        queue_frames=queue_frames,
        in_flight_frames=in_flight_frames,
        reconnects=figures.reconnects,
        restarts=dict(figures.restarts),
        outputs=outputs,
        errors=tuple(condition.events),
        is_silent=is_silent,
        attention=attention_of(condition.state, outputs, is_silent=is_silent),
    )

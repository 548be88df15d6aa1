"""What can be known of a running daemon: the same for the status page, the JSON, the metrics and `veil status`.

Nothing in here is secret: URLs are redacted before they get here, and no text comes from a picture.
"""

from __future__ import annotations

from typing import Literal

import msgspec

LATENCY_BOUNDS_S = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Upper bounds of the buckets of the histogram of latencies; one more bucket holds what is longer."""

StreamState = Literal["starting", "running", "no_signal", "too_slow", "failed", "ended", "stopped"]
"""starting: no frame yet. running: safe frames go out. no_signal: the camera is away and looked for.
too_slow: the camera sends, but no picture is ready in time, and slates go out instead. failed: given up.
ended: a file has been played."""

OutputState = Literal["connecting", "connected", "retrying", "failed", "ended"]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the parts of the status share."""


class Event(Status, frozen=True, kw_only=True):
    """Something worth telling that happened."""

    at: float
    """Seconds since the epoch."""
    text: str


class OutputStatus(Status, frozen=True, kw_only=True):
    """One output of a stream."""

    kind: Literal["rtsp", "rtmp", "srt", "hls", "recording"]
    to: str
    """The URL without its credentials, or the path."""
    state: OutputState
    packets: int
    """Handed on."""
    dropped: int
    """Packets that it could not take, or that came too fast for it."""
    reconnects: int
    last_error: str | None


class StreamStatus(Status, frozen=True, kw_only=True):
    """One camera and its outputs."""

    name: str
    state: StreamState
    since: float
    """When it got into this state; seconds since the epoch."""
    input: str
    """The URL without its credentials."""
    width: int | None
    height: int | None
    """Of the pictures; None before the first."""
    codec: str | None
    filter: str
    look_ahead_s: float
    fps_in: float
    fps_out: float
    """Over the last seconds."""
    latency_ms: float | None
    latency_p99_ms: float | None
    """From the arrival of a picture to its encoded form, over the last seconds, the look-ahead in it; None without any."""
    latency_buckets: tuple[int, ...]
    """Frames by latency since the start: len(LATENCY_BOUNDS_S) + 1 buckets, not cumulative."""
    latency_sum_s: float
    faces: int
    """Covered in the newest frame."""
    frames_in: int
    frames_out: int
    slates: int
    dropped: dict[str, int]
    """Frames by reason: overload (before detection), no_slot (before the pipeline), late (after it), unconfirmed (looked at
    quickly, without a thorough look near it), rate (max_fps), lost (with a process or a connection that ended)."""
    covered_whole: dict[str, int]
    """Frames by reason: corrupt (damaged data), undetectable (no detector had an answer in time)."""
    covers: dict[str, int]
    """Covered faces by reason: detected, reached_back, bridged, held."""
    fallbacks: dict[str, int]
    """Covered faces by why the filter covered them otherwise than it is meant to."""
    queue_frames: int
    """Frames that wait for a detector."""
    in_flight_frames: int
    """Frames between source and sink."""
    reconnects: int
    restarts: dict[str, int]
    """Of its own processes by role."""
    outputs: tuple[OutputStatus, ...]
    errors: tuple[Event, ...]
    """The last ones, newest first."""
    is_silent: bool = False
    """Not given up, and yet it has sent neither a frame nor a slate in the last seconds."""
    attention: str | None = None
    """Why a person should look at it, in a few words; None where nobody needs to."""


class ServeStatus(Status, frozen=True, kw_only=True):
    """The daemon."""

    version: str
    pid: int
    started: float
    """Seconds since the epoch."""
    now: float
    is_ready: bool
    """Every enabled stream has made a safe frame or its slate for its outputs, or cannot be expected to."""
    is_healthy: bool
    """No stream is given up, and each has sent something in the last seconds."""
    config: str
    """The path of the file."""
    reloads: int
    """Since the start, those that were carried out; counted when one is over."""
    reload_error: str | None
    """Why the newest reload was refused; None where it was not."""
    backend: str
    detectors: int
    detector_restarts: int
    cpu_s: dict[str, float]
    """User and system time by role since the start, of living and ended processes."""
    memory_bytes: int
    """Of all processes together, shared memory counted once where the kernel says so (PSS)."""
    streams: tuple[StreamStatus, ...]
    reloads_refused: int = 0
    """Since the start, those whose file was not valid, so that nothing was changed."""
    attention: str | None = None
    """How many streams need attention, in words, also of a daemon that is healthy; None where none does."""

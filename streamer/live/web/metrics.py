"""The status as metrics for Prometheus, in its text format 0.0.4; the only labels with free text are the names of streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Literal, NamedTuple, get_args

from streamer.live.status import LATENCY_BOUNDS_S, OutputState, OutputStatus, ServeStatus, StreamState, StreamStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
Sample = tuple[Labels, float]


class Metric(NamedTuple):
    """A row of a table: how a metric is called and what its samples are."""

    kind: Literal["counter", "gauge"]
    name: str
    """A counter's ends in _total."""
    help: str
    samples: Callable[[ServeStatus], Iterable[Sample]]


def _daemon(value: Callable[[ServeStatus], float]) -> Callable[[ServeStatus], Iterable[Sample]]:
    return lambda status: [({}, value(status))]


def _stream(value: Callable[[StreamStatus], float]) -> Callable[[ServeStatus], Iterable[Sample]]:
    return lambda status: [({"stream": stream.name}, value(stream)) for stream in status.streams]


def _known(value: Callable[[StreamStatus], float | None]) -> Callable[[ServeStatus], Iterable[Sample]]:
    """Of the streams that have such a value."""
    return lambda status: [({"stream": stream.name}, known) for stream in status.streams if (known := value(stream)) is not None]


def _by(label: str, counts: Callable[[StreamStatus], Mapping[str, int]]) -> Callable[[ServeStatus], Iterable[Sample]]:
    """One sample for each reason or role."""
    return lambda status: [
        ({"stream": stream.name, label: key}, count) for stream in status.streams for key, count in sorted(counts(stream).items())
    ]


def _outputs(status: ServeStatus) -> Iterator[tuple[Labels, OutputStatus]]:
    for stream in status.streams:
        for index, output in enumerate(stream.outputs):
            yield {"stream": stream.name, "output": str(index), "kind": output.kind}, output


def _output(value: Callable[[OutputStatus], float]) -> Callable[[ServeStatus], Iterable[Sample]]:
    return lambda status: [(labels, value(output)) for labels, output in _outputs(status)]


def _stream_states(status: ServeStatus) -> Iterator[Sample]:
    for stream in status.streams:
        for state in get_args(StreamState):
            yield {"stream": stream.name, "state": state}, stream.state == state


def _output_states(status: ServeStatus) -> Iterator[Sample]:
    for labels, output in _outputs(status):
        for state in get_args(OutputState):
            yield {**labels, "state": state}, output.state == state


METRICS: tuple[Metric, ...] = (
    Metric("gauge", "veil_info", "Version of Veil; always 1.", lambda status: [({"version": status.version}, 1)]),
    Metric("gauge", "veil_backend_info", "What runs the networks; always 1.", lambda status: [({"backend": status.backend}, 1)]),
    Metric("gauge", "veil_start_time_seconds", "When the daemon started, since the epoch.", _daemon(lambda status: status.started)),
    Metric("gauge", "veil_status_time_seconds", "When all this was true, since the epoch.", _daemon(lambda status: status.now)),
    Metric("gauge", "veil_ready", "1 when every enabled stream has sent something.", _daemon(lambda status: status.is_ready)),
    Metric("gauge", "veil_healthy", "1 when no stream is given up or silent.", _daemon(lambda status: status.is_healthy)),
    Metric("counter", "veil_reloads_total", "Reloads that were carried out.", _daemon(lambda status: status.reloads)),
    Metric("counter", "veil_reloads_refused_total", "Reloads that were not.", _daemon(lambda status: status.reloads_refused)),
    Metric(
        "gauge",
        "veil_reload_refused",
        "1 when the newest reload was refused.",
        _daemon(lambda status: status.reload_error is not None),
    ),
    Metric("gauge", "veil_detectors", "Processes that find faces.", _daemon(lambda status: status.detectors)),
    Metric("counter", "veil_detector_restarts_total", "Restarts of these.", _daemon(lambda status: status.detector_restarts)),
    Metric(
        "counter",
        "veil_cpu_seconds_total",
        "User and system time by role of the process.",
        lambda status: [({"role": role}, seconds) for role, seconds in sorted(status.cpu_s.items())],
    ),
    Metric("gauge", "veil_memory_bytes", "Memory of all processes together.", _daemon(lambda status: status.memory_bytes)),
    Metric("gauge", "veil_stream_state", "1 for the state that the stream is in.", _stream_states),
    Metric("gauge", "veil_stream_silent", "1 when it sends nothing and should.", _stream(lambda stream: stream.is_silent)),
    Metric(
        "gauge",
        "veil_stream_needs_attention",
        "1 when a person should look at it: its state, or an output that is away.",
        _stream(lambda stream: stream.attention is not None),
    ),
    Metric("gauge", "veil_fps_in", "Pictures a second from the camera.", _stream(lambda stream: stream.fps_in)),
    Metric("gauge", "veil_fps_out", "Safe pictures a second.", _stream(lambda stream: stream.fps_out)),
    Metric("counter", "veil_frames_in_total", "Pictures from the camera.", _stream(lambda stream: stream.frames_in)),
    Metric("counter", "veil_frames_out_total", "Safe pictures that were encoded.", _stream(lambda stream: stream.frames_out)),
    Metric("counter", "veil_slates_total", "Plain pictures sent instead of the camera's.", _stream(lambda stream: stream.slates)),
    Metric("counter", "veil_frames_dropped_total", "Frames that were left out.", _by("reason", lambda stream: stream.dropped)),
    Metric(
        "counter",
        "veil_frames_covered_whole_total",
        "Frames covered altogether.",
        _by("reason", lambda stream: stream.covered_whole),
    ),
    Metric("gauge", "veil_faces", "Faces covered in the newest frame.", _stream(lambda stream: stream.faces)),
    Metric("counter", "veil_faces_covered_total", "Covered faces by why they were.", _by("reason", lambda stream: stream.covers)),
    Metric(
        "counter",
        "veil_faces_fallback_total",
        "Faces covered otherwise than the filter is meant to.",
        _by("reason", lambda stream: stream.fallbacks),
    ),
    Metric("gauge", "veil_queue_frames", "Frames that wait for a detector.", _stream(lambda stream: stream.queue_frames)),
    Metric("gauge", "veil_in_flight_frames", "Frames between source and sink.", _stream(lambda stream: stream.in_flight_frames)),
    Metric(
        "gauge", "veil_look_ahead_seconds", "The part of the latency that is meant.", _stream(lambda stream: stream.look_ahead_s)
    ),
    Metric("gauge", "veil_width_pixels", "Width of the pictures.", _known(lambda stream: stream.width)),
    Metric("gauge", "veil_height_pixels", "Height of the pictures.", _known(lambda stream: stream.height)),
    Metric("counter", "veil_camera_reconnects_total", "Connections made anew.", _stream(lambda stream: stream.reconnects)),
    Metric("counter", "veil_process_restarts_total", "Restarts of its own processes.", _by("role", lambda stream: stream.restarts)),
    Metric("gauge", "veil_output_state", "1 for the state that the output is in.", _output_states),
    Metric("counter", "veil_output_packets_total", "Packets handed on.", _output(lambda output: output.packets)),
    Metric("counter", "veil_output_dropped_total", "Packets that it did not take.", _output(lambda output: output.dropped)),
    Metric("counter", "veil_output_reconnects_total", "Connections made anew.", _output(lambda output: output.reconnects)),
)
_LATENCY = "veil_latency_seconds"


def exposition(status: ServeStatus) -> str:
    """The whole page of metrics."""
    lines: list[str] = []
    for metric in METRICS:
        lines += _head(metric.name, metric.help, metric.kind)
        lines += (_sample(metric.name, labels, value) for labels, value in metric.samples(status))
    lines += _head(_LATENCY, "From the arrival of a picture to its encoded form, the look-ahead in it.", "histogram")
    for stream in status.streams:
        lines += _histogram(stream)
    return "\n".join([*lines, ""])


def _histogram(stream: StreamStatus) -> Iterator[str]:
    """Buckets as Prometheus counts them: each holds those below as well."""
    labels = {"stream": stream.name}
    bounds = [*(f"{bound:g}" for bound in LATENCY_BOUNDS_S), "+Inf"]
    counts = stream.latency_buckets or (0,) * len(bounds)
    for bound, count in zip(bounds, accumulate(counts), strict=True):
        yield _sample(f"{_LATENCY}_bucket", {**labels, "le": bound}, count)
    yield _sample(f"{_LATENCY}_sum", labels, stream.latency_sum_s)
    yield _sample(f"{_LATENCY}_count", labels, sum(counts))


def _head(name: str, text: str, kind: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _sample(name: str, labels: Labels, value: float) -> str:
    shown = ",".join(f'{label}="{_escape(text)}"' for label, text in labels.items())
    number = repr(float(value)) if isinstance(value, float) else str(int(value))
    return f"{name}{{{shown}}} {number}" if shown else f"{name} {number}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

"""The metrics, read by Prometheus' own parser."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import get_args

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from streamer.live.status import LATENCY_BOUNDS_S, ServeStatus, StreamState
from streamer.live.web.metrics import METRICS, exposition
from tests.live.statuses import HOSTILE, assorted_status, fetch, output_status, serve_status, stream_status, tell, web_worker

FREE_LABELS = {"stream", "reason", "role", "output", "kind", "state", "le", "version", "backend"}


def families(status: ServeStatus) -> dict[str, Metric]:
    found = list(text_string_to_metric_families(exposition(status)))
    by_name = {family.name: family for family in found}
    assert len(by_name) == len(found)
    return by_name


def value_of(status: ServeStatus, name: str, **labels: str) -> float:
    samples = [
        sample
        for family in families(status).values()
        for sample in family.samples
        if sample.name == name and dict(sample.labels) == labels
    ]
    assert len(samples) == 1, f"{name} {labels} is there {len(samples)} times"
    return float(samples[0].value)


def test_the_metrics_are_served_as_prometheus_asks_for_them() -> None:
    with web_worker() as worker:
        tell(worker, assorted_status())
        answer = fetch(worker, "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text == exposition(assorted_status())


def test_every_metric_is_explained_and_of_its_kind() -> None:
    found = families(assorted_status())
    assert len(found) == len(METRICS) + 1
    for metric in METRICS:
        family = found[metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert family.samples, f"{metric.name} has no sample"


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("veil_backend_info", {"backend": "openvino"}, 1),
        ("veil_info", {"version": "1.2.3"}, 1),
        ("veil_healthy", {}, 0),
        ("veil_ready", {}, 1),
        ("veil_reloads_total", {}, 3),
        ("veil_reload_refused", {}, 1),
        ("veil_reloads_refused_total", {}, 1),
        ("veil_cpu_seconds_total", {"role": "detector"}, 5100.5),
        ("veil_memory_bytes", {}, 1_450_000_000),
        ("veil_detector_restarts_total", {}, 1),
        ("veil_stream_state", {"stream": "yard", "state": "no_signal"}, 1),
        ("veil_stream_state", {"stream": "yard", "state": "running"}, 0),
        ("veil_stream_needs_attention", {"stream": "yard"}, 1),
        ("veil_stream_needs_attention", {"stream": "door"}, 0),
        ("veil_fps_out", {"stream": "door"}, 24.8),
        ("veil_frames_out_total", {"stream": "door"}, 1001),
        ("veil_frames_dropped_total", {"stream": "door", "reason": "overload"}, 5),
        ("veil_frames_covered_whole_total", {"stream": "door", "reason": "corrupt"}, 1),
        ("veil_faces_covered_total", {"stream": "door", "reason": "held"}, 40),
        ("veil_faces_fallback_total", {"stream": "door", "reason": "no keypoints"}, 7),
        ("veil_queue_frames", {"stream": "door"}, 1),
        ("veil_in_flight_frames", {"stream": "door"}, 9),
        ("veil_camera_reconnects_total", {"stream": "yard"}, 17),
        ("veil_process_restarts_total", {"stream": "door", "role": "source"}, 1),
        ("veil_output_state", {"stream": "yard", "output": "0", "kind": "rtmp", "state": "retrying"}, 1),
        ("veil_output_packets_total", {"stream": "door", "output": "1", "kind": "recording"}, 118_000),
        ("veil_output_reconnects_total", {"stream": "yard", "output": "0", "kind": "rtmp"}, 5),
    ],
)
def test_each_metric_is_what_the_status_says(name: str, labels: Mapping[str, str], value: float) -> None:
    assert value_of(assorted_status(), name, **labels) == value


def test_the_histogram_is_cumulative_and_agrees_with_itself() -> None:
    status = assorted_status()
    for stream in status.streams:
        samples = [one for one in families(status)["veil_latency_seconds"].samples if one.labels["stream"] == stream.name]
        buckets = {one.labels["le"]: one.value for one in samples if one.name.endswith("_bucket")}
        assert [float(bound) for bound in buckets] == [*LATENCY_BOUNDS_S, float("inf")]
        counts = list(buckets.values())
        assert counts == sorted(counts)
        assert [after - before for before, after in zip([0, *counts], counts, strict=False)] == list(stream.latency_buckets)
        assert value_of(status, "veil_latency_seconds_count", stream=stream.name) == counts[-1] == sum(stream.latency_buckets)
        assert value_of(status, "veil_latency_seconds_sum", stream=stream.name) == stream.latency_sum_s


def test_a_stream_is_in_one_state() -> None:
    for state in get_args(StreamState):
        samples = families(serve_status(stream_status(state=state)))["veil_stream_state"].samples
        assert [sample.labels["state"] for sample in samples if sample.value == 1] == [state]


def test_no_url_and_no_text_of_an_error_is_in_the_metrics() -> None:
    status = serve_status(stream_status(outputs=(output_status(last_error=HOSTILE),)), reload_error=HOSTILE)
    text = exposition(status)
    assert "://" not in text
    assert "example" not in text
    assert "owned" not in text
    assert {name for family in families(assorted_status()).values() for one in family.samples for name in one.labels} == FREE_LABELS


def test_a_reason_may_hold_what_would_end_a_label() -> None:
    reason = 'a "quoted" \\ thing\nveil_ready 7'
    status = serve_status(stream_status(fallbacks={reason: 3}))
    assert value_of(status, "veil_faces_fallback_total", stream="door", reason=reason) == 3
    assert value_of(status, "veil_ready") == 1


def test_each_line_is_of_the_format() -> None:
    for line in exposition(assorted_status()).splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) veil_\w+ .+|veil_\w+(\{(\w+="(?:[^"\\\n]|\\.)*",?)+\})? [-+0-9.e]+', line), line

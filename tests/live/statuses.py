"""Statuses of a daemon that does not run, and the web worker that shows them."""

from __future__ import annotations

import http.client
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from PIL import Image

from streamer.live.attention import attention_line, attention_of
from streamer.live.messages import Preview, StatusUpdate, WebSetup
from streamer.live.status import LATENCY_BOUNDS_S, Event, OutputStatus, ServeStatus, StreamStatus
from streamer.workers.web import WebWorker

NOW = 1_780_000_000.0
HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.body.id="owned"</script>\x1b[31m"\\ end'
"""What a camera could bring into a text."""


def output_status(**changes: Any) -> OutputStatus:
    usual = OutputStatus(
        kind="rtsp",
        to="rtsp://media.example:8554/door",
        state="connected",
        packets=120_400,
        dropped=0,
        reconnects=0,
        last_error=None,
    )
    return msgspec.structs.replace(usual, **changes)


def stream_status(name: str = "door", **changes: Any) -> StreamStatus:
    usual = StreamStatus(
        name=name,
        state="running",
        since=NOW - 11_534,
        input=f"rtsp://camera.example/{name}",
        width=1280,
        height=720,
        codec="h264",
        filter="gan",
        look_ahead_s=0.3,
        fps_in=25.0,
        fps_out=24.8,
        latency_ms=412.0,
        latency_p99_ms=587.0,
        latency_buckets=(0, 0, 3, 20, 400, 550, 20, 4, 2, 0, 0, 1, 0, 1),
        latency_sum_s=430.25,
        faces=2,
        frames_in=1010,
        frames_out=1001,
        slates=4,
        dropped={"overload": 5, "late": 2, "no_slot": 0, "rate": 0},
        covered_whole={"corrupt": 1},
        covers={"detected": 1800, "held": 40, "bridged": 12, "reached_back": 30},
        fallbacks={"no keypoints": 7},
        queue_frames=1,
        in_flight_frames=9,
        reconnects=2,
        restarts={"source": 1},
        outputs=(output_status(),),
        errors=(),
    )
    changed = msgspec.structs.replace(usual, **changes)
    attention = attention_of(changed.state, changed.outputs, is_silent=changed.is_silent)
    return msgspec.structs.replace(changed, attention=attention)


def serve_status(*streams: StreamStatus, **changes: Any) -> ServeStatus:
    usual = ServeStatus(
        version="1.2.3",
        pid=4321,
        started=NOW - 93_784,
        now=NOW,
        is_ready=True,
        is_healthy=True,
        config="/etc/veil/stream.yaml",
        reloads=3,
        reload_error=None,
        backend="openvino",
        detectors=2,
        detector_restarts=1,
        cpu_s={"detector": 5100.5, "source": 800.25, "sink": 1200.0, "anonymizer": 900.0, "publisher": 40.0},
        memory_bytes=1_450_000_000,
        streams=streams or (stream_status(),),
        attention=attention_line(streams),
    )
    return msgspec.structs.replace(usual, **changes)


def assorted_status() -> ServeStatus:
    """A bit of everything that can be the case."""
    return serve_status(
        stream_status("door", outputs=(output_status(), output_status(kind="recording", to="/var/lib/veil/door", packets=118_000))),
        stream_status(
            "yard",
            state="no_signal",
            since=NOW - 74,
            fps_in=0.0,
            fps_out=1.0,
            latency_ms=None,
            latency_p99_ms=None,
            faces=0,
            covered_whole={},
            fallbacks={},
            restarts={},
            reconnects=17,
            outputs=(
                output_status(
                    state="retrying", to="rtmp://live.example/app", kind="rtmp", reconnects=5, last_error="connection refused"
                ),
            ),
            errors=(Event(at=NOW - 74, text="the camera sent nothing for 2 s"), Event(at=NOW - 300, text="connection refused")),
        ),
        stream_status(
            "garage",
            state="failed",
            since=NOW - 4000,
            width=None,
            height=None,
            codec=None,
            fps_in=0.0,
            fps_out=0.0,
            latency_ms=None,
            latency_p99_ms=None,
            latency_buckets=(0,) * (len(LATENCY_BOUNDS_S) + 1),
            latency_sum_s=0.0,
            faces=0,
            covers={},
            outputs=(output_status(state="failed", kind="srt", to="srt://far.example:9000", last_error=HOSTILE),),
            errors=(Event(at=NOW - 4000, text=HOSTILE),),
        ),
        is_healthy=False,
        reloads_refused=1,
        reload_error="streams[2].outputs: door and yard would write to the same place",
    )


def small_jpeg(color: str = "#336677", size: tuple[int, int] = (320, 180)) -> bytes:
    kept = io.BytesIO()
    Image.new("RGB", size, color).save(kept, "JPEG")
    return kept.getvalue()


@contextmanager
def web_worker(*, token: str | None = None, preview: bool = True, host: str = "127.0.0.1") -> Iterator[WebWorker]:
    """The worker in this process, as its process would drive it, on a port of its own."""
    worker = WebWorker({})
    list(worker.process(WebSetup(host=host, port=0, token=token, preview=preview)))
    try:
        yield worker
    finally:
        worker.close()


def tell(worker: WebWorker, message: StatusUpdate | Preview | ServeStatus) -> None:
    """Hand a message to the worker."""
    list(worker.process(StatusUpdate(status=message) if isinstance(message, ServeStatus) else message))


class Answer:
    """What came back."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()
        self.text = self.body.decode("utf-8", "replace")


def fetch(worker: WebWorker, path: str, *, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
    """One request over a connection of its own; headers with _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return Answer(connection.getresponse())
    finally:
        connection.close()

"""What a load balancer or a service manager is told: well or not, and which streams are why."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from streamer.live.status import ServeStatus, StreamStatus
from streamer.live.web.exchange import Response, line

STALE_S = 10.0
"""The supervisor sends news once a second; where there is none for so long, nothing that is known counts."""


def no_news(status: ServeStatus | None, age_s: float) -> Response | None:
    """The answer where what is known cannot be vouched for; None where it can. age_s: how old the status is."""
    if status is None:
        return line(HTTPStatus.SERVICE_UNAVAILABLE, "starting")
    if age_s > STALE_S:
        return line(HTTPStatus.SERVICE_UNAVAILABLE, f"no news of the streams for {age_s:.0f} s")
    return None


def health(status: ServeStatus | None, age_s: float) -> Response:
    """age_s: how old the status is."""
    if (answer := no_news(status, age_s)) is not None:
        return answer
    assert status is not None
    failed = _names("given up", (stream for stream in status.streams if stream.state == "failed"))
    silent = _names("silent", (stream for stream in status.streams if stream.is_silent))
    if status.is_healthy:
        others = (stream for stream in status.streams if stream.attention is not None and stream.state != "failed")
        concerned = ", ".join(f"{stream.name} ({stream.attention})" for stream in others)
        return line(HTTPStatus.OK, "; ".join(["ok", *failed, *([f"needs attention: {concerned}"] if concerned else [])]))
    return line(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join([*failed, *silent]) or "not healthy")


def readiness(status: ServeStatus | None, age_s: float) -> Response:
    """age_s: how old the status is."""
    if (answer := no_news(status, age_s)) is not None:
        return answer
    assert status is not None
    if status.is_ready:
        return line(HTTPStatus.OK, "ready")
    waits = _names("nothing sent yet", (stream for stream in status.streams if stream.frames_out + stream.slates == 0))
    return line(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(waits) or "not ready")


def _names(what: str, streams: Iterable[StreamStatus]) -> list[str]:
    """One part of the line, or none."""
    names = ", ".join(stream.name for stream in streams)
    return [f"{what}: {names}"] if names else []

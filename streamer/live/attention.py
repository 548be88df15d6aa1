"""Whether a person should look at a stream: one rule for the page, `veil status`, the metrics and the service manager."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamer.live.status import OutputStatus, StreamState, StreamStatus

_STATES: Mapping[StreamState, str | None] = {
    "starting": None,
    "running": None,
    "no_signal": "no signal",
    "too_slow": "too slow",
    "failed": "given up",
    "ended": None,
    "stopped": None,
}


def attention_of(state: StreamState, outputs: Sequence[OutputStatus], *, is_silent: bool) -> str | None:
    """Why a stream in this state needs attention, in a few words without addresses; None where it does not."""
    reasons = ["silent" if is_silent and state != "failed" else _STATES[state], _about_outputs(outputs)]
    return ", ".join(reason for reason in reasons if reason is not None) or None


def attention_line(streams: Sequence[StreamStatus]) -> str | None:
    """How many streams need attention; None where none does."""
    concerned = sum(stream.attention is not None for stream in streams)
    if concerned == 0:
        return None
    counted = f"{len(streams)} {'stream' if len(streams) == 1 else 'streams'}"
    return f"{concerned} of {counted} {'needs' if concerned == 1 else 'need'} attention"


def _about_outputs(outputs: Sequence[OutputStatus]) -> str | None:
    """One that is only just connecting for the first time is nothing to look at."""
    away = sum(
        output.state not in ("connected", "ended") and (output.state == "failed" or output.reconnects > 0) for output in outputs
    )
    if away == 0:
        return None
    return "its output is not connected" if len(outputs) == 1 else f"{away} of {len(outputs)} outputs not connected"

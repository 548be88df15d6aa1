"""What the streams of a daemon have in common, and what tells them apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streamer.live.config import StreamSettings
from streamer.live.crew import Crew
from streamer.live.detectors import Detectors
from streamer.live.dispatch import LiveDispatcher
from streamer.live.messages import Preview
from streamer.live.output import Wording


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the streams have in common."""

    crew: Crew
    dispatcher: LiveDispatcher
    detectors: Detectors
    wording: Wording
    backend: str
    hang_limit_s: float | None
    """Of processes that run networks, where the backend is one that takes long to open; None for that of the table."""
    next_session: Callable[[], int]
    on_preview: Callable[[Preview], None]


def addresses_of(settings: StreamSettings, wording: Wording) -> tuple[str, ...]:
    """Of the input and the outputs, with their secrets: a stream with another password is another stream."""
    return tuple(wording.resolve(text) for text in (settings.input, *(output.to for output in settings.targets)))

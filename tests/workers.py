"""Workers without their processes."""

from __future__ import annotations

from streamer.messages import Message
from streamer.workers import Worker


def answers(worker: Worker, *messages: Message) -> list[Message]:
    """All that a worker says to these."""
    return [answer for message in messages for answer in worker.process(message)]

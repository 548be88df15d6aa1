"""Writes the pictures of one file without faces to the safe ring."""

from __future__ import annotations

from collections.abc import Iterable

from streamer.anonymizing import StreamAnonymizer
from streamer.hiding import Hider
from streamer.messages import (
    AnonymizerSetup,
    DetectedFrame,
    Message,
    SlotFree,
    SourceEnded,
    StreamReady,
    UndetectedFrame,
)
from streamer.rings import SlotState
from streamer.tracker import Tracker
from streamer.workers import RingHandles


class AnonymizerWorker:
    """One stream's frames from detections to safe pictures, in the order of their numbers whatever the order of arrival."""

    _setup: AnonymizerSetup
    _stream: StreamAnonymizer

    def __init__(self, rings: RingHandles) -> None:
        self._handles = rings

    def process(self, message: Message) -> Iterable[Message]:
        match message:
            case AnonymizerSetup():
                self._setup = message
                return ()
            case StreamReady():
                self._stream = self._open(message)
            case DetectedFrame(frame=frame, faces=faces):
                self._stream.add(frame, None if faces is None else faces.unpack())
            case UndetectedFrame(frame=frame):
                self._stream.add(frame, None)
            case SourceEnded():
                self._stream.end(message.frames)
            case SlotFree():
                self._stream.grant(message)
            case _:
                pass
        return self._stream.advance()

    def close(self) -> None:
        pass

    def _open(self, ready: StreamReady) -> StreamAnonymizer:
        layout = ready.opened.layout
        return StreamAnonymizer(
            layout=layout,
            raw=self._handles["raw"].reader(layout, ready.raw_slots, SlotState.RAW),
            safe=self._handles["safe"].writer(layout, ready.safe_slots, SlotState.SAFE),
            tracker=Tracker(self._setup.tracker, (layout.width, layout.height), max_frames=ready.window_frames),
            hider=Hider(self._setup.filter, layout, self._setup.backend),
            preview_detections=self._setup.preview_detections,
        )

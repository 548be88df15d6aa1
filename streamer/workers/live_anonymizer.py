"""Writes the pictures of one camera without faces to the safe ring, session after session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from streamer.anonymizing import StreamAnonymizer
from streamer.config import TrackerSettings
from streamer.filters import open_filter
from streamer.hiding import Hider
from streamer.live.messages import FrameDropped, LiveAnonymizerSetup, SessionEnded, SessionReady
from streamer.live.zones import Zones
from streamer.messages import DetectedFrame, Message, RawFrame, SlotFree, UndetectedFrame
from streamer.pictures import Plane
from streamer.rings import SlotState
from streamer.tracker import Tracker
from streamer.workers import RingHandles


@dataclass(frozen=True, kw_only=True)
class _Session:
    number: int
    stream: StreamAnonymizer
    zones: Zones


class LiveAnonymizerWorker:
    """One stream; what comes of a session that is over leads to nothing."""

    _setup: LiveAnonymizerSetup

    def __init__(self, rings: RingHandles) -> None:
        self._handles = rings
        self._session: _Session | None = None

    def process(self, message: Message) -> Iterable[Message]:
        match message:
            case LiveAnonymizerSetup():
                self._setup = message
                # Libraries and weights are loaded before anybody waits for the first picture.
                open_filter(message.filter, message.backend)
            case SessionReady():
                self._session = self._begin(message)
            case SessionEnded(session=number) if self._session is not None and self._session.number == number:
                self._session = None
            case DetectedFrame(frame=frame, faces=faces) if (session := self._of(frame.stream)) is not None:
                found = None if faces is None else session.zones.without_ignored(faces.unpack(), datetime.now())
                session.stream.add(frame, found)
            case UndetectedFrame(frame=RawFrame(stream=number) as frame) if (session := self._of(number)) is not None:
                session.stream.add(frame, None)
            case FrameDropped(session=number) if (session := self._of(number)) is not None:
                session.stream.skip(message.number)
            case SlotFree(stream=number) if (session := self._of(number)) is not None:
                session.stream.grant(message)
            case _:
                pass
        return self._session.stream.advance() if self._session is not None else ()

    def close(self) -> None:
        pass

    def _of(self, number: int) -> _Session | None:
        return self._session if self._session is not None and self._session.number == number else None

    def _begin(self, ready: SessionReady) -> _Session:
        setup, layout = self._setup, ready.layout
        zones = Zones(setup.zones, layout)

        def cover(planes: Sequence[Plane]) -> None:
            zones.cover(planes, datetime.now())

        stream = StreamAnonymizer(
            layout=layout,
            raw=self._handles["raw"].reader(layout, ready.raw_slots, SlotState.RAW),
            safe=self._handles["safe"].writer(layout, ready.safe_slots, SlotState.SAFE),
            tracker=Tracker(
                TrackerSettings(look_ahead_s=setup.look_ahead_s), (layout.width, layout.height), max_frames=ready.window_frames
            ),
            hider=Hider(setup.filter, layout, setup.backend),
            first=ready.first_number,
            max_age_s=setup.max_age_s,
            confirmed_within_s=setup.look_ahead_s,
            finish=cover if zones else None,
        )
        return _Session(number=ready.session, stream=stream, zones=zones)

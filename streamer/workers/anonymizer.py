"""Puts frames back in order, tracks faces over the look-ahead, and writes pictures without faces to the safe ring."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from models.faces import Faces
from streamer.hiding import Fallbacks, Hider, KnownFaces
from streamer.messages import (
    AnonymizedFrame,
    AnonymizerSetup,
    Cover,
    DetectedFrame,
    FrameReport,
    Message,
    RawFrame,
    SlotFree,
    SourceEnded,
    StreamReady,
    UndetectedFrame,
)
from streamer.pictures import PictureLayout
from streamer.preview import draw_detections, shown_reasons
from streamer.rings import RingReader, RingWriter, SlotState
from streamer.tracker import TrackedFrame, Tracker
from streamer.workers import RingHandles


class AnonymizerWorker:
    """One stream's frames from detections to safe pictures, in the order of their numbers whatever the order of arrival.

    It waits for nothing: what cannot go on, for want of an earlier frame, of look-ahead or of a safe slot, is kept and goes on with
    the message that brings it. The raw slots bound what is kept.
    """

    _setup: AnonymizerSetup
    _layout: PictureLayout
    _raw: RingReader
    _safe: RingWriter
    _tracker: Tracker
    _hider: Hider

    def __init__(self, rings: RingHandles) -> None:
        self._handles = rings
        self._early: dict[int, tuple[RawFrame, Faces | None]] = {}  # arrived before a frame that precedes it
        self._next = 0
        self._frames: dict[int, RawFrame] = {}  # in the tracker or waiting for a safe slot
        self._tracked: deque[TrackedFrame] = deque()  # wait for a safe slot
        self._free: deque[SlotFree] = deque()
        self._end: int | None = None

    def process(self, message: Message) -> Iterable[Message]:
        match message:
            case AnonymizerSetup():
                self._setup = message
            case StreamReady():
                self._open(message)
            case DetectedFrame(frame=frame, faces=faces):
                self._early[frame.number] = (frame, None if faces is None else faces.unpack())
            case UndetectedFrame(frame=frame):
                self._early[frame.number] = (frame, None)
            case SourceEnded():
                self._end = message.frames
            case SlotFree():
                self._free.append(message)
            case _:
                pass
        self._track()
        return self._hide()

    def close(self) -> None:
        pass

    def _open(self, ready: StreamReady) -> None:
        layout = ready.opened.layout
        self._raw = self._handles["raw"].reader(layout, ready.raw_slots, SlotState.RAW)
        self._safe = self._handles["safe"].writer(layout, ready.safe_slots, SlotState.SAFE)
        self._layout = layout
        self._tracker = Tracker(self._setup.tracker, (layout.width, layout.height), max_frames=ready.window_frames)
        self._hider = Hider(self._setup.filter, layout, self._setup.backend)

    def _track(self) -> None:
        """Give the tracker every frame whose predecessors it has."""
        while self._next in self._early:
            frame, faces = self._early.pop(self._next)
            self._frames[frame.number] = frame
            reason = "corrupt" if frame.is_corrupt else None
            self._tracked += self._tracker.push(frame.number, frame.time_s, faces, is_cut=frame.is_cut, covered_whole=reason)
            self._next += 1
        if self._next == self._end:
            self._tracked += self._tracker.flush()
            self._end = None

    def _hide(self) -> Iterator[Message]:
        """Every frame that is complete and has a slot."""
        while self._tracked and self._free:
            tracked = self._tracked.popleft()
            frame = self._frames.pop(tracked.number)
            fallbacks: Fallbacks = {}
            yield self._anonymize(frame, tracked, fallbacks, self._free.popleft())
            yield _report(frame, tracked, fallbacks)

    def _anonymize(self, frame: RawFrame, tracked: TrackedFrame, fallbacks: Fallbacks, free: SlotFree) -> AnonymizedFrame:
        """Writes the safe picture, and into `fallbacks` which faces are covered otherwise than the filter is meant to."""
        raw = self._raw.planes(frame)
        with self._safe.writing(stream=frame.stream, number=frame.number, slot=free.slot, generation=free.generation) as safe:
            if tracked.covered_whole is None:
                known = KnownFaces(
                    time_s=frame.time_s,
                    tracks=tracked.tracks,
                    best_scores=tracked.best_scores,
                    keypoints=tracked.keypoints,
                    keypoint_scores=tracked.keypoint_scores,
                )
                fallbacks.update(self._hider.hide(raw, safe, tracked.boxes, known))
            else:
                self._hider.cover_whole(safe)
            if self._setup.preview_detections:
                draw_detections(
                    safe, self._layout, tracked.boxes, shown_reasons(tracked.reasons, fallbacks), tracked.tracks.tolist()
                )
        return AnonymizedFrame(
            stream=frame.stream,
            number=frame.number,
            slot=free.slot,
            generation=free.generation,
            pts=frame.pts,
            duration=frame.duration,
        )


def _report(frame: RawFrame, tracked: TrackedFrame, fallbacks: Fallbacks) -> FrameReport:
    rows = zip(tracked.tracks.tolist(), tracked.boxes.tolist(), tracked.reasons, tracked.scores.tolist(), strict=True)
    return FrameReport(
        stream=frame.stream,
        number=frame.number,
        pts=frame.pts,
        time_s=frame.time_s,
        raw_slot=frame.slot,
        covers=[
            Cover(track, tuple(box), reason, score, fallbacks.get(row)) for row, (track, box, reason, score) in enumerate(rows)
        ],
        covered_whole=tracked.covered_whole,
    )

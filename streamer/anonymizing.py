"""One stream's frames from detections to safe pictures: in order, tracked over the look-ahead, every face hidden."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from loguru import logger

from models.faces import Faces
from streamer.effort import ThoroughLooks
from streamer.hiding import Fallbacks, Hider, KnownFaces
from streamer.messages import AnonymizedFrame, Cover, FrameReport, Message, RawFrame, SlotFree
from streamer.pictures import PictureLayout, Plane
from streamer.preview import draw_detections, shown_reasons
from streamer.rings import RingReader, RingWriter, SlotMismatchError
from streamer.tracker import TrackedFrame, Tracker


@dataclass(kw_only=True)
class StreamAnonymizer:
    """Takes frames in any order and gives safe pictures in the order of their numbers.

    It waits for nothing: what cannot go on, for want of an earlier frame, of look-ahead or of a safe slot, is kept and goes on with
    what brings it. The raw slots bound what is kept. After each call of the others, `advance` tells what can be done.
    """

    layout: PictureLayout
    raw: RingReader
    safe: RingWriter
    tracker: Tracker
    hider: Hider
    preview_detections: bool = False
    max_age_s: float | None = None
    """Live: frames whose pictures arrived longer ago are dropped when their turn comes, and one whose raw slot holds another one is
    covered whole; where this is None, that raises SlotMismatchError."""
    confirmed_within_s: float | None = None
    """Live: frames that were looked at quickly are dropped unless a thorough look before and one behind them are so near."""
    first: int = 0
    """Number of the first frame."""
    finish: Callable[[Sequence[Plane]], None] | None = None
    """Called on each picture that is safe otherwise, to hide more of it."""

    def __post_init__(self) -> None:
        self._early: dict[int, tuple[RawFrame, Faces | None] | None] = {}  # arrived before a frame that precedes it; None: dropped
        self._next = self.first
        self._frames: dict[int, RawFrame] = {}  # in the tracker or waiting for a safe slot
        self._tracked: deque[TrackedFrame] = deque()  # wait for a safe slot
        self._free: deque[SlotFree] = deque()
        self._end: int | None = None
        self._looks = ThoroughLooks(self.confirmed_within_s) if self.confirmed_within_s is not None else None
        self._unconfirmed: set[int] = set()  # of those in `_tracked`

    def add(self, frame: RawFrame, faces: Faces | None) -> None:
        """A frame with its own detections; None where they cannot be known, and all of it must be covered."""
        if frame.number >= self._next:
            self._early[frame.number] = (frame, faces)

    def skip(self, number: int) -> None:
        """This frame will not come."""
        if number >= self._next:
            self._early[number] = None

    def grant(self, free: SlotFree) -> None:
        """A slot of the safe ring may be written."""
        self._free.append(free)

    def end(self, frames: int) -> None:
        """The stream has so many frames."""
        self._end = frames

    def advance(self) -> Iterator[Message]:
        """Every frame that is complete and has a slot: its picture, and the report that frees its raw slot."""
        self._track()
        return self._hide()

    def _track(self) -> None:
        """Give the tracker every frame whose predecessors it has."""
        while self._next in self._early:
            arrived = self._early.pop(self._next)
            if arrived is not None:
                self._push(*arrived)
            self._next += 1
        if self._next == self._end:
            self._tracked += self.tracker.flush()
            self._end = None

    def _push(self, frame: RawFrame, faces: Faces | None) -> None:
        self._frames[frame.number] = frame
        reason = "corrupt" if frame.is_corrupt else None
        complete = self.tracker.push(frame.number, frame.time_s, faces, is_cut=frame.is_cut, covered_whole=reason)
        self._tracked += complete
        if self._looks is None:
            return
        is_look = frame.effort == "thorough" and faces is not None
        if is_look and not frame.is_cut:
            self._looks.add(frame.number, frame.time_s)
        self._unconfirmed.update(tracked.number for tracked in complete if not self._is_confirmed(tracked, self._looks))
        if frame.is_cut:
            self._looks.begin_shot()
            if is_look:
                self._looks.add(frame.number, frame.time_s)

    def _is_confirmed(self, tracked: TrackedFrame, looks: ThoroughLooks) -> bool:
        frame = self._frames[tracked.number]
        is_between = looks.surround(frame.number, frame.time_s)  # asked of every frame, so that it can forget
        return is_between or frame.effort != "quick" or tracked.covered_whole is not None

    def _hide(self) -> Iterator[Message]:
        while self._tracked and (self._free or self._why_dropped(self._tracked[0])):
            tracked = self._tracked.popleft()
            dropped = self._why_dropped(tracked)
            self._unconfirmed.discard(tracked.number)
            frame = self._frames.pop(tracked.number)
            fallbacks: Fallbacks = {}
            if dropped is None:
                tracked, picture = self._anonymize(frame, tracked, fallbacks, self._free.popleft())
                yield picture
            yield _report(frame, tracked, fallbacks, dropped=dropped)

    def _why_dropped(self, tracked: TrackedFrame) -> str | None:
        """None where it is not."""
        if tracked.number in self._unconfirmed:
            return "unconfirmed"
        if self.max_age_s is None:
            return None
        return "late" if time.monotonic() - self._frames[tracked.number].captured_s > self.max_age_s else None

    def _anonymize(
        self, frame: RawFrame, tracked: TrackedFrame, fallbacks: Fallbacks, free: SlotFree
    ) -> tuple[TrackedFrame, AnonymizedFrame]:
        """Writes the safe picture, and into `fallbacks` which faces are covered otherwise than the filter is meant to."""
        with self.safe.writing(stream=frame.stream, number=frame.number, slot=free.slot, generation=free.generation) as safe:
            if tracked.covered_whole is None and not self._hide_faces(frame, tracked, fallbacks, safe):
                fallbacks.clear()
                tracked = replace(tracked, covered_whole="undetectable")
            if tracked.covered_whole is not None:
                self.hider.cover_whole(safe)
            if self.finish is not None:
                self.finish(safe)
            if self.preview_detections:
                draw_detections(
                    safe, self.layout, tracked.boxes, shown_reasons(tracked.reasons, fallbacks), tracked.tracks.tolist()
                )
        return tracked, AnonymizedFrame(
            stream=frame.stream,
            number=frame.number,
            slot=free.slot,
            generation=free.generation,
            pts=frame.pts,
            duration=frame.duration,
        )

    def _hide_faces(self, frame: RawFrame, tracked: TrackedFrame, fallbacks: Fallbacks, safe: Sequence[Plane]) -> bool:
        """False where the slot does not hold the frame, or no longer did when it was copied: these boxes are of another picture."""
        known = KnownFaces(
            time_s=frame.time_s,
            tracks=tracked.tracks,
            best_scores=tracked.best_scores,
            keypoints=tracked.keypoints,
            keypoint_scores=tracked.keypoint_scores,
            seen=tracked.scores > 0,
        )
        try:
            fallbacks.update(self.hider.hide(self.raw.planes(frame), safe, tracked.boxes, known))
            self.raw.planes(frame)
        except SlotMismatchError as error:
            if self.max_age_s is None:
                self.hider.cover_whole(safe)
                raise
            logger.error("a frame is covered whole: {}", error)
            return False
        return True


def _report(frame: RawFrame, tracked: TrackedFrame, fallbacks: Fallbacks, *, dropped: str | None) -> FrameReport:
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
        dropped=dropped,
    )

"""One camera's way through dispatcher, tracker and anonymizer in simulated time, with what real detectors find in real footage.

Detectors are slow, hang or are lost by chance, slots run out; of every picture that goes out it is told which faces show.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

from models.detectors import Effort, image_render
from models.faces import Boxes
from streamer.anonymizing import StreamAnonymizer
from streamer.budget import RingPlan
from streamer.config import StreamDetectorSettings, TrackerSettings
from streamer.cuts import CutDetector
from streamer.effort import ThoroughPace
from streamer.live.dispatch import LiveDispatcher
from streamer.live.session import Session
from streamer.messages import AnonymizedFrame, DetectedFrame, FacesRecord, FrameReport, RawFrame, SlotFree
from streamer.pictures import PictureLayout, Plane
from streamer.tracker import Tracker
from streamer.workers.detector import detector_of
from tests.live.frames import SESSION, opened
from tests.live.people import open_finder, open_judge
from tests.live.witness import Footage, look_at_footage

LOOK_AHEAD_S = 0.3
THOROUGH_EVERY_S = 0.25
EFFORTS: tuple[Effort, ...] = ("quick", "careful", "thorough")
COSTS = {"thorough": 1.0, "careful": 0.7, "quick": 0.3}
MARGIN = 0.1
"""By which a mask is larger than its box."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """A clip that is shown in a loop, and all that can be seen in it."""

    rate: int
    layout: PictureLayout
    footage: Footage
    lumas: Sequence[Plane]
    found: Sequence[dict[Effort, FacesRecord]]
    """What the daemon's detector finds in each picture."""


def film_of(clip: Path, rate: int) -> Film:
    detector = detector_of(StreamDetectorSettings(), "cpu")
    lumas: list[Plane] = []
    found: list[dict[Effort, FacesRecord]] = []
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            lumas.append(frame.to_ndarray(format="gray").astype(np.uint8))
            render, size = image_render(frame.to_ndarray(format="rgb24").astype(np.uint8)), (frame.width, frame.height)
            found.append({effort: FacesRecord.pack(detector.detect(render, size, effort=effort)) for effort in EFFORTS})
    layout = PictureLayout(width=size[0], height=size[1], pixel_format="yuv420p")
    return Film(rate=rate, layout=layout, footage=look_at_footage(clip, open_judge(), open_finder()), lumas=lumas, found=found)


class _NoRing:
    """Pictures do not matter."""

    def planes(self, frame: RawFrame) -> tuple[Plane, ...]:
        return ()

    @contextmanager
    def writing(self, **_: int) -> Iterator[tuple[Plane, ...]]:
        yield ()


class _Hider:
    covered: Boxes | None = None
    """Of the newest picture; None where all of it is covered."""

    def hide(self, raw: object, safe: object, boxes: Boxes, known: object) -> dict[int, str]:
        self.covered = boxes
        return {}

    def cover_whole(self, safe: object) -> None:
        self.covered = None


class Simulation:
    """Everything by chance is drawn from the seed: how busy and how many the detectors are, how often one hangs, how many slots."""

    def __init__(self, film: Film, seed: int) -> None:
        self.showing: list[str] = []
        self.frames_out = 0
        self.dropped: list[str] = []
        self._film = film
        self._random = random.Random(seed)
        self._load = self._random.choice([0.3, 0.7, 1.2, 2.5])
        slots = self._random.choice([6, 9, 14])
        self._detectors = self._random.choice([1, 2, 2])
        self._hangs = self._random.choice([0.0, 0.01, 0.03])
        self._dispatcher = LiveDispatcher()
        for number in range(self._detectors):
            self._dispatcher.add_idle(f"detector-{number}")
        plan = RingPlan(raw_slots=slots, safe_slots=1, window_frames=slots, interval_frames=None, look_ahead_s=None)
        self._session = Session(opened(layout=film.layout), plan)
        self._free = deque(self._session.raw_grants())
        self._hider = _Hider()
        self._anonymizer = StreamAnonymizer(
            layout=film.layout,
            raw=cast("Any", _NoRing()),
            safe=cast("Any", _NoRing()),
            tracker=Tracker(TrackerSettings(look_ahead_s=LOOK_AHEAD_S), (film.layout.width, film.layout.height), max_frames=slots),
            hider=cast("Any", self._hider),
            confirmed_within_s=LOOK_AHEAD_S,
        )
        self._pace, self._cuts = ThoroughPace(None, THOROUGH_EVERY_S), CutDetector()
        self._events: list[tuple[float, int, Any]] = []
        self._order = itertools.count()
        self._pictures: list[int] = []
        """Of the clip, by the numbers of the frames."""

    def run(self, seconds: float) -> None:
        for number in range(int(seconds * self._film.rate)):
            self._at(number / self._film.rate + self._random.uniform(0, 0.004), number)
        for number in range(int(seconds * 20)):
            self._at(number / 20, None)
        while self._events:
            now_s, _, event = heapq.heappop(self._events)
            match event:
                case int(number):
                    self._film_picture(number, now_s)
                case (process, frame):
                    self._answer(process, frame)
                case None:
                    self._give_up_old(now_s)
            self._go_on(now_s)
        self._session.close()

    def _at(self, time_s: float, event: object) -> None:
        heapq.heappush(self._events, (time_s, next(self._order), event))

    def _film_picture(self, number: int, now_s: float) -> None:
        """As the camera's process does it."""
        if not self._free:
            self.dropped.append("no_slot")
            return
        slot, frame_number = self._free.popleft(), self._session.next_number
        picture = number % len(self._film.lumas)
        is_cut = self._cuts.is_cut(self._film.lumas[picture]) or frame_number == 0
        time_s = number / self._film.rate
        frame = RawFrame(
            stream=SESSION,
            number=frame_number,
            slot=slot.slot,
            generation=slot.generation,
            pts=0,
            duration=0,
            time_s=time_s,
            is_corrupt=False,
            is_cut=is_cut,
            effort="thorough" if self._pace.is_due(frame_number, time_s, is_cut=is_cut) else "quick",
            captured_s=now_s,
        )
        self._pictures.append(picture)
        for dropped in self._dispatcher.submit(self._session.take(frame)):
            self._drop(dropped)

    def _answer(self, process: str, frame: RawFrame) -> None:
        if self._dispatcher.finish(process, frame) and self._session.knows(frame):
            faces = self._film.found[self._pictures[frame.number]][frame.effort]
            self._session.answered(DetectedFrame(frame=frame, faces=faces))
            self._anonymizer.add(frame, faces.unpack())

    def _give_up_old(self, now_s: float) -> None:
        before = {SESSION: now_s - 1.75}
        for frame in self._dispatcher.drop_older(before):
            self._drop(frame)
        for frame in self._dispatcher.expire(before):
            if self._session.knows(frame):
                self._session.answered(DetectedFrame(frame=frame, faces=None))
                self._anonymizer.add(frame, None)

    def _drop(self, frame: RawFrame) -> None:
        if self._session.knows(frame):
            self.dropped.append("overload")
            self._anonymizer.skip(frame.number)
            self._release(self._session.drop(frame.number))

    def _go_on(self, now_s: float) -> None:
        congested = {SESSION} if self._session.is_congested(LOOK_AHEAD_S) else set()
        for process, frame in self._dispatcher.assign(now_s, congested):
            usual_s = self._load * self._detectors / self._film.rate * COSTS[frame.effort]
            hang_s = self._random.uniform(0.3, 3) if self._random.random() < self._hangs else 0.0
            self._at(now_s + usual_s * self._random.uniform(0.5, 2) + hang_s, (process, frame))
        self._anonymizer.grant(SlotFree(stream=SESSION, slot=0, generation=1))
        for message in self._anonymizer.advance():
            if isinstance(message, AnonymizedFrame):
                self._look_at(message.number)
                self._anonymizer.grant(SlotFree(stream=SESSION, slot=0, generation=1))
            elif isinstance(message, FrameReport):
                self.dropped += [message.dropped] if message.dropped is not None else []
                self._release(self._session.drop(message.number))

    def _release(self, slot: SlotFree | None) -> None:
        if slot is not None:
            self._free.append(slot)

    def _look_at(self, number: int) -> None:
        self.frames_out += 1
        boxes = self._hider.covered
        if boxes is None:
            return
        grow = MARGIN * (boxes[:, 2:] - boxes[:, :2]) + 1
        masks = np.concatenate((boxes[:, :2] - grow, boxes[:, 2:] + grow), axis=1)
        for rows, columns in self._film.footage.faces[self._pictures[number]]:
            inner = np.array([columns.start, rows.start, columns.stop, rows.stop])
            if not ((masks[:, :2] <= inner[:2]).all(axis=1) & (masks[:, 2:] >= inner[2:]).all(axis=1)).any():
                self.showing.append(f"frame {number}, picture {self._pictures[number]}: {inner.tolist()}")

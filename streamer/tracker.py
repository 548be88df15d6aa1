"""Tracks faces over a look-ahead, so that each stays covered before it is first seen, through gaps, and after it is last seen.

push -> association (which track a detection continues) -> wait for the look-ahead -> smoothing (what to cover) -> TrackedFrame
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.faces import KEYPOINT_NAMES, Boxes, Faces, Keypoints, KeypointScores, Scores
from streamer.association import Link, Motion, associate, centres_and_sizes
from streamer.config import TrackerSettings
from streamer.smoothing import TIME_ERROR_S, Cover, History, observations

LEAST_MEMORY_S = 0.5
"""A face that comes back within this time keeps its track, however short the look-ahead."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedFrame:
    """What must be covered in one frame: row i of every array describes box i.

    A track has one box in a frame, but more where it is in doubt whether it is one face or two.
    """

    number: int
    boxes: Boxes
    """(faces, 4), pixels; each touches the frame and may reach over its border; a detected face lies wholly in its box."""
    tracks: NDArray[np.int64]
    """(faces,), from 1, never given twice in a stream."""
    reasons: tuple[str, ...]
    """Of each box: detected, reached_back, bridged or held."""
    scores: Scores
    """Of the detection; 0 where there is none in this frame."""
    best_scores: Scores
    """Of all detections of the track up to the end of the look-ahead."""
    keypoints: Keypoints
    keypoint_scores: KeypointScores
    """Smoothed, interpolated, or moved on as the box is."""
    covered_whole: str | None
    """Why the whole frame must be covered (corrupt, undetectable); None where only the boxes must."""


@dataclass
class _Track:
    id: int
    motion: Motion
    history: History = field(default_factory=History)


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    """A frame whose look-ahead is not complete."""

    number: int
    time_s: float
    covered_whole: str | None


class Tracker:
    """Takes the detections of one stream frame by frame and gives each frame back once, in order, when its future is known.

    frame_size: width and height in pixels.
    max_frames: most frames that wait inside after any call; where they last shorter than the look-ahead, faces are covered less
    long before they are first seen. None sets no limit but time.

    A cut ends every track: nothing is held, reached back, bridged, smoothed or associated across it. What is remembered is bounded
    by the look-ahead, not by the length of the stream.
    """

    def __init__(self, settings: TrackerSettings, frame_size: tuple[int, int], *, max_frames: int | None = None) -> None:
        self._look_ahead_s = settings.look_ahead_s
        self._memory_s = max(2 * settings.look_ahead_s, LEAST_MEMORY_S)
        self._frame_size = frame_size
        self._max_frames = max_frames
        self._waiting: deque[_Waiting] = deque()
        self._tracks: list[_Track] = []
        self._next_id = 1
        self._newest_number = -1
        self._newest_time_s: float | None = None
        self._newest_s = 0.0  # since the first frame, by a clock that never goes back

    def push(
        self, number: int, time_s: float, faces: Faces | None, *, is_cut: bool, covered_whole: str | None = None
    ) -> list[TrackedFrame]:
        """Takes a frame; returns those that are complete now, which may be none or several.

        number: larger than that of the frame before, else ValueError. time_s: a time that goes back counts as standing still.
        faces: None where they cannot be known; such a frame is covered whole, and tracks are bridged over it.
        """
        if number <= self._newest_number:
            raise ValueError(f"frame {number} came after frame {self._newest_number}")
        complete: list[TrackedFrame] = []
        if is_cut:
            complete = self.flush()
            self._tracks.clear()
        self._advance(number, time_s)
        if faces is None:
            covered_whole = covered_whole or "undetectable"
        elif len(faces):
            self._take(number, self._newest_s, faces)
        self._waiting.append(_Waiting(number=number, time_s=self._newest_s, covered_whole=covered_whole))
        while self._waiting and self._is_complete(self._waiting[0]):
            complete.append(self._leave())
        self._forget()
        return complete

    def flush(self) -> list[TrackedFrame]:
        """The frames that still wait; the stream or the shot has no more."""
        return [self._leave() for _ in range(len(self._waiting))]

    def _advance(self, number: int, time_s: float) -> None:
        if self._newest_time_s is not None:
            self._newest_s += max(time_s - self._newest_time_s, 0.0)
        self._newest_number, self._newest_time_s = number, time_s

    def _take(self, number: int, time_s: float, faces: Faces) -> None:
        """Adds the detections to their tracks, or begins new ones."""
        centres, sizes = centres_and_sizes(faces.boxes)
        alive = [track for track in self._tracks if self._is_alive(track, number, time_s)]
        links = associate([track.motion for track in alive], centres, sizes, time_s)
        rows = observations(faces)
        for link, (x, y), size, row in zip(links, centres.tolist(), sizes.tolist(), rows, strict=True):
            if link is None:
                track = _Track(self._next_id, Motion(x, y, size, time_s))
                self._next_id += 1
                self._tracks.append(track)
            else:
                track = alive[link.track]
                track.motion.update(x, y, size, time_s)
            track.history.append(number, time_s, row, is_doubtful=isinstance(link, Link) and link.is_doubtful)

    def _is_alive(self, track: _Track, number: int, time_s: float) -> bool:
        """Whether the track can be continued; over the neighbouring frames whatever the time."""
        return time_s - track.history.last_time_s <= self._memory_s + TIME_ERROR_S or number - track.history.last_number <= 2

    def _is_complete(self, frame: _Waiting) -> bool:
        if self._max_frames is not None and len(self._waiting) > self._max_frames:
            return True
        if self._look_ahead_s == 0:
            return True
        return self._newest_number > frame.number and self._newest_s - frame.time_s >= self._look_ahead_s - TIME_ERROR_S

    def _leave(self) -> TrackedFrame:
        frame = self._waiting.popleft()
        covers: list[Cover] = []
        ids: list[int] = []
        best_scores: list[float] = []
        for track in self._tracks:
            for cover in track.history.covers(frame.number, frame.time_s, self._look_ahead_s):
                if self._touches_frame(cover):
                    covers.append(cover)
                    ids.append(track.id)
                    best_scores.append(track.history.best_score)
        count, names = len(covers), len(KEYPOINT_NAMES)
        return TrackedFrame(
            number=frame.number,
            boxes=np.array([cover.box for cover in covers], np.float32).reshape(count, 4),
            tracks=np.array(ids, np.int64),
            reasons=tuple(cover.reason for cover in covers),
            scores=np.array([cover.score for cover in covers], np.float32),
            best_scores=np.array(best_scores, np.float32),
            keypoints=np.array([cover.keypoints for cover in covers], np.float32).reshape(count, names, 2),
            keypoint_scores=np.array([cover.keypoint_scores for cover in covers], np.float32).reshape(count, names),
            covered_whole=frame.covered_whole,
        )

    def _touches_frame(self, cover: Cover) -> bool:
        width, height = self._frame_size
        x1, y1, x2, y2 = map(float, cover.box)
        return x1 < width and y1 < height and x2 > 0 and y2 > 0

    def _forget(self) -> None:
        """Drops detections and tracks that can have no part in any frame to come."""
        needed_s = (self._waiting[0].time_s if self._waiting else self._newest_s) - self._look_ahead_s
        kept: list[_Track] = []
        for track in self._tracks:
            is_needed = track.history.last_time_s >= needed_s - TIME_ERROR_S
            if is_needed or self._is_alive(track, self._newest_number, self._newest_s):
                track.history.forget_before(needed_s)
                kept.append(track)
        self._tracks = kept

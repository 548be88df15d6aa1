"""The faces of the original over time, so that a gap in what covers one is seen as what it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.faces import Boxes
from streamer.association import Motion, associate, centres_and_sizes
from streamer.verify.exposure import Exposure

MEMORY_S = 1.0
"""A face that comes back within this time is the same track."""
_FRAMES_REMEMBERED = 2
"""And over this many examined frames, however far apart they are."""


@dataclass(kw_only=True)
class Track:
    """One face of the original from its first to its last frame."""

    id: int
    """From 1."""
    first_s: float
    last_s: float
    motion: Motion
    last_turn: int
    """Number of the last examined frame that shows it, counting only those examined."""
    faces: int = 0
    exposed: int = 0
    worst: Exposure | None = None
    """None until a face of it was looked at."""
    worst_frame: int = 0
    longest_exposed_run: int = 0
    """Examined frames in succession."""
    widest_px: float = 0.0
    _run: int = field(default=0, repr=False)

    def add(self, frame: int, width_px: float, exposure: Exposure) -> None:
        self.faces += 1
        self.widest_px = max(self.widest_px, width_px)
        if self.worst is None or exposure.rank > self.worst.rank:
            self.worst, self.worst_frame = exposure, frame
        self._run = self._run + 1 if exposure.is_exposed else 0
        self.exposed += exposure.is_exposed
        self.longest_exposed_run = max(self.longest_exposed_run, self._run)


class TrackBook:
    """Says which face of a frame is which; to be asked for each examined frame in order."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._alive: list[Track] = []
        self._turn = 0

    def take(self, time_s: float, boxes: Boxes, *, is_cut: bool) -> list[Track]:
        """The track of each box; a cut ends all tracks."""
        self._turn += 1
        if is_cut:
            self._alive = []
        self._alive = [track for track in self._alive if self._is_alive(track, time_s)]
        if not len(boxes):
            return []
        centres, sizes = centres_and_sizes(boxes)
        links = associate([track.motion for track in self._alive], centres, sizes, time_s)
        known, found = list(self._alive), []
        for link, (x, y), size in zip(links, centres.tolist(), sizes.tolist(), strict=True):
            if link is None:
                track = self._begin(Motion(x, y, size, time_s))
            else:
                track = known[link.track]
                track.motion.update(x, y, size, time_s)
            track.last_s, track.last_turn = time_s, self._turn
            found.append(track)
        return found

    def _begin(self, motion: Motion) -> Track:
        track = Track(id=len(self.tracks) + 1, first_s=motion.time_s, last_s=motion.time_s, motion=motion, last_turn=self._turn)
        self.tracks.append(track)
        self._alive.append(track)
        return track

    def _is_alive(self, track: Track, time_s: float) -> bool:
        return time_s - track.last_s <= MEMORY_S or self._turn - track.last_turn <= _FRAMES_REMEMBERED

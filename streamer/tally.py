"""What the reports of a stream's frames add up to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from streamer.messages import FrameReport


@dataclass
class Tally:
    """Counts; does not grow with the length of the video, but for the set of track ids."""

    frames: int = 0
    covered_whole: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)
    tracks: set[int] = field(default_factory=set)

    def add(self, report: FrameReport) -> None:
        self.frames += 1
        self.covered_whole += report.covered_whole is not None
        for cover in report.covers:
            self.reasons[cover.reason] += 1
            if cover.fallback is not None:
                self.fallbacks[cover.fallback] += 1
            self.tracks.add(cover.track)

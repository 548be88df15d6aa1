"""Notices where a new shot begins, so that nothing known of one shot is carried into the next."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.pictures import Plane

WIDTH, HEIGHT = 64, 36
_BLOCK_WIDTH, _BLOCK_HEIGHT, _REACH = 16, 12, 8
_MEMORY = 3

SURELY_SAME = 0.75
"""Two pictures that correlate at least so are of one shot; of pairs of unrelated pictures none did (measured maximum 0.63)."""

MATCHED = 0.70
"""Two pictures whose blocks are found again this well, moved by up to an eighth of the width, are of one shot. Nearly no unrelated
pair is (99th percentile 0.64); nearly every pair is with a pan of 10 % of the width between (5th percentile 0.82) or 10 % of zoom.
"""

_DROP = 0.12
"""How much worse than the last two pictures a cut matches, so that a pan too fast to follow is not a cut at every picture."""

_FLAT = 2.0
"""Standard deviation of the luma under which a picture has no structure."""


class _Thumbnail(NamedTuple):
    luma: NDArray[np.float32]  # (36, 64), 0 to 255
    normalised: NDArray[np.float32]  # (2304,): mean 0, length 1, so that a product of two is their correlation


@dataclass
class CutDetector:
    """Compares each picture with those before it; one for each stream, asked in the order of the frames.

    Both measures are correlations and so blind to a change of brightness or contrast: flashes and fades are no cuts. Pictures
    without structure (black, white) belong to no shot: the first one after them is compared with the last one before them. Motion
    that is found again is no cut, and of motion too fast for that, only the beginning is taken for one. Dissolves go unnoticed.
    """

    _recent: deque[_Thumbnail] = field(default_factory=lambda: deque(maxlen=_MEMORY))
    _matches: deque[float] = field(default_factory=lambda: deque([1.0, 1.0], maxlen=2))

    def is_cut(self, luma: Plane) -> bool:
        """Whether this picture begins a new shot; the first one of a stream does not. luma: 8 bits, or 10 bits in uint16."""
        thumbnail = _thumbnail(luma)
        if thumbnail is None:
            return False
        match = 0.0 if self._recent else 1.0
        for old in reversed(self._recent):
            match = max(match, _match(thumbnail, old))
            if match == 1.0:
                break
        is_cut = match < min(MATCHED, min(self._matches) - _DROP)
        if is_cut:
            self._recent.clear()
        self._recent.append(thumbnail)
        self._matches.append(match)
        return is_cut


def _thumbnail(luma: Plane) -> _Thumbnail | None:
    """None for a picture without structure."""
    # Skipping pixels first costs a fifth of shrinking the whole plane; what aliases is gone in the means that follow.
    step_x, step_y = max(1, luma.shape[1] // (5 * WIDTH)), max(1, luma.shape[0] // (5 * HEIGHT))
    small = cv2.resize(np.ascontiguousarray(luma[::step_y, ::step_x]), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    levels = small.astype(np.float32) * np.float32(1.0 if luma.dtype == np.uint8 else 0.25)
    centred = levels.ravel() - levels.mean()
    length = float(np.sqrt(centred @ centred))
    return _Thumbnail(levels, centred / length) if length > _FLAT * math.sqrt(centred.size) else None


def _match(new: _Thumbnail, old: _Thumbnail) -> float:
    """1 where two thumbnails are surely of one shot, else how well the blocks of the new one are found again in the old one."""
    if float(new.normalised @ old.normalised) >= SURELY_SAME:
        return 1.0
    around = cv2.copyMakeBorder(old.luma, _REACH, _REACH, _REACH, _REACH, cv2.BORDER_REPLICATE)
    total = weights = 0.0
    for y in range(0, HEIGHT, _BLOCK_HEIGHT):
        for x in range(0, WIDTH, _BLOCK_WIDTH):
            block = new.luma[y : y + _BLOCK_HEIGHT, x : x + _BLOCK_WIDTH]
            window = around[y : y + _BLOCK_HEIGHT + 2 * _REACH, x : x + _BLOCK_WIDTH + 2 * _REACH]
            found = float(cv2.matchTemplate(window, block, cv2.TM_CCOEFF_NORMED).max())
            weight = float(block.std())
            total, weights = total + weight * found, weights + weight
    return total / weights

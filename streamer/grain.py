"""The texture that a painted face needs, from the picture around it, and grain that nobody can trace back."""

from __future__ import annotations

import hashlib
import hmac
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.detectors import Region, RgbImage, Size
from models.texture import Grain, Luma, Texture, measure
from streamer.masks import FaceMask, region_size
from streamer.raw_pictures import RawPicture

PART_PX, LEAST_PART_PX = 48, 16
"""Side of the squares around a face that are looked at, at most and at least."""
PART = 0.4
"""The same as a part of the longer side of the face."""
LOOK_EVERY_S = 0.2
"""Texture changes slowly: between two looks the last one serves."""
MEMORY_S = 0.6
"""Of what was seen before so long, a third is left."""
LONGEST_GAP_S = 1.0


@dataclass(frozen=True, kw_only=True)
class _Seen:
    time_s: float
    last_s: float
    texture: Texture | None


class Surroundings:
    """The texture around the faces of one stream, steady over time; forgets the tracks that are gone."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}

    def texture(self, picture: RawPicture, face: FaceMask, every: Sequence[FaceMask]) -> Texture | None:
        """Around one face, from pixels of none; None where that cannot be seen. every: all faces of the picture."""
        time_s = face.time_s
        if time_s is None:
            return measure(parts_around(picture, face, every))
        self._seen = {track: seen for track, seen in self._seen.items() if 0 <= time_s - seen.last_s <= LONGEST_GAP_S}
        seen = self._seen.get(face.track)
        if seen is not None and time_s - seen.time_s < LOOK_EVERY_S:
            self._seen[face.track] = replace(seen, last_s=time_s)
            return seen.texture
        now = measure(parts_around(picture, face, every))
        if seen is not None:
            now = _mixed(seen.texture, now, math.exp((seen.time_s - time_s) / MEMORY_S))
        self._seen[face.track] = _Seen(time_s=time_s, last_s=time_s, texture=now)
        return now


def _mixed(before: Texture | None, now: Texture | None, share: float) -> Texture | None:
    """share: of what was before."""
    if before is None or now is None:
        return now or before
    fine, coarse = (share * old + (1 - share) * new for old, new in ((before.fine, now.fine), (before.coarse, now.coarse)))
    if before.softness_px is None or now.softness_px is None:
        softness_px = now.softness_px if before.softness_px is None else before.softness_px
    else:
        softness_px = share * before.softness_px + (1 - share) * now.softness_px
    return Texture(fine=fine, coarse=coarse, softness_px=softness_px)


def parts_around(picture: RawPicture, face: FaceMask, every: Sequence[FaceMask]) -> list[RgbImage]:
    """Two squares on each side of a face, those that lie in the frame and touch no face; pixels of no face are looked at."""
    hidden = [grown(each.core) for each in every]
    x1, y1, x2, y2 = grown(face.core)
    side = min(PART_PX, max(LEAST_PART_PX, int(PART * max(x2 - x1, y2 - y1))))
    lefts, tops = (_quarters(start, stop, side) for start, stop in ((x1, x2), (y1, y2)))
    corners = [(left, top) for left in lefts for top in (y1 - side, y2)] + [(left, top) for top in tops for left in (x1 - side, x2)]
    parts = [(left, top, left + side, top + side) for left, top in corners]
    look = picture.surroundings(hidden)
    return [look(part, (side, side)) for part in parts if _is_free(part, picture.size, hidden)]


def _quarters(start: int, stop: int, side: int) -> list[int]:
    """Where squares start whose middles are a quarter of the way from each end."""
    return [start + (stop - start) * part // 4 - side // 2 for part in (1, 3)]


def grown(core: Region) -> Region:
    """What has to be hidden of a face: the box around its mask, one pixel more on every side."""
    return core[0] - 1, core[1] - 1, core[2] + 1, core[3] + 1


def _is_free(part: Region, size: Size, hidden: Sequence[Region]) -> bool:
    """Whether a part lies in the frame and touches nothing that is hidden."""
    x1, y1, x2, y2 = part
    is_inside = x1 >= 0 and y1 >= 0 and x2 <= size[0] and y2 <= size[1]
    return is_inside and not any(x1 < right and left < x2 and y1 < bottom and top < y2 for left, top, right, bottom in hidden)


class SecretGrain:
    """Grain from the run's secret: other in every frame, as that of a camera, and the same whenever it is asked for."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._grain = Grain(self._number(b"grain"))

    def over(self, face: FaceMask, texture: Texture) -> Luma:
        """For the region of a face, levels of 255."""
        moment = struct.pack("<qd", face.track, -1.0 if face.time_s is None else face.time_s)
        return self._grain.over(region_size(face), texture, self._number(b"grain of " + moment))

    def _number(self, name: bytes) -> int:
        return int.from_bytes(hmac.digest(self._secret, name, hashlib.sha256)[:8], "big")

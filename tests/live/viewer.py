"""A viewer for the tests: a process that reads an RTSP stream, a playlist or a file, and notes what comes when."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from tests.live.child import Child

WAIT_S = 30.0


class ViewerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """timeout_s: of FFmpeg, which waits twice as long for pictures. returns: open the output again whenever it has ended."""

    url: str
    transport: Literal["tcp", "udp"]
    timeout_s: float
    returns: bool
    thumbnail_px: int | None
    thumbnail_every: int


class Opened(msgspec.Struct, tag="opened", frozen=True, kw_only=True):
    """sound: its codec, None where there is none. at_s: monotonic."""

    at_s: float
    size: tuple[int, int]
    codec: str
    sound: str | None


class SeenFrame(msgspec.Struct, tag="frame", frozen=True, kw_only=True):
    """A decoded picture.

    arrival_s: monotonic, when its last packet was there. camera, media_s, latency_s: from the time code, None where it cannot be
    read; latency_s: from the moment when the camera made the picture until it was decoded here.
    """

    arrival_s: float
    pts_s: float
    size: tuple[int, int]
    is_keyframe: bool
    is_corrupt: bool
    camera: int | None
    media_s: float | None
    latency_s: float | None
    thumbnail: bytes | None
    thumbnail_size: tuple[int, int] | None

    @property
    def picture(self) -> NDArray[np.uint8] | None:
        """(height, width, 3): R G B; as wide as was asked for, None where it was not."""
        if self.thumbnail is None or self.thumbnail_size is None:
            return None
        width, height = self.thumbnail_size
        return np.frombuffer(self.thumbnail, np.uint8).reshape(height, width, 3)


class SeenSound(msgspec.Struct, tag="sound", frozen=True, kw_only=True):
    """A packet of sound."""

    arrival_s: float
    pts_s: float
    size: int


class Beep(msgspec.Struct, tag="beep", frozen=True, kw_only=True):
    """A beep begins in the sound; pts_s as that of the sound."""

    pts_s: float


class Ended(msgspec.Struct, tag="ended", frozen=True, kw_only=True):
    """The connection is over, or none came about. reason: "end", or the name of PyAV's error."""

    at_s: float
    reason: str


ViewerMessage = Opened | SeenFrame | SeenSound | Beep | Ended


class Viewer:
    """A context manager; inside, everything seen so far is in its lists, which grow in another thread.

    Returns to the output whenever it ends, unless returns is False. thumbnail_px: width of the pictures kept with the frames, every
    thumbnail_every-th; None for none. on_frame: called in the listening thread with each frame, whose picture is not kept then.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        transport: Literal["tcp", "udp"] = "tcp",
        timeout_s: float = 3.0,
        returns: bool = True,
        thumbnail_px: int | None = None,
        thumbnail_every: int = 1,
        on_frame: Callable[[SeenFrame], None] | None = None,
    ) -> None:
        self._settings = ViewerSettings(
            url=str(url),
            transport=transport,
            timeout_s=timeout_s,
            returns=returns,
            thumbnail_px=thumbnail_px,
            thumbnail_every=thumbnail_every,
        )
        self._on_frame = on_frame
        self._news = threading.Condition()
        self._child: Child | None = None
        self._has_ended = False
        self.openings: list[Opened] = []
        self.frames: list[SeenFrame] = []
        self.sounds: list[SeenSound] = []
        self.beeps: list[Beep] = []
        self.endings: list[Ended] = []

    def __enter__(self) -> Self:
        self._child = Child("tests.live.viewer_process", self._hear, self._end)
        self._child.send(self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._child is not None:
            self._child.close()

    kill = close

    @property
    def pid(self) -> int:
        return self._process.pid

    def pause(self) -> None:
        """SIGSTOP: it takes nothing more from its connection, a stuck reader."""
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def wait_for(self, is_so: Callable[[Viewer], bool], deadline_s: float = WAIT_S) -> None:
        """Until something holds of what has been seen. Raises TimeoutError after deadline_s, or when nothing more can come."""
        end = time.monotonic() + deadline_s
        with self._news:
            while not is_so(self):
                rest_s = end - time.monotonic()
                if rest_s <= 0 or self._has_ended:
                    raise TimeoutError(self.summary)
                self._news.wait(rest_s)

    def wait_for_frames(self, count: int, deadline_s: float = WAIT_S, *, latest: bool = True) -> list[SeenFrame]:
        """The next `count` frames; with latest False, the first ones."""
        with self._news:
            first = len(self.frames) if latest else 0
        self.wait_for(lambda viewer: len(viewer.frames) >= first + count, deadline_s)
        return self.frames[first : first + count]

    @property
    def summary(self) -> str:
        endings = [ending.reason for ending in self.endings[-3:]]
        return f"{len(self.frames)} frames, {len(self.sounds)} sounds, {len(self.openings)} openings, ended: {endings}"

    @property
    def latencies_s(self) -> list[float]:
        """Of all frames whose time can be read."""
        return [frame.latency_s for frame in list(self.frames) if frame.latency_s is not None]

    @property
    def longest_gap_s(self) -> float:
        """Between neighbouring pictures, by their pts, in all connections alike; 0 for fewer than two."""
        return max((after.pts_s - before.pts_s for before, after in itertools.pairwise(list(self.frames))), default=0.0)

    def is_on_grid(self, rate: int) -> bool:
        """Whether all pictures are whole intervals of the rate apart; a loaded machine leaves some out."""
        steps = [rate * (after.pts_s - before.pts_s) for before, after in itertools.pairwise(list(self.frames))]
        return all(abs(step - max(1, round(step))) < 0.03 for step in steps)

    @property
    def sound_lag_s(self) -> float:
        """By how much sound is later than pictures, by their pts; negative where it is earlier. Up to half a second either way.

        Median of all beeps. Raises ValueError where there is no beep, or no picture with a time.
        """
        lags = self.sound_lags_s
        if not lags:
            raise ValueError(f"no beep beside a picture with a time: {self.summary}")
        return statistics.median(lags)

    @property
    def sound_lags_s(self) -> list[float]:
        """The same of each beep, the first one first."""
        timed = [frame for frame in list(self.frames) if frame.media_s is not None]
        lags = []
        for beep in list(self.beeps):
            nearest = min(timed, key=lambda frame: abs(frame.pts_s - beep.pts_s), default=None)
            if nearest is not None and nearest.media_s is not None:
                media_s = nearest.media_s + beep.pts_s - nearest.pts_s
                lags.append(media_s - round(media_s))
        return lags

    def _hear(self, line: bytes) -> None:
        message = msgspec.json.decode(line, type=ViewerMessage)
        if isinstance(message, SeenFrame) and self._on_frame is not None:
            self._on_frame(message)
            message = msgspec.structs.replace(message, thumbnail=None)
        with self._news:
            match message:
                case SeenFrame():
                    self.frames.append(message)
                case SeenSound():
                    self.sounds.append(message)
                case Beep():
                    self.beeps.append(message)
                case Opened():
                    self.openings.append(message)
                case Ended():
                    self.endings.append(message)
            self._news.notify_all()

    def _end(self) -> None:
        with self._news:
            self._has_ended = True
            self._news.notify_all()

    @property
    def _process(self) -> Child:
        assert self._child is not None, "the viewer has not been started"
        return self._child

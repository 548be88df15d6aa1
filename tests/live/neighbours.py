"""Two cameras of one daemon: things happen to the one at the door, and the one in the yard must not notice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from models.detectors import FaceDetector
from streamer.live.status import StreamStatus
from tests.live.camera import Camera
from tests.live.daemon import Daemon
from tests.live.people import RATE, SIZE, faces_in, open_judge
from tests.live.rtsp_control import Passwords, RtspServer
from tests.live.viewer import SeenFrame, Viewer

DOOR, YARD = 3, 9
"""Numbers of the cameras, written into their pictures."""
PASSWORD = "s3cret/of:the@door"
RECOVERY_S = 60.0
LONGEST_GAP_S = 2.0
"""Beside the trouble; less than any trouble takes, and as much as a machine needs that has other things to do."""
_SETTLED = RATE // 2
"""Pictures of both cameras, nearly in a row, before anything is done to one of them."""


class Neighbours:
    """A context manager; inside, both cameras come out. The door's camera has a server of its own."""

    def __init__(self, folder: Path, clip: Path, **door: Any) -> None:
        """door: settings of the door's stream beside its addresses."""
        self._folder, self._clip, self._settings = folder, clip, door
        self._stack = ExitStack()
        self._judge: FaceDetector = open_judge()
        self._users = ("viewer", PASSWORD)
        self.passwords = Passwords(read=self._users)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.server = stack.enter_context(RtspServer(self.passwords))
            """Carries the door's pictures to the daemon, and nothing else."""
            calm = stack.enter_context(RtspServer())
            self.camera = Camera(self._clip, self.server.publish_url("door"), number=DOOR, size=SIZE, rate=RATE, sound="aac")
            yard = Camera(self._clip, calm.publish_url("yard"), number=YARD, size=SIZE, rate=RATE)
            for camera in (self.camera, yard):
                stack.enter_context(camera)
            common = {"filter": {"name": "blackout"}, "read_timeout_s": 1.0}
            door = {"name": "door", "input": self.server.read_url("door"), "outputs": calm.publish_url("door-out")}
            streams = [
                {**common, **door, **self._settings},
                {**common, "name": "yard", "input": calm.read_url("yard"), "outputs": calm.publish_url("yard-out")},
            ]
            self.daemon = stack.enter_context(Daemon(self._folder, streams))
            self.daemon.wait_for(lambda status: all(one.frames_out > RATE for one in status.streams), 60.0)
            self.door = stack.enter_context(Viewer(calm.read_url("door-out"), thumbnail_px=SIZE[0]))
            self.yard = stack.enter_context(Viewer(calm.read_url("yard-out"), thumbnail_px=SIZE[0], thumbnail_every=RATE))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def status(self, name: str) -> StreamStatus:
        return self.daemon.wait_for_stream(name, lambda status: True)

    @contextmanager
    def trouble(self, *, is_cut_off: bool | None = True) -> Iterator[Trouble]:
        """Around what happens to the door's camera: afterwards its pictures come again, and none of them has shown a face.

        is_cut_off: viewers are shown a slate meanwhile; None where they may be.
        """
        self._settle()
        before_door, before_yard = self.status("door"), self.status("yard")
        trouble = Trouble(self)
        yield trouble
        trouble.wait_for_pictures()
        after_door, after_yard = self.status("door"), self.status("yard")
        seen, beside = trouble.seen, self.yard.frames[trouble.first_beside :]
        assert faces_in(self._judge, seen) + faces_in(self._judge, beside) == 0
        assert is_cut_off is None or (after_door.slates > before_door.slates) == is_cut_off
        assert {frame.camera for frame in seen} <= {DOOR, None}
        assert (after_yard.reconnects, after_yard.restarts) == (before_yard.reconnects, before_yard.restarts)
        gaps = [later.pts_s - earlier.pts_s for earlier, later in itertools.pairwise(beside)]
        assert max(gaps) < LONGEST_GAP_S
        assert {frame.camera for frame in beside} <= {YARD, None}
        self._forget_pictures()

    def _settle(self) -> None:
        """Both have come for a while, whatever there was before."""
        for viewer, number in ((self.door, DOOR), (self.yard, YARD)):
            viewer.wait_for(lambda viewer, number=number: _last_of(viewer.frames, number) >= _SETTLED, RECOVERY_S)  # type: ignore[misc]

    def _forget_pictures(self) -> None:
        for viewer in (self.door, self.yard):
            for index, frame in enumerate(viewer.frames):
                viewer.frames[index] = msgspec.structs.replace(frame, thumbnail=None)


class Trouble:
    """What has been seen of the door since it began."""

    def __init__(self, pair: Neighbours) -> None:
        self._pair = pair
        self._first = len(pair.door.frames)
        self.first_beside = len(pair.yard.frames)
        self._slates = pair.status("door").slates

    @property
    def seen(self) -> list[SeenFrame]:
        return self._pair.door.frames[self._first :]

    def wait_for_slate(self) -> None:
        """Until viewers have one."""
        status = self._pair.daemon.wait_for_stream("door", lambda door: door.slates > self._slates)
        assert status.outputs[0].state == "connected"
        self._pair.door.wait_for(lambda viewer: any(frame.camera is None for frame in self.seen))

    def wait_for_loss(self, reason: str) -> None:
        """Until the connection was lost for this reason."""
        self._pair.daemon.wait_for_stream("door", lambda door: any(reason in event.text for event in door.errors))

    def wait_for_pictures(self, count: int = RATE) -> None:
        """Until so many more have come."""
        first = len(self._pair.door.frames)
        self._pair.door.wait_for(lambda viewer: sum(frame.camera == DOOR for frame in viewer.frames[first:]) >= count, RECOVERY_S)


def _last_of(frames: list[SeenFrame], number: int) -> int:
    """How many of the newest pictures are of this camera, a few unreadable ones among them."""
    newest = frames[-_SETTLED - 2 :]
    return sum(frame.camera == number for frame in newest)

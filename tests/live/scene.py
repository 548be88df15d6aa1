"""Two cameras of one daemon, both watched by viewers that miss nothing, so that one can be hurt and both be judged."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from models.detectors import FaceDetector
from streamer.live.status import ServeStatus, StreamStatus
from tests.live.camera import Camera
from tests.live.daemon import Daemon
from tests.live.rtsp_control import RtspServer
from tests.live.viewer import SeenFrame, Viewer
from tests.live.witness import Footage, Witness

SIZE, RATE = (320, 192), 6
"""Little, because two cameras, two viewers and all that is between them share two cores."""
CAMERAS = {"door": 3, "yard": 9}
"""Names and numbers, which are written into the pictures."""
START_S = 90.0
RECOVERY_S = 45.0
"""A deadline of the tests; what is wanted is less than 5 s on an idle machine."""
LONGEST_GAP_S = 1.5
"""Between pictures of a camera that nothing happened to; the machine may have other work."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When something is done, and what was counted before."""

    at_s: float
    before: ServeStatus
    seen: Mapping[str, int]
    """Pictures of each viewer."""
    openings: Mapping[str, int]
    """How often each viewer had to connect."""


class Scene:
    """A context manager; inside, both cameras come out.

    more: settings of both streams. beside: other outputs of both, {name} in them. settings: of the daemon.
    """

    def __init__(
        self,
        folder: Path,
        footage: Footage,
        judge: FaceDetector,
        *,
        more: Mapping[str, Any] | None = None,
        beside: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self._footage, self._judge = folder, footage, judge
        self._more = more or {}
        self._beside = beside
        self._settings = {"detector_processes": 2, **(settings or {})}
        self._environment = environment
        self._stack = ExitStack()
        self.viewers: dict[str, Viewer] = {}
        self.witnesses: dict[str, Witness] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.server = stack.enter_context(RtspServer())
            self.outside = stack.enter_context(RtspServer())
            """Takes what comes out."""
            for name, number in CAMERAS.items():
                film = Camera(self._footage.clip, self.server.publish_url(name), number=number, size=SIZE, rate=RATE)
                stack.enter_context(film)
            self.daemon = Daemon(self.folder, self.streams(), settings=self._settings, environment=self._environment)
            stack.enter_context(self.daemon)
            self.daemon.wait_for(lambda status: all(stream.frames_out > RATE for stream in status.streams), START_S)
            for name, number in CAMERAS.items():
                witness = self.witnesses[name] = Witness(self._footage, RATE, number)
                viewer = Viewer(self.outside.read_url(f"{name}-out"), thumbnail_px=SIZE[0], on_frame=witness.look)
                self.viewers[name] = stack.enter_context(viewer)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def streams(self, **changes: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The settings of both streams. changes: of each, by its name."""
        return [
            {
                "name": name,
                "input": self.server.read_url(name),
                "outputs": [self.outside.publish_url(f"{name}-out"), *(place.format(name=name) for place in self._beside)],
                "filter": {"name": "blackout"},
                "max_latency_ms": 4000,
                **self._more,
                **changes.get(name, {}),
            }
            for name in CAMERAS
        ]

    def settle(self) -> Moment:
        """Until both come out steadily; from here on, what happens is held against them."""
        for viewer in self.viewers.values():
            viewer.wait_for(lambda viewer: _is_steady(viewer.frames), RECOVERY_S)
        before = self.daemon.wait_for(lambda status: True)
        return Moment(
            at_s=time.monotonic(),
            before=before,
            seen={name: len(viewer.frames) for name, viewer in self.viewers.items()},
            openings={name: len(viewer.openings) for name, viewer in self.viewers.items()},
        )

    def strike(self, role: str, number: signal.Signals) -> Moment:
        """Send a signal to one of the role's processes, once all is calm, and wait until another one has its place."""
        moment = self.settle()
        processes = self.daemon.children(role)
        processes[0].send_signal(number)
        self.wait_for_others(role, processes[:1], len(processes))
        return moment

    def wait_for_others(self, role: str, gone: Sequence[psutil.Process], count: int) -> None:
        """Until processes are gone and so many of their role live."""

        def are_others() -> bool:
            alive = {process.pid for process in self.daemon.children(role)}
            return len(alive) == count and not alive & {process.pid for process in gone}

        wait_until(are_others, what=f"another {role}")

    def wait_for_pictures(self, since_s: float, seconds: float = 1.0) -> None:
        """Until both cameras' pictures, made after that time, have come for so long."""
        for viewer in self.viewers.values():
            count = round(seconds * RATE)
            viewer.wait_for(lambda viewer, count=count: len(made_after(viewer.frames, since_s)) >= count, RECOVERY_S)  # type: ignore[misc]

    def outage_s(self, name: str, moment: Moment) -> float:
        """The longest time without a new picture of the camera since then."""
        arrivals = [frame.arrival_s for frame in self._since(name, moment) if frame.media_s is not None]
        return max((later - earlier for earlier, later in itertools.pairwise([moment.at_s, *arrivals])), default=float("inf"))

    def gap_s(self, name: str, moment: Moment) -> float:
        """The longest time between the published times of two pictures since then."""
        first = max(moment.seen[name] - 1, 0)
        times = [frame.pts_s for frame in list(self.viewers[name].frames)[first:]]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=float("inf"))

    def assert_viewers_noticed_nothing(self, name: str, moment: Moment) -> None:
        assert self.gap_s(name, moment) < LONGEST_GAP_S, name
        assert len(self.viewers[name].openings) == moment.openings[name], self.viewers[name].summary

    def assert_nothing_happened_to(self, name: str, moment: Moment) -> None:
        """To its pictures, their times, its viewers, its processes."""
        self.assert_viewers_noticed_nothing(name, moment)
        before, after = stream_of(moment.before, name), stream_of(self.daemon.wait_for(lambda status: True), name)
        assert troubles(after) == troubles(before), after

    def assert_no_face_shows(self) -> None:
        """In anything that has come out so far."""
        for name, witness in self.witnesses.items():
            assert not witness.showing, f"{name}: {witness.showing[:5]}"
            assert witness.checked > 0

    def assert_no_detector_sees_a_face(self) -> None:
        """In a part of what has come out since the last time, and in all that was no picture of the camera."""
        for name, witness in self.witnesses.items():
            assert witness.judge(self._judge) == 0, name

    def _since(self, name: str, moment: Moment) -> list[SeenFrame]:
        return list(self.viewers[name].frames)[moment.seen[name] :]


def made_after(frames: list[SeenFrame], at_s: float) -> list[SeenFrame]:
    """Pictures of a camera, not slates, that it made after that time."""
    newest = itertools.takewhile(lambda frame: frame.arrival_s > at_s, reversed(list(frames)))
    return [frame for frame in newest if frame.latency_s is not None and frame.arrival_s - frame.latency_s > at_s]


def stream_of(status: ServeStatus, name: str) -> StreamStatus:
    return next(stream for stream in status.streams if stream.name == name)


def troubles(stream: StreamStatus) -> tuple[int, int, int]:
    """Restarts, connections of the camera and of outputs made anew."""
    return sum(stream.restarts.values()), stream.reconnects, sum(output.reconnects for output in stream.outputs)


def wait_until(is_so: Callable[[], bool], deadline_s: float = RECOVERY_S, what: str = "it") -> None:
    """Raises TimeoutError."""
    end_s, pause = time.monotonic() + deadline_s, threading.Event()
    while not is_so():
        if time.monotonic() > end_s:
            raise TimeoutError(f"{what} did not come about within {deadline_s:.0f} s")
        pause.wait(0.05)


def _is_steady(frames: list[SeenFrame]) -> bool:
    """A second of pictures of the camera without a slate between them, the last of them of now."""
    last = list(frames)[-RATE:]
    is_recent = bool(last) and time.monotonic() - last[-1].arrival_s < 1.0
    return is_recent and len(last) == RATE and all(frame.media_s is not None for frame in last)

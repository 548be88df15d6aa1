"""What the tests of the live tools share: one server, one clip, and one camera that is only looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.detectors import FaceDetector
from streamer.demo import make_demo_clip
from tests.live import scene
from tests.live.camera import Camera
from tests.live.camera_bench import CameraBench
from tests.live.people import open_finder, open_judge
from tests.live.rtsp_control import RtspServer
from tests.live.witness import Footage, look_at_footage
from tests.media import Clip, Sound, write_clip

SIZE = (320, 192)
"""Whole blocks, as Motion JPEG over RTP needs them."""
RATE = 25
NUMBER = 7


@pytest.fixture(scope="package")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second, so that its seam comes often."""
    path = tmp_path_factory.mktemp("live") / "clip.mp4"
    return write_clip(path, Clip(width=SIZE[0], height=SIZE[1], pts=range(0, RATE * 512, 512), sounds=(Sound(),)))


@pytest.fixture(scope="package")
def rtsp_server() -> Iterator[RtspServer]:
    """To be left alive and reachable."""
    with RtspServer() as server:
        yield server


@pytest.fixture(scope="package")
def camera(rtsp_server: RtspServer, short_clip: Path) -> Iterator[Camera]:
    """Publishes at "shared", with sound; to be left alone."""
    with Camera(short_clip, rtsp_server.publish_url("shared"), number=NUMBER, sound="aac") as camera:
        yield camera


@pytest.fixture(scope="session")
def judge() -> FaceDetector:
    """Looks at single pictures, and knows nothing of those around them."""
    return open_judge()


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory, judge: FaceDetector) -> Footage:
    """Of people who do not exist, for `Scene`."""
    clip = tmp_path_factory.mktemp("footage") / "people.mp4"
    make_demo_clip(clip, size=scene.SIZE, duration_s=4.0, rate=scene.RATE)
    return look_at_footage(clip, judge, open_finder())


@pytest.fixture
def benches() -> Iterator[list[CameraBench]]:
    running: list[CameraBench] = []
    yield running
    for bench in running:
        bench.close()


@pytest.fixture
def open_camera(benches: list[CameraBench]) -> Any:
    def open_one(url: str | Path, **changes: Any) -> CameraBench:
        benches.append(CameraBench(str(url), **changes))
        return benches[-1]

    return open_one

"""The RTSP server of the live tests does what real ones do, and breaks when it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.camera import Camera
from tests.live.rtsp_control import RtspServer
from tests.live.viewer import Viewer
from tests.media import Clip, Sound, write_clip

SIZE = (320, 180)
RATE = 25


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second, so that its seam comes often."""
    path = tmp_path_factory.mktemp("live") / "clip.mp4"
    return write_clip(path, Clip(width=SIZE[0], height=SIZE[1], pts=range(0, RATE * 512, 512), sounds=(Sound(),)))


@pytest.fixture(scope="module")
def server() -> Iterator[RtspServer]:
    with RtspServer() as server:
        yield server


def test_what_is_published_is_read(server: RtspServer, clip: Path) -> None:
    with Camera(clip, server.publish_url("plain"), number=7), Viewer(server.read_url("plain")) as viewer:
        frames = viewer.wait_for_frames(2 * RATE)
    assert {frame.camera for frame in frames} == {7}
    assert {frame.size for frame in frames} == {SIZE}

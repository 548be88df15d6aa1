"""`veil serve` with a real server, real cameras of people who do not exist, and an independent viewer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.detectors import FaceDetector
from tests.live.camera import Camera
from tests.live.daemon import Daemon
from tests.live.people import RATE, SIZE, faces_in, film_people, open_judge
from tests.live.rtsp_control import RtspServer
from tests.live.viewer import Viewer


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_people(tmp_path_factory.mktemp("film") / "people.mp4")


@pytest.fixture(scope="module")
def judge() -> FaceDetector:
    return open_judge()


@pytest.fixture
def server() -> Iterator[RtspServer]:
    with RtspServer() as server:
        yield server


def test_a_camera_comes_out_without_faces_in_time_and_with_its_sound(
    server: RtspServer, clip: Path, judge: FaceDetector, tmp_path: Path
) -> None:
    film = {"size": SIZE, "rate": RATE, "sound": "aac"}
    stream = {
        "name": "door",
        "input": server.read_url("raw"),
        "outputs": server.publish_url("safe"),
        "filter": {"name": "blackout"},
    }
    with (
        Camera(clip, server.publish_url("raw"), number=5, **film),
        Viewer(server.read_url("raw"), thumbnail_px=SIZE[0]) as before,
        Daemon(tmp_path, [stream]) as daemon,
    ):
        daemon.wait_for_stream("door", lambda door: door.frames_out > RATE)
        with Viewer(server.read_url("safe"), thumbnail_px=SIZE[0]) as after:
            after.wait_for(lambda viewer: len(viewer.frames) >= 8 * RATE and len(viewer.beeps) >= 4, 60.0)
        status = daemon.wait_for(lambda status: status.is_ready and status.is_healthy)
        assert daemon.stop() == 0
    assert {frame.camera for frame in after.frames if frame.camera is not None} == {5}
    assert faces_in(judge, after.frames) == 0
    assert faces_in(judge, before.frames[: 2 * RATE]) > RATE, "there are faces to be hidden"
    assert abs(after.sound_lag_s) < 0.05
    assert after.latencies_s
    assert status.streams[0].covers["detected"] > 0
    assert after.longest_gap_s < 3.0

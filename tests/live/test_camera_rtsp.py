"""The process of a camera, in one process, with a real RTSP server that breaks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.live.messages import CameraLost
from tests.live import time_code
from tests.live.camera import Camera, Change
from tests.live.conftest import NUMBER, SIZE
from tests.live.rtsp_control import Passwords, RtspServer

PASSWORD = "s3cret"


def test_a_session_begins_with_a_whole_picture(open_camera: Any, rtsp_server: RtspServer, camera: Camera) -> None:
    bench = open_camera(rtsp_server.read_url("shared"))
    bench.run(frames=10)
    assert bench.opened is not None
    assert (bench.opened.layout.width, bench.opened.layout.height, bench.opened.codec) == (*SIZE, "h264")
    assert bench.opened.audio_codec == "aac"
    assert not any(frame.is_corrupt for frame in bench.frames)
    codes = [time_code.read_luma(luma) for luma in bench.luma.values()]
    assert {code.camera for code in codes if code is not None} == {NUMBER}
    assert None not in codes


@pytest.fixture
def server() -> Iterator[RtspServer]:
    """To be broken."""
    passwords = Passwords(publish=("camera", "other"), read=("viewer", PASSWORD))
    with RtspServer(passwords) as running:
        yield running


@pytest.fixture
def own_camera(server: RtspServer, short_clip: Path) -> Iterator[Camera]:
    with Camera(short_clip, server.publish_url("door")) as running:
        yield running


def test_a_camera_that_is_cut_off_is_lost_at_once(open_camera: Any, server: RtspServer, own_camera: Camera) -> None:
    bench = open_camera(server.read_url("door"))
    bench.run(frames=5)
    server.kill()
    began_s = time.monotonic()
    bench.run()
    assert time.monotonic() - began_s < 2.0
    assert bench.reason
    assert PASSWORD not in bench.reason


@pytest.mark.parametrize("fault", ["freeze", "black_hole", "pause"])
def test_a_camera_that_falls_silent_is_lost_within_the_timeout(
    open_camera: Any, server: RtspServer, own_camera: Camera, fault: str
) -> None:
    bench = open_camera(server.read_url("door"))
    bench.run(frames=5)
    server.pause() if fault == "pause" else getattr(server, fault)("door")
    began_s = time.monotonic()
    bench.run()
    assert time.monotonic() - began_s < bench.setup.read_timeout_s + 1.0, "the process would be killed for it"
    assert bench.reason == "it sends nothing any more"


def test_what_a_server_refuses_is_said_without_the_address(open_camera: Any, server: RtspServer, own_camera: Camera) -> None:
    assert open_camera(server.read_url("window")).reason == "nothing is there under this path (404)"
    wrong = open_camera(server.url("door", ("viewer", "wr0ng"))).reason
    assert wrong == "wrong user name or password (401)"
    server.refuse()
    assert open_camera(server.read_url("door")).reason == "connection refused"


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("fault", ["damage", "lose"])
def test_damaged_pictures_and_those_that_build_on_lost_ones_are_marked(
    open_camera: Any, server: RtspServer, own_camera: Camera, fault: str, transport: str
) -> None:
    bench = open_camera(server.read_url("door"), transport=transport)
    bench.run(frames=5)
    assert not any(frame.is_corrupt for frame in bench.frames)
    getattr(server, fault)("door", 7)
    bench.run(frames=40)
    assert any(frame.is_corrupt for frame in bench.frames)
    server.heal("door")
    bench.run(frames=len(bench.frames) + 50)
    assert not any(frame.is_corrupt for frame in bench.frames[-10:])


def test_another_size_in_mid_stream_ends_the_session(open_camera: Any, server: RtspServer, own_camera: Camera) -> None:
    bench = open_camera(server.read_url("door"))
    bench.run(frames=5)
    own_camera.change(Change(size=(160, 90), is_same_connection=True))
    bench.run()
    assert bench.reason.startswith("the picture changed from 320x192")


def test_garbage_ends_the_session_or_is_marked(open_camera: Any, server: RtspServer, own_camera: Camera) -> None:
    bench = open_camera(server.read_url("door"))
    bench.run(frames=5)
    server.send_garbage("door")
    bench.run(frames=60)
    assert bench.of(CameraLost) or len(bench.frames) == 60


def test_a_host_that_nobody_knows_is_named_as_such(open_camera: Any) -> None:
    assert open_camera("rtsp://nobody.invalid/door").reason == "its host cannot be found or reached"

"""The RTSP server of the live tests does what real ones do, and breaks when it is told to."""

from __future__ import annotations

import functools
import itertools
import shutil
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.live.camera import Camera, Transport
from tests.live.child import Child
from tests.live.conftest import NUMBER, RATE, SIZE
from tests.live.rtsp_control import Passwords, RtspServer
from tests.live.rtsp_protocol import Scheme
from tests.live.viewer import Viewer

TIMEOUT_S = 1.0
"""After twice as long, a viewer gives up on a stream that has stopped."""
PUBLISHER, READER = ("door", "p@ss/w:rd"), ("guard", "other")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_what_is_published_is_read(rtsp_server: RtspServer, camera: Camera, transport: Transport) -> None:
    with Viewer(rtsp_server.read_url("shared"), transport=transport) as viewer:
        frames = viewer.wait_for_frames(2 * RATE)
    assert {frame.camera for frame in frames} == {NUMBER}
    assert {frame.size for frame in frames} == {SIZE}
    assert [opening.sound for opening in viewer.openings] == ["aac"]
    assert frames[0].is_keyframe
    assert not viewer.endings


def test_a_camera_can_publish_over_udp(rtsp_server: RtspServer, short_clip: Path) -> None:
    url = rtsp_server.publish_url("datagrams")
    with Camera(short_clip, url, transport="udp", sound="aac"), Viewer(rtsp_server.read_url("datagrams")) as viewer:
        viewer.wait_for(lambda seen: len(seen.frames) > RATE and len(seen.beeps) > 0)
        assert viewer.sound_lag_s == pytest.approx(0, abs=0.02)


def test_a_path_without_publisher_is_not_found(rtsp_server: RtspServer) -> None:
    with Viewer(rtsp_server.read_url("nobody"), returns=False) as viewer:
        viewer.wait_for(lambda seen: len(seen.endings) == 1)
    assert viewer.endings[0].reason == "HTTPNotFoundError"


@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_only_the_right_password_opens(short_clip: Path, scheme: Scheme) -> None:
    with RtspServer(Passwords(publish=PUBLISHER, read=READER, scheme=scheme)) as server:
        stranger = Camera(short_clip, server.url("door", (PUBLISHER[0], "wrong")))
        stranger.start()
        stranger.wait_for(lambda camera: len(camera.losses) > 0)
        stranger.close()
        assert "HTTPUnauthorizedError" in stranger.losses[0]
        assert not server.state("door").is_live
        with Camera(short_clip, server.publish_url("door")):
            for user in (None, PUBLISHER, (READER[0], "wrong")):
                with Viewer(server.url("door", user), returns=False) as viewer:
                    viewer.wait_for(lambda seen: len(seen.endings) == 1)
                assert viewer.endings[0].reason == "HTTPUnauthorizedError"
            with Viewer(server.read_url("door")) as viewer:
                viewer.wait_for_frames(5)


def test_a_stuck_reader_is_cut_off_and_stops_nobody(rtsp_server: RtspServer, short_clip: Path) -> None:
    url = rtsp_server.read_url("heavy")
    heavy = Camera(short_clip, rtsp_server.publish_url("heavy"), codec="mjpeg", size=(1280, 720), rate=15)
    with heavy, Viewer(url) as stuck, Viewer(url) as viewer:
        for each in (stuck, viewer):
            each.wait_for_frames(1)
        stuck.pause()
        rtsp_server.wait_for("heavy", slow_readers_cut=1)
        viewer.wait_for_frames(15)
        assert not viewer.endings
        assert max(frame.latency_s or 0 for frame in viewer.frames[-15:]) < 1.0
        stuck.resume()
        stuck.wait_for(lambda seen: len(seen.openings) == 2)
        assert heavy.publications == 1


def test_a_frozen_path_is_silent_until_it_is_healed(rtsp_server: RtspServer, short_clip: Path, camera: Camera) -> None:
    with (
        Camera(short_clip, rtsp_server.publish_url("frozen")) as frozen,
        Viewer(rtsp_server.read_url("frozen"), timeout_s=TIMEOUT_S) as viewer,
        Viewer(rtsp_server.read_url("shared")) as other,
    ):
        viewer.wait_for_frames(1)
        other.wait_for_frames(1)
        rtsp_server.freeze("frozen")
        before = rtsp_server.state("frozen").packets
        viewer.wait_for(lambda seen: len(seen.endings) > 0)
        assert viewer.endings[0].reason == "ExitError"
        assert rtsp_server.state("frozen").packets > before
        seen = len(viewer.frames)
        rtsp_server.heal("frozen")
        viewer.wait_for_frames(5)
        assert viewer.frames[seen].arrival_s - viewer.frames[seen - 1].arrival_s > TIMEOUT_S
        assert frozen.publications == 1
        other.wait_for_frames(1)
        assert other.longest_gap_s < 0.5


def test_a_black_hole_holds_the_publisher_too(rtsp_server: RtspServer, short_clip: Path) -> None:
    heavy = Camera(short_clip, rtsp_server.publish_url("hole"), codec="mjpeg", size=(1280, 720), rate=15)
    with heavy, Viewer(rtsp_server.read_url("hole"), timeout_s=TIMEOUT_S) as viewer:
        viewer.wait_for_frames(1)
        rtsp_server.black_hole("hole")
        viewer.wait_for(lambda seen: len(seen.endings) > 1)
        assert {ending.reason for ending in viewer.endings} <= {"ExitError", "InvalidDataError", "TimeoutError"}
        before = rtsp_server.state("hole").packets
        viewer.wait_for(lambda seen: len(seen.endings) > 2)
        assert rtsp_server.state("hole").packets == before
        rtsp_server.heal("hole")
        viewer.wait_for_frames(15)
        assert heavy.publications == 1


def test_a_paused_server_answers_nothing_and_goes_on_when_resumed(short_clip: Path) -> None:
    with RtspServer() as server, Camera(short_clip, server.publish_url("a")) as camera:
        with Viewer(server.read_url("a"), timeout_s=TIMEOUT_S) as viewer:
            viewer.wait_for_frames(1)
            server.pause()
            with pytest.raises(TimeoutError, match="did not answer"):
                server.wait_for("a", is_live=True, deadline_s=0, answer_s=0.2)
            viewer.wait_for(lambda seen: len(seen.endings) > 0)
            seen = len(viewer.frames)
            server.resume()
            viewer.wait_for(lambda watching: len(watching.frames) > seen + RATE)
            assert server.state("a").is_live
        assert camera.publications == 1


def test_a_killed_server_comes_back_at_its_port(short_clip: Path) -> None:
    with RtspServer() as server, Camera(short_clip, server.publish_url("a")) as camera, Viewer(server.read_url("a")) as viewer:
        viewer.wait_for_frames(1)
        port = server.port
        server.kill()
        camera.wait_for(lambda filming: len(filming.losses) > 0)
        viewer.wait_for(lambda seen: any(ending.reason == "ConnectionRefusedError" for ending in seen.endings))
        assert viewer.endings[0].reason == "end"
        server.start()
        assert server.port == port
        server.wait_for("a", is_live=True)
        viewer.wait_for_frames(5)
        times = [frame.media_s for frame in viewer.frames if frame.media_s is not None]
        assert times == sorted(set(times))


def test_a_server_that_refuses_is_found_again(short_clip: Path) -> None:
    with RtspServer() as server, Camera(short_clip, server.publish_url("a")) as camera:
        server.refuse()
        camera.wait_for(lambda filming: any("ConnectionRefusedError" in loss for loss in filming.losses))
        server.accept()
        camera.wait_for(lambda filming: filming.publications == 2)
        server.wait_for("a", is_live=True)


def test_garbage_breaks_one_path_for_a_while_only(rtsp_server: RtspServer, short_clip: Path, camera: Camera) -> None:
    with (
        Camera(short_clip, rtsp_server.publish_url("garbage")),
        Viewer(rtsp_server.read_url("garbage")) as viewer,
        Viewer(rtsp_server.read_url("shared")) as other,
    ):
        viewer.wait_for_frames(1)
        other.wait_for_frames(1)
        rtsp_server.send_junk_packets("garbage")
        rtsp_server.send_garbage("garbage")
        viewer.wait_for(lambda seen: len(seen.endings) > 0 or seen.longest_gap_s > 2 / RATE or seen.frames[-1].is_corrupt)
        viewer.wait_for(lambda seen: all(frame.camera == 0 and not frame.is_corrupt for frame in seen.frames[-10:]))
        other.wait_for_frames(5)
        assert other.longest_gap_s < 0.5
        assert not other.endings


def test_damaged_and_lost_packets_spoil_pictures(rtsp_server: RtspServer, short_clip: Path) -> None:
    url = rtsp_server.publish_url("damaged")
    with Camera(short_clip, url, size=(640, 360)), Viewer(rtsp_server.read_url("damaged")) as viewer:
        viewer.wait_for_frames(RATE // 2)
        assert not any(frame.is_corrupt for frame in viewer.frames)
        for spoil in (rtsp_server.damage, rtsp_server.lose):
            spoil("damaged", 3)
            viewer.wait_for(functools.partial(_is_spoilt_from, len(viewer.frames)))
        rtsp_server.heal("damaged")
        viewer.wait_for(lambda seen: not _is_spoilt_from(len(seen.frames) - RATE, seen))


def _is_spoilt_from(first: int, viewer: Viewer) -> bool:
    """Whether a frame from this one on is damaged, or comes after one that is missing."""
    pairs = itertools.pairwise(viewer.frames[first - 1 :])
    return any(frame.is_corrupt or frame.camera is None or frame.pts_s - before.pts_s > 1.5 / RATE for before, frame in pairs)


def test_a_dropped_publisher_publishes_again(rtsp_server: RtspServer, short_clip: Path) -> None:
    with Camera(short_clip, rtsp_server.publish_url("dropped")) as camera, Viewer(rtsp_server.read_url("dropped")) as viewer:
        viewer.wait_for_frames(1)
        rtsp_server.drop_publisher("dropped")
        camera.wait_for(lambda filming: filming.publications == 2)
        viewer.wait_for(lambda seen: len(seen.openings) == 2 and len(seen.endings) > 0)
        viewer.wait_for_frames(1)
        rtsp_server.drop_readers("dropped")
        viewer.wait_for(lambda seen: len(seen.openings) == 3)
        assert camera.publications == 2


def test_a_second_publisher_takes_the_path(rtsp_server: RtspServer, short_clip: Path) -> None:
    first = Camera(short_clip, rtsp_server.publish_url("taken"), number=1)
    with first, Viewer(rtsp_server.read_url("taken")) as viewer:
        viewer.wait_for_frames(1)
        first.pause()
        with Camera(short_clip, rtsp_server.publish_url("taken"), number=2):
            viewer.wait_for(lambda seen: seen.frames[-1].camera == 2)


def test_wrong_requests_are_answered_as_the_standard_wants(rtsp_server: RtspServer, camera: Camera) -> None:
    base = rtsp_server.url("shared")
    for request, status in (
        (f"OPTIONS {base}", "200"),
        (f"GET_PARAMETER {base}", "200"),
        (f"DESCRIBE {base}", "200"),
        (f"PLAY {base}", "455"),
        (f"RECORD {base}", "455"),
        (f"SETUP {base}/streamid=9", "404"),
        (f"ANNOUNCE {base}", "400"),
        (f"REDIRECT {base}", "501"),
        (f"SETUP {base}/streamid=0 RTSP/1.0\r\nTransport: RTP/AVP;multicast", "461"),
    ):
        text = request if "RTSP/1.0" in request else f"{request} RTSP/1.0"
        with socket.create_connection(("127.0.0.1", rtsp_server.port), timeout=10) as connection:
            connection.sendall(f"{text}\r\nCSeq: 3\r\n\r\n".encode())
            answer = connection.recv(4096).decode()
        assert answer.startswith(f"RTSP/1.0 {status} "), (request, answer)
        assert "CSeq: 3\r\n" in answer
    with socket.create_connection(("127.0.0.1", rtsp_server.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert connection.recv(4096) == b""


def test_only_this_machine_can_connect(rtsp_server: RtspServer, camera: Camera) -> None:
    with Viewer(rtsp_server.read_url("shared"), transport="udp") as viewer:
        viewer.wait_for_frames(1)
        addresses = {connection.laddr.ip for connection in psutil.Process(rtsp_server.pid).net_connections("inet")}
    assert addresses == {"127.0.0.1"}


@pytest.mark.parametrize("module", ["rtsp_server", "camera_process", "viewer_process"])
def test_a_tool_ends_with_its_test(module: str) -> None:
    child = Child(f"tests.live.{module}", lambda _: None)
    try:
        child.hang_up()
        child.wait(20)
    finally:
        child.close()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="FFmpeg's programs are not installed")
@pytest.mark.parametrize("sound", ["aac", "pcm_alaw"])
def test_programs_of_ffmpeg_publish_and_read(rtsp_server: RtspServer, short_clip: Path, sound: str) -> None:
    path = f"ffmpeg-{sound}"
    command = ["ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(short_clip), "-c:v", "copy", "-c:a", sound]
    rate = ["-ar", "8000", "-ac", "1"] if sound == "pcm_alaw" else []
    publisher = subprocess.Popen(
        [*command, *rate, "-f", "rtsp", "-rtsp_transport", "tcp", rtsp_server.publish_url(path)], stdin=subprocess.DEVNULL
    )
    try:
        rtsp_server.wait_for(path, is_live=True)
        entries = ["-show_entries", "stream=codec_name", "-of", "csv=p=0"]
        probe = subprocess.run(
            ["ffprobe", "-v", "error", "-rtsp_transport", "tcp", *entries, rtsp_server.read_url(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert probe.stdout.split() == ["h264", sound]
        with Viewer(rtsp_server.read_url(path)) as viewer:
            frames = viewer.wait_for_frames(2 * RATE)
        # The clip's sound is longer than its pictures.
        assert viewer.longest_gap_s < 2 / RATE
        assert {frame.size for frame in frames} == {SIZE}
    finally:
        publisher.kill()
        publisher.wait(10)

"""Inputs that are no RTSP, with real media: a looped file, HLS and Motion JPEG over HTTP, MPEG-TS over UDP, RTMP.

FFmpeg's own program sends them, so nothing of this repository speaks to itself.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.detectors import FaceDetector
from tests.live.daemon import Daemon, free_port
from tests.live.people import RATE, SIZE, faces_in, film_people, open_judge
from tests.live.rtsp_control import RtspServer
from tests.live.viewer import Viewer

FFMPEG = shutil.which("ffmpeg")
MAX_FPS = 4.0
"""Few, because there are many of them."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(FFMPEG is None, reason="the ffmpeg program sends the media and is not here")]


@dataclass(frozen=True, kw_only=True)
class Source:
    """codec: of its pictures. has_sound: that the output has too."""

    codec: str
    has_sound: bool


SOURCES = {
    "file": Source(codec="h264", has_sound=True),
    "hls": Source(codec="h264", has_sound=True),
    "ts": Source(codec="h264", has_sound=True),
    "rtmp": Source(codec="h264", has_sound=True),
    "mjpeg": Source(codec="mjpeg", has_sound=False),
}


@dataclass(frozen=True, kw_only=True)
class House:
    """One daemon with all of them."""

    daemon: Daemon
    server: RtspServer


@contextmanager
def sending(clip: Path, *options: str) -> Iterator[None]:
    """The clip in real time and for ever; a server for one client begins anew when that one is gone."""
    command = [str(FFMPEG), "-v", "error", "-re", "-stream_loop", "-1", "-i", str(clip), *options]
    ended = threading.Event()
    running: list[subprocess.Popen[bytes]] = []

    def send() -> None:
        while not ended.is_set():
            running[:] = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
            running[0].wait()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        ended.set()
        while sender.is_alive():
            for process in running:
                process.kill()
            sender.join(0.1)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Over HTTP; the port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("sources")
    clip = film_people(folder / "people.mp4")
    ports = {name: free_port() for name in ("ts", "rtmp", "mjpeg")}
    with ExitStack() as stack:
        server = stack.enter_context(RtspServer())
        web = stack.enter_context(serving(folder))
        pieces = ("-f", "hls", "-hls_time", "1", "-hls_list_size", "4", "-hls_flags", "delete_segments")
        jpeg = ("-an", "-c:v", "mjpeg", "-q:v", "4", "-f", "mpjpeg", "-listen", "1")
        for options in (
            ("-c:v", "libx264", "-preset", "ultrafast", "-g", str(RATE), "-c:a", "copy", *pieces, str(folder / "live.m3u8")),
            ("-c", "copy", "-f", "mpegts", f"udp://127.0.0.1:{ports['ts']}?pkt_size=1316"),
            ("-c", "copy", "-f", "flv", "-listen", "1", f"rtmp://127.0.0.1:{ports['rtmp']}/live/door"),
            (*jpeg, f"http://127.0.0.1:{ports['mjpeg']}/door"),
        ):
            stack.enter_context(sending(clip, *options))
        inputs = {
            "file": str(clip),
            "hls": f"http://127.0.0.1:{web}/live.m3u8",
            "ts": f"udp://127.0.0.1:{ports['ts']}",
            "rtmp": f"rtmp://127.0.0.1:{ports['rtmp']}/live/door",
            "mjpeg": f"http://127.0.0.1:{ports['mjpeg']}/door",
        }
        streams = [
            {
                "name": name,
                "input": address,
                "outputs": server.publish_url(name),
                "filter": {"name": "blackout"},
                "max_fps": MAX_FPS,
                "read_timeout_s": 8.0,
                "loop": name == "file",
            }
            for name, address in inputs.items()
        ]
        yield House(daemon=stack.enter_context(Daemon(folder, streams)), server=server)


@pytest.fixture(scope="module")
def judge() -> FaceDetector:
    return open_judge()


@pytest.mark.parametrize("name", SOURCES)
def test_it_comes_out_without_faces(house: House, judge: FaceDetector, name: str) -> None:
    source = SOURCES[name]
    before = house.daemon.wait_for_stream(name, lambda stream: stream.frames_out > 2 * MAX_FPS, 90.0)
    with Viewer(house.server.read_url(name), thumbnail_px=SIZE[0]) as viewer:
        viewer.wait_for(lambda viewer: len(viewer.frames) > 3 * MAX_FPS and (not source.has_sound or len(viewer.sounds) > 20), 60.0)
    status = house.daemon.wait_for_stream(name, lambda stream: stream.frames_out > before.frames_out)
    assert (status.codec, status.width, status.height) == (source.codec, *SIZE)
    assert status.covers["detected"] > 0
    assert (viewer.openings[0].sound is not None) == source.has_sound
    assert faces_in(judge, viewer.frames) == 0
    assert status.restarts == {}

"""What is wrong with settings, machine or media is said in one line, tried again, and keeps nothing else from running."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from streamer.errors import ExitCode
from tests.command import veil
from tests.live.camera import Camera
from tests.live.daemon import Daemon, free_port
from tests.live.people import RATE, SIZE, film_people
from tests.live.rtsp_control import RtspServer
from tests.live.rtsp_oddities import sound_alone, unknown_codec
from tests.live.scene import wait_until
from tests.live.service_manager import Manager

pytestmark = pytest.mark.slow

_DISK_BYTES = 48 << 20
_MNT_DETACH = 2


@dataclass(frozen=True, kw_only=True)
class House:
    """One daemon. Its stream `door` is well and records into two folders, of which `barred` is a file so far."""

    daemon: Daemon
    disk: Path
    barred: Path
    away_port: int
    """Where the server of the stream `away` is to be."""


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of _DISK_BYTES, where this user may mount one; else an ordinary folder."""
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={_DISK_BYTES}".encode()
    is_mounted = libc.mount(b"none", str(folder).encode(), b"tmpfs", 0, options) == 0
    try:
        yield folder
    finally:
        if is_mounted:
            libc.umount2(str(folder).encode(), _MNT_DETACH)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("bad")
    clip = film_people(folder / "people.mp4", seconds=2.0)
    barred = folder / "barred"
    barred.write_text("a file stands where the folder should be")
    away_port = free_port()
    with ExitStack() as stack:
        server = stack.enter_context(RtspServer())
        disk = stack.enter_context(small_disk(folder / "disk"))
        stack.enter_context(Camera(clip, server.publish_url("raw"), number=1, size=SIZE, rate=RATE))
        stack.enter_context(unknown_codec(server.publish_url("odd")))
        stack.enter_context(sound_alone(server.publish_url("sound")))
        common = {"filter": {"name": "blackout"}, "read_timeout_s": 1.0}
        recordings = [{"to": str(place), "segment_s": 3.0} for place in (disk, barred)]
        door = {**common, "name": "door", "input": server.read_url("raw")}
        streams = [{**door, "outputs": [server.publish_url("door-out"), *recordings]}] + [
            {**common, "name": name, "input": address, "outputs": server.publish_url(f"{name}-out")}
            for name, address in {
                "odd": server.read_url("odd"),
                "sound": server.read_url("sound"),
                "away": f"rtsp://127.0.0.1:{away_port}/away",
            }.items()
        ]
        daemon = stack.enter_context(Daemon(folder, streams))
        yield House(daemon=daemon, disk=disk, barred=barred, away_port=away_port)


def lines_with(log: str, words: str) -> list[str]:
    return [line for line in log.splitlines() if words in line]


def wait_for_live_pictures(daemon: Daemon) -> None:
    """The live output goes on."""
    sent = daemon.wait_for_stream("door", lambda door: True)
    daemon.wait_for_stream(
        "door", lambda door: door.frames_out > sent.frames_out + RATE and door.outputs[0].packets > sent.outputs[0].packets + RATE
    )


def test_it_is_ready_whatever_cameras_cannot_do(house: House) -> None:
    status = house.daemon.wait_for(lambda status: status.is_ready and status.is_healthy, 60.0)
    assert {stream.name for stream in status.streams} == {"door", "odd", "sound", "away"}
    assert all(stream.slates or stream.frames_out for stream in status.streams)


@pytest.mark.parametrize(("name", "reason"), [("odd", "its video codec is not known here"), ("sound", "it sends no pictures")])
def test_a_stream_that_cannot_be_decoded_says_so_once_and_is_tried_again(house: House, name: str, reason: str) -> None:
    status = house.daemon.wait_for_stream(name, lambda stream: stream.reconnects >= 3, 90.0)
    assert status.state == "no_signal"
    assert {event.text for event in status.errors} == {f"{status.input}: {reason}"}
    assert len(lines_with(house.daemon.log, reason)) == 1


def test_a_camera_that_is_unreachable_at_first_comes_when_it_is_there(house: House) -> None:
    status = house.daemon.wait_for_stream("away", lambda away: away.slates > 0 and away.state == "no_signal")
    assert status.errors[0].text == f"rtsp://127.0.0.1:{house.away_port}/away: connection refused"
    server = RtspServer()
    server.port = house.away_port
    clip = house.daemon.path.parent / "people.mp4"
    with server, Camera(clip, server.publish_url("away"), number=2, size=SIZE, rate=RATE):
        house.daemon.wait_for_stream("away", lambda away: away.state == "running", 60.0)


def test_a_folder_that_cannot_be_written_is_named_and_tried_again(house: House) -> None:
    wait_for_live_pictures(house.daemon)
    status = house.daemon.wait_for_stream("door", lambda door: door.outputs[2].reconnects >= 2)
    assert status.outputs[2].last_error is not None
    assert str(house.barred) in status.outputs[2].last_error
    assert lines_with(house.daemon.log, "output lost, will be tried again")
    house.barred.unlink()
    house.daemon.wait_for_stream("door", lambda door: door.outputs[2].state == "connected")


def test_a_full_disk_ends_recordings_loudly_and_nothing_else(house: House) -> None:
    if not house.disk.is_mount():
        pytest.skip("no small disk can be mounted by this user")
    house.daemon.wait_for_stream("door", lambda door: door.outputs[1].state == "connected" and door.outputs[1].packets > 0)
    before = house.daemon.wait_for_stream("door", lambda door: True).outputs[1]
    filler = house.disk / "filler"
    with filler.open("wb") as file:
        free = os.statvfs(house.disk)
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
    status = house.daemon.wait_for_stream("door", lambda door: door.outputs[1].reconnects >= before.reconnects + 2, 60.0)
    assert status.outputs[1].last_error is not None
    assert f"{house.disk}: no space left" in status.outputs[1].last_error.lower()
    assert lines_with(house.daemon.log, "no space left") or lines_with(house.daemon.log, "No space left")
    wait_for_live_pictures(house.daemon)
    filler.unlink()
    house.daemon.wait_for_stream("door", lambda door: door.outputs[1].state == "connected")


def small_stream(folder: Path) -> dict[str, object]:
    clip = film_people(folder / "people.mp4", seconds=1.0)
    return {"name": "door", "input": str(clip), "loop": True, "outputs": str(folder / "hls" / "door.m3u8"), "max_fps": 4}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_in_use_is_named_and_nothing_is_started(tmp_path: Path, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        address = f"{host}:{occupied.getsockname()[1]}"
        path = tmp_path / "stream.yaml"
        path.write_text(yaml.safe_dump({"streams": [small_stream(tmp_path)], "http": {"address": address}}))
        ended = veil("serve", path, cwd=tmp_path)
    assert ended.returncode == ExitCode.OUTPUT
    (line,) = ended.stderr.splitlines()
    assert line == f"veil serve: {path}: http.address: {address} is in use by another program; stop that or give another port"
    assert not (tmp_path / "hls").exists()


def test_a_port_that_is_in_use_later_is_named_and_taken_when_it_is_free(tmp_path: Path) -> None:
    manager = Manager(tmp_path / "notify")
    stream = small_stream(tmp_path)
    with Daemon(tmp_path, [stream], environment={"NOTIFY_SOCKET": manager.address}) as daemon:
        daemon.wait_for_stream("door", lambda door: door.frames_out > 0)
        with socket.create_server(("127.0.0.1", 0)) as occupied:
            daemon.port = occupied.getsockname()[1]
            daemon.write([stream], http={"address": f"127.0.0.1:{daemon.port}"})
            daemon.reload()
            wait_until(lambda: "; status page away: http.address: " in manager.lines("STATUS")[-1][1], what="the status")
            wait_until(lambda: len(lines_with(daemon.log, "the status page is away")) > 2, what="another try")
        daemon.wait_for_stream("door", lambda door: door.frames_out > 0)
        wait_until(lambda: "status page" not in manager.lines("STATUS")[-1][1], what="the end of the trouble")
        assert len(lines_with(daemon.log, "ERROR")) == len(lines_with(daemon.log, "ERROR   veil: the status page is away")) == 1
    manager.close()


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("{name: door, input: 'rtsp://127.0.0.1/b', outputs: 'rtsp://127.0.0.1/d'}", "streams[1].name"),
        ("{name: yard, input: 'rtsp://127.0.0.1/b', outputs: 'rtsp://127.0.0.1/c'}", "streams[1].outputs"),
    ],
    ids=["one name", "one output"],
)
def test_streams_that_would_be_mixed_up_are_refused(tmp_path: Path, second: str, words: str) -> None:
    path = tmp_path / "stream.yaml"
    path.write_text(f"streams:\n  - {{name: door, input: 'rtsp://127.0.0.1/a', outputs: 'rtsp://127.0.0.1/c'}}\n  - {second}\n")
    ended = veil("serve", path, cwd=tmp_path)
    assert ended.returncode == ExitCode.USAGE
    assert len(ended.stderr.splitlines()) == 1
    assert str(path) in ended.stderr
    assert words in ended.stderr

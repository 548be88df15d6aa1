"""A log that nobody reads keeps `veil serve` from nothing."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from tests.live.daemon import Daemon
from tests.live.people import film_people
from tests.live.scene import wait_until
from tests.live.service_manager import Manager

pytestmark = pytest.mark.slow


def test_a_collector_of_logs_that_hangs_stops_neither_pictures_nor_signs_of_life(tmp_path: Path) -> None:
    clip = film_people(tmp_path / "people.mp4", seconds=1.0)
    stream = {"name": "door", "input": str(clip), "loop": True, "outputs": str(tmp_path / "door.m3u8"), "max_fps": 4}
    manager = Manager(tmp_path / "notify")
    daemon = Daemon(tmp_path, [stream], environment={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2000000"})
    os.mkfifo(daemon.log_path)
    ear = os.open(daemon.log_path, os.O_RDONLY | os.O_NONBLOCK)
    filler = os.open(daemon.log_path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(filler, 4095 * b"." + b"\n")
        with daemon:
            daemon.wait_for_stream("door", lambda door: door.frames_out > 8)
            wait_until(lambda: len(manager.lines("WATCHDOG")) > 2, 20.0, what="a sign of life")
            for sink in daemon.children("live-sink"):
                sink.kill()
            before = daemon.wait_for_stream("door", lambda door: door.restarts.get("sink") == 1)
            daemon.wait_for_stream("door", lambda door: door.frames_out > before.frames_out + 4)
            os.close(filler)
            filler = -1
            os.set_blocking(ear, True)
            heard: list[bytes] = []
            reader = threading.Thread(target=lambda: heard.extend(iter(lambda: os.read(ear, 1 << 16), b"")))
            reader.start()
            assert daemon.stop() == 0
            reader.join(10.0)
            text = b"".join(heard).decode()
            assert "ready: every stream has made a picture or a slate" in text
            assert "live-sink" in text
            assert text.endswith("\n")
    finally:
        if filler >= 0:
            os.close(filler)
        os.close(ear)
        manager.close()

"""What the service manager hears of `veil serve`, and when."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from streamer.demo import make_demo_clip
from streamer.live.status import StreamStatus
from streamer.live.stream import SILENT_LIMIT_S
from tests.live.daemon import Daemon, free_port
from tests.live.scene import wait_until
from tests.live.service_manager import Manager

pytestmark = pytest.mark.slow

WATCHDOG_S = 2.0


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    manager = Manager(tmp_path_factory.mktemp("manager") / "notify")
    yield manager
    manager.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, manager: Manager) -> Iterator[Daemon]:
    """One camera that comes, and one that is not there."""
    folder = tmp_path_factory.mktemp("notify")
    clip = folder / "people.mp4"
    make_demo_clip(clip, size=(320, 192), duration_s=2.0, rate=6)
    common = {"filter": {"name": "blackout"}, "max_latency_ms": 4000}
    streams = [
        {**common, "name": "film", "input": str(clip), "loop": True, "outputs": str(folder / "film.m3u8")},
        {**common, "name": "away", "input": f"rtsp://127.0.0.1:{free_port()}/a", "outputs": str(folder / "away.m3u8")},
    ]
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6))}
    with Daemon(folder, streams, settings={"detector_processes": 1}, environment=environment) as daemon:
        yield daemon


def test_it_is_ready_once_every_stream_has_sent_a_picture_or_its_slate(daemon: Daemon, manager: Manager) -> None:
    status = daemon.wait_for(lambda status: bool(manager.lines("READY")) or any(one.frames_out for one in status.streams))
    while not all(stream.frames_out + stream.slates for stream in status.streams):
        assert not status.is_ready
        status = daemon.wait_for(lambda status, before=status.now: status.now > before)  # type: ignore[misc]
    wait_until(lambda: bool(manager.lines("READY")), what="READY")
    status = daemon.wait_for(lambda status: status.is_ready)
    film, away = status.streams
    assert film.frames_out + film.slates > 0
    assert away.slates > 0
    assert len(manager.lines("READY")) == 1
    daemon.wait_for_stream("film", lambda film: film.frames_out > 0)
    wait_until(lambda: "1 running, 1 no signal" in manager.lines("STATUS")[-1][1], what="the text of the status")


def test_a_reload_is_announced_and_its_end_too(daemon: Daemon, manager: Manager) -> None:
    right = daemon.path.read_text()
    daemon.path.write_text("streams: [")
    daemon.reload()
    wait_until(lambda: len(manager.lines("READY")) == 2, what="READY after the reload")
    assert len(manager.lines("RELOADING")) == 1
    assert manager.lines("RELOADING")[0][0] <= manager.lines("READY")[1][0]
    assert int(manager.lines("MONOTONIC_USEC")[0][1]) > 0
    wait_until(lambda: "reload refused" in manager.lines("STATUS")[-1][1], what="the reason")
    daemon.path.write_text(right)
    daemon.reload()
    wait_until(lambda: "reload refused" not in manager.lines("STATUS")[-1][1], what="the end of the reason")
    status = daemon.wait_for(lambda status: status.reload_error is None)
    assert (status.reloads, status.reloads_refused) == (1, 1)


def test_it_gives_no_sign_of_life_while_nothing_goes_out(daemon: Daemon, manager: Manager) -> None:
    wait_until(lambda: len(manager.lines("WATCHDOG")) > 2, what="a sign of life")
    assert manager.silence_s("WATCHDOG") < WATCHDOG_S

    def is_silent_without_sinks() -> bool:
        for sink in daemon.children("live-sink"):
            os.kill(sink.pid, signal.SIGSTOP)
        return manager.silence_s("WATCHDOG") > 1.5 * WATCHDOG_S

    began_s = time.monotonic()
    _often(is_silent_without_sinks, SILENT_LIMIT_S + 20)
    assert time.monotonic() - began_s > SILENT_LIMIT_S, "a moment of silence is no reason"
    wait_until(lambda: manager.silence_s("WATCHDOG") < WATCHDOG_S / 2, what="a sign of life once pictures go out again")
    # One stream that sends is enough for that; the other's sink may be one of those that were stopped.
    before = daemon.wait_for(lambda _: True)
    daemon.wait_for(lambda status: all(_sent(now) > _sent(then) for now, then in zip(status.streams, before.streams, strict=True)))
    assert daemon.process.poll() is None


def test_streams_that_are_given_up_tell_their_viewers_and_the_daemon_lives(daemon: Daemon, manager: Manager) -> None:
    def all_are_given_up() -> bool:
        for anonymizer in daemon.children("live-anonymizer"):
            anonymizer.kill()
        return "2 failed" in manager.lines("STATUS")[-1][1]

    _often(all_are_given_up, 90.0)
    before = daemon.wait_for(lambda status: not status.is_healthy)
    after = daemon.wait_for(
        lambda status: all(now.slates >= then.slates + 3 for now, then in zip(status.streams, before.streams, strict=True))
    )
    for then, now in zip(before.streams, after.streams, strict=True):
        assert now.outputs[0].state == "connected"
        assert now.outputs[0].packets > then.outputs[0].packets
    assert manager.silence_s("WATCHDOG") < WATCHDOG_S
    assert daemon.get("/healthz")[0] == 503, "loudly"


def test_it_says_that_it_leaves(daemon: Daemon, manager: Manager) -> None:
    assert daemon.stop() == 0
    assert len(manager.lines("STOPPING")) == 1
    assert manager.lines("STOPPING")[0][0] >= manager.lines("WATCHDOG")[-1][0]


def _sent(stream: StreamStatus) -> int:
    """Pictures and slates."""
    return stream.frames_out + stream.slates


def _often(is_so: Callable[[], bool], deadline_s: float) -> None:
    """Ask until it is so, without missing anything that lives for a moment. Raises TimeoutError."""
    end_s, pause = time.monotonic() + deadline_s, threading.Event()
    while not is_so():
        if time.monotonic() > end_s:
            raise TimeoutError
        pause.wait(0.005)

"""The fork server: its children belong to the process that asked for them, and to nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from streamer.channel import Hub
from streamer.errors import InternalError
from streamer.forkserver import ChildStart, ForkServer
from streamer.heartbeat import HeartbeatPage
from streamer.sdnotify import SERVICE_VARIABLES
from tests.streamer.running import REPOSITORY, nothing_left_behind


class Place:
    """What a child needs to live."""

    def __init__(self, server: ForkServer) -> None:
        self.server, self.hub, self.page = server, Hub(), HeartbeatPage()
        self.ring = os.memfd_create("veil-ring-of-this-test")
        self.children: list[psutil.Process] = []

    def start(self, *, is_soon: bool = False) -> psutil.Process:
        start = ChildStart(
            role="detector",
            worker="tests.streamer.faulty_workers:IdleWorker",
            name=f"detector-{len(self.children)}",
            endpoint=self.hub.endpoint,
            parent=os.getpid(),
            heartbeat=self.page.descriptor,
            cell=0,
            rings={"raw": self.ring},
            log_level="CRITICAL",
        )
        fork = self.server.fork_soon if is_soon else self.server.fork
        self.children.append(psutil.Process(fork(start)))
        return self.children[-1]

    def hear(self, children: int) -> None:
        """Wait until so many have said Hello."""
        while children > 0:
            assert self.hub.socket.poll(60_000), "the child says nothing"
            children -= len(list(self.hub.receive_all()))

    def close(self) -> None:
        for child in self.children:
            if child.is_running():
                end(child)
        self.hub.close()
        self.page.close()
        os.close(self.ring)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    with nothing_left_behind(monkeypatch, tmp_path), ForkServer() as server:
        monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
        one = Place(server)
        yield one
        one.close()


def end(child: psutil.Process) -> None:
    child.kill()
    child.wait(60)


def server_of(place: Place) -> psutil.Process:
    (found,) = (process for process in psutil.Process().children() if process.name() == "veil-forkserver")
    return found


def test_a_child_belongs_to_the_process_that_asked_and_shows_its_role(place: Place) -> None:
    child = place.start()
    place.hear(1)
    assert child.ppid() == os.getpid()
    assert child.name() == "veil-detector"
    end(child)
    assert [process.pid for process in psutil.Process().children(recursive=True)] == [server_of(place).pid]


def descriptors_of(pid: int) -> list[str]:
    """What the descriptors of a process lead to, but for those that it closes while they are looked at."""
    names = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.append(os.readlink(link))
    return names


def test_a_child_has_the_descriptors_that_it_was_given_and_not_those_of_others(place: Place) -> None:
    first, second = place.start(), place.start()
    place.hear(2)
    for child in (first, second):
        assert sum("veil-ring-of-this-test" in name for name in descriptors_of(child.pid)) == 1
    assert not [name for name in descriptors_of(server_of(place).pid) if "veil-" in name]


def test_children_have_no_way_to_the_service_manager(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SERVICE_VARIABLES:
        monkeypatch.setenv(name, "1")
    with ForkServer() as server:
        other = Place(server)
        child = other.start()
        other.hear(1)
        inherited = Path(f"/proc/{child.pid}/environ").read_bytes().split(b"\0")
        other.close()
    names = {line.partition(b"=")[0].decode() for line in inherited}
    assert "PYTHONPATH" in names
    assert not names & set(SERVICE_VARIABLES)


def test_the_server_has_no_thread_that_a_fork_would_lose(place: Place) -> None:
    end(place.start())
    assert server_of(place).num_threads() == 1


def test_another_server_takes_the_place_of_one_that_died(place: Place) -> None:
    first = place.start()
    place.hear(1)
    server_of(place).send_signal(signal.SIGKILL)
    second = place.start()
    assert second.ppid() == os.getpid()
    assert first.is_running(), "children do not depend on the server"


def until_able(server: ForkServer) -> None:
    deadline_s, pause = time.monotonic() + 60, threading.Event()
    while not server.is_able:
        assert time.monotonic() < deadline_s
        pause.wait(0.02)


def test_asking_takes_no_time_after_a_child_was_started_and_leaves_the_server_alone(place: Place) -> None:
    until_able(place.server)
    before = server_of(place)
    place.start()
    begun_s = time.monotonic()
    assert all(place.server.is_able for _ in range(5))
    assert time.monotonic() - begun_s < 1.0
    assert before.is_running()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_nobody_waits_for_a_server_that_is_gone_or_hangs(place: Place, number: signal.Signals) -> None:
    until_able(place.server)
    before = server_of(place)
    before.send_signal(number)
    pause = threading.Event()
    deadline_s = time.monotonic() + 60
    while before.is_running():
        assert time.monotonic() < deadline_s
        _ = place.server.is_able
        pause.wait(0.02)
    until_able(place.server)
    assert server_of(place).pid != before.pid
    place.start()
    place.hear(1)


def test_a_server_that_is_well_stays_and_nobody_waits_for_its_word(place: Place) -> None:
    until_able(place.server)
    before = server_of(place)
    place.start(is_soon=True)
    asked, pause = 0, threading.Event()
    until_s = time.monotonic() + 2.0
    while time.monotonic() < until_s:
        assert place.server.is_able
        asked += 1
        pause.wait(0.005)
    assert asked > 20, "each time it has been waited for"
    assert server_of(place).pid == before.pid
    place.hear(1)


def test_a_server_that_hangs_in_the_middle_refuses_and_is_replaced(place: Place) -> None:
    until_able(place.server)
    before = server_of(place)
    before.send_signal(signal.SIGSTOP)
    with pytest.raises(InternalError, match="no further process"):
        place.start(is_soon=True)
    assert not before.is_running()
    until_able(place.server)
    place.start(is_soon=True)
    place.hear(1)


def test_where_no_process_can_be_had_the_error_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    end(place.start())
    monkeypatch.setattr(ForkServer, "_start", lambda self: None)
    server_of(place).kill()
    with pytest.raises(InternalError, match="no further process can be started"):
        place.start()
    monkeypatch.undo()


def test_orphans_go_elsewhere_once_the_server_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    before = _is_reaper()
    with ForkServer():
        assert _is_reaper()
    assert _is_reaper() == before


def _is_reaper() -> bool:
    answer = ctypes.c_int()
    ctypes.CDLL(None).prctl(37, ctypes.byref(answer), 0, 0, 0)
    return bool(answer.value)

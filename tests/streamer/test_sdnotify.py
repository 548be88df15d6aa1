"""What arrives at a socket that is bound as systemd binds its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.sdnotify import ServiceManager


class Listener:
    """Stands for the service manager. address: as in NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(10)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def hear(self) -> str:
        return self._socket.recv(4096).decode()

    def hears_nothing(self) -> bool:
        self._socket.setblocking(False)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        return False

    def fill(self) -> int:
        """Until the queue takes no more; how many it took."""
        taken = 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                while True:
                    sender.sendto(b"STATUS=", self.address)
                    taken += 1
            except BlockingIOError:
                return taken

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(str(tmp_path / "notify"))
    yield listener
    listener.close()


def test_everything_is_told_in_the_words_of_sd_notify(listener: Listener) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "30000000"})
    manager.ready()
    assert listener.hear() == "READY=1"
    manager.status("4 cameras, 100 frames/s")
    assert listener.hear() == "STATUS=4 cameras, 100 frames/s"
    manager.watchdog()
    assert listener.hear() == "WATCHDOG=1"
    manager.stopping()
    assert listener.hear() == "STOPPING=1"
    assert listener.hears_nothing()


def test_a_reload_bears_the_time_at_which_it_began(listener: Listener) -> None:
    before_us = time.monotonic_ns() // 1000
    ServiceManager({"NOTIFY_SOCKET": listener.address}).reloading()
    first, second = listener.hear().split("\n")
    assert first == "RELOADING=1"
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before_us <= int(value) <= time.monotonic_ns() // 1000


def test_an_abstract_address_is_reached() -> None:
    listener = Listener(f"@veil-test-{uuid.uuid4()}")
    ServiceManager({"NOTIFY_SOCKET": listener.address}).ready()
    assert listener.hear() == "READY=1"
    listener.close()


def test_children_do_not_have_the_socket(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", listener.address)
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    manager = ServiceManager()
    program = "import os; print(sorted(name for name in os.environ if name.startswith(('NOTIFY', 'WATCHDOG'))))"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert child.stdout == "[]\n"
    manager.ready()
    assert listener.hear() == "READY=1"
    assert manager.watchdog_s == 1.0


def test_signs_of_life_are_due_at_half_the_interval(listener: Listener) -> None:
    environment = {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid())}
    assert ServiceManager(environment).watchdog_s == 2.5
    assert environment == {}


@pytest.mark.parametrize(
    "watchdog",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}],
    ids=["none", "zero", "nonsense", "for another process"],
)
def test_nobody_is_sent_signs_of_life_who_does_not_wait_for_them(watchdog: dict[str, str], listener: Listener) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": listener.address, **watchdog})
    assert manager.watchdog_s is None
    manager.watchdog()
    assert listener.hears_nothing()


def test_a_status_cannot_hold_other_fields(listener: Listener) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": listener.address})
    manager.status("door:\nMAINPID=1\r\nREADY=1\x00\u2028x \udcff")
    assert listener.hear() == "STATUS=door: MAINPID=1 READY=1 x"


def test_a_long_status_is_cut_between_characters(listener: Listener) -> None:
    ServiceManager({"NOTIFY_SOCKET": listener.address}).status("a" + "ü" * 5000)
    assert listener.hear() == "STATUS=a" + "ü" * 999


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}], ids=str)
def test_nothing_is_said_where_nobody_can_listen(environment: dict[str, str]) -> None:
    manager = ServiceManager({**environment, "WATCHDOG_USEC": "1000000"})
    assert manager.watchdog_s is None
    for tell in (manager.ready, manager.reloading, manager.stopping, manager.watchdog):
        tell()
    manager.status("alone")


def test_a_vanished_socket_is_no_error_and_one_that_is_back_is_used(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    listener = Listener(address)
    manager = ServiceManager({"NOTIFY_SOCKET": address})
    listener.close()
    manager.ready()  # refused
    Path(address).unlink()
    manager.ready()  # no such file
    again = Listener(address)
    manager.status("back")
    assert again.hear() == "STATUS=back"
    again.close()


def test_a_service_manager_that_does_not_read_holds_nothing_up_and_hears_the_newest_later(listener: Listener) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "2000000"})
    filled = listener.fill()
    started_s = time.monotonic()
    manager.status("old")
    manager.reloading()
    manager.ready()
    manager.watchdog()
    manager.status("new")
    manager.reloading()
    manager.ready()
    manager.flush()
    assert time.monotonic() - started_s < 0.1
    for _ in range(filled):
        assert listener.hear() == "STATUS="
    manager.flush()
    heard = [listener.hear().partition("\n")[0] for _ in range(4)]
    assert heard == ["WATCHDOG=1", "STATUS=new", "RELOADING=1", "READY=1"]
    assert listener.hears_nothing()

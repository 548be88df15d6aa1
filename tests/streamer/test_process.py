"""A single child process, spoken to directly."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from streamer.channel import Decoder, Hub, encode
from streamer.config import DetectorSettings
from streamer.forkserver import ChildStart, ForkServer
from streamer.heartbeat import HeartbeatPage
from streamer.messages import DetectorSetup, Failed, Hello, Message, Ready, Stop
from streamer.pipeline import EVERY_CHILD_WRITES
from tests.streamer.running import REPOSITORY

_DEADLINE_MS = 60_000
SETUP = DetectorSetup(detector=DetectorSettings())


class Conversation:
    """The supervisor's end of a single child."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.page = HeartbeatPage()
        self.ring = os.memfd_create("ring")
        os.ftruncate(self.ring, mmap.PAGESIZE)
        self.server = ForkServer()
        self.children: list[psutil.Process] = []

    def start(self, worker: str, *, parent: int | None = None) -> psutil.Process:
        self.page.reset(3)
        start = ChildStart(
            role="detector",
            worker=f"tests.streamer.faulty_workers:{worker}",
            name="detector-1",
            endpoint=self.hub.endpoint,
            parent=parent or os.getpid(),
            heartbeat=self.page.descriptor,
            cell=3,
            rings={"raw": self.ring},
            log_level="CRITICAL",
        )
        child = psutil.Process(self.server.fork(start))
        self.children.append(child)
        return child

    def hear(self) -> Message:
        assert self.hub.socket.poll(_DEADLINE_MS), "the child says nothing"
        _, payload = next(iter(self.hub.receive_all()))
        return Decoder(EVERY_CHILD_WRITES).decode(payload)

    def say(self, message: Message) -> None:
        assert self.hub.send(b"detector-1", encode(message))

    def close(self) -> None:
        for child in self.children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
            child.wait()
        self.server.close()
        self.hub.close()
        self.page.close()
        os.close(self.ring)


@pytest.fixture
def conversation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Conversation]:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    one = Conversation()
    yield one
    one.close()


def test_a_child_greets_is_set_up_and_leaves(conversation: Conversation) -> None:
    child = conversation.start("IdleWorker")
    assert conversation.hear() == Hello()
    conversation.say(SETUP)
    assert conversation.hear() == Ready()
    conversation.say(Stop())
    assert child.wait(60) == 0


def test_a_child_that_waits_shows_that_it_lives(conversation: Conversation) -> None:
    conversation.start("IdleWorker")
    conversation.hear()
    started_s = conversation.page.last_s(3)
    conversation.say(SETUP)
    conversation.hear()
    ready_s = conversation.page.last_s(3)
    assert ready_s > started_s
    conversation.hub.socket.poll(1000)  # nothing will come: it waits as well
    assert conversation.page.last_s(3) > ready_s


def test_a_failure_is_said_in_one_line_and_shown_by_the_exit_code(conversation: Conversation) -> None:
    child = conversation.start("MisconfiguredWorker")
    conversation.hear()
    conversation.say(SETUP)
    assert conversation.hear() == Failed(error="detector.name: nobody knows it", exit_code=2, is_final=True)
    conversation.say(Stop())
    assert child.wait(60) == 2


def test_a_defect_is_told_from_a_failure(conversation: Conversation) -> None:
    child = conversation.start("NoSuchWorker")
    assert conversation.hear() == Hello()
    said = conversation.hear()
    assert isinstance(said, Failed)
    assert (said.exit_code, said.is_final) == (1, False)
    assert said.error.startswith("internal error in the detector: AttributeError")
    conversation.say(Stop())
    assert child.wait(60) == 1


def test_a_message_that_is_not_for_it_ends_a_child(conversation: Conversation) -> None:
    conversation.start("IdleWorker")
    conversation.hear()
    conversation.say(Hello())
    said = conversation.hear()
    assert isinstance(said, Failed)
    assert "ValidationError" in said.error


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_child_leaves_signals_to_its_parent(which: signal.Signals, conversation: Conversation) -> None:
    child = conversation.start("IdleWorker")
    conversation.hear()
    child.send_signal(which)
    conversation.say(SETUP)
    assert conversation.hear() == Ready()


def core_limits(pid: int) -> list[str]:
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in limits if line.startswith("Max core file size")).split()[4:6]


def test_a_crash_writes_no_core(conversation: Conversation) -> None:
    child = conversation.start("IdleWorker")
    conversation.hear()
    assert core_limits(child.pid) == ["1", "1"]


def test_a_child_starts_where_no_core_is_allowed_anyway(conversation: Conversation) -> None:
    server = next(child for child in psutil.Process().children() if "streamer.forking" in child.cmdline())
    server.rlimit(psutil.RLIMIT_CORE, (0, 0))
    child = conversation.start("IdleWorker")
    assert conversation.hear() == Hello()
    assert core_limits(child.pid) == ["0", "0"]


def test_a_child_whose_parent_is_gone_does_not_start(conversation: Conversation) -> None:
    child = conversation.start("IdleWorker", parent=1)
    assert child.wait(60) == 1
    assert not conversation.hub.socket.poll(0)

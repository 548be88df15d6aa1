"""Children and their owners, and the web server as one of them, without processes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest
from loguru import logger

from streamer.children import Child, Died
from streamer.errors import InternalError
from streamer.live.config import LiveVideoSettings
from streamer.live.messages import LiveSinkSetup, Preview, PreviewWanted, SlateWritten, WebSetup
from streamer.live.web_server import WebServer
from streamer.messages import Message, Ready
from streamer.rings import RingMemory
from tests.live.fake_crew import FakeSupervisor

SETUP = LiveSinkSetup(name="door", video=LiveVideoSettings(), max_fps=None)
WEB = WebSetup(host="127.0.0.1", port=0, token=None, preview=True)


@dataclass
class Listener:
    heard: list[Message] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)

    def received(self, child: Child, message: Message, payload: bytes) -> None:
        self.heard.append(message)

    def died(self, died: Died) -> None:
        self.deaths.append(str(died.error))


@pytest.fixture
def supervisor() -> FakeSupervisor:
    return FakeSupervisor()


def test_each_owner_hears_of_its_own_children_alone(supervisor: FakeSupervisor) -> None:
    owners = [Listener(), Listener()]
    for owner in owners:
        supervisor.crew.start("live-sink", [SETUP], owner)
    first, second = supervisor.started
    supervisor.say(first, SlateWritten())
    supervisor.die(second, "ended by SIGSEGV")
    assert owners == [Listener(heard=[SlateWritten()]), Listener(deaths=["ended by SIGSEGV"])]


def test_of_a_child_that_was_dismissed_nobody_wants_to_hear(supervisor: FakeSupervisor) -> None:
    owner = Listener()
    child = supervisor.crew.start("live-sink", [SETUP], owner)
    supervisor.crew.dismiss(child, 2.0)
    supervisor.say(supervisor.started[0], SlateWritten())
    supervisor.die(supervisor.started[0])
    assert owner == Listener()
    assert supervisor.started[0].grace_s == 2.0


def test_nothing_is_remembered_of_children_that_are_gone(supervisor: FakeSupervisor) -> None:
    for number in range(20):
        child = supervisor.crew.start("live-sink", [SETUP], Listener())
        if number % 2:
            supervisor.crew.dismiss(child)
        supervisor.die(supervisor.started[-1])
    assert supervisor.crew._owners == {}


def test_nothing_happens_without_a_child(supervisor: FakeSupervisor) -> None:
    ring = RingMemory("raw")
    supervisor.crew.send(None, SlateWritten())
    supervisor.crew.pass_on(None, b"")
    supervisor.crew.hand_over(None, ring)
    supervisor.crew.dismiss(None)
    ring.close()
    supervisor.can_start = False
    with pytest.raises(InternalError):
        supervisor.crew.start("live-sink", [SETUP], Listener())


def test_what_keeps_the_status_page_away_is_said_once_and_known_until_it_is_back(supervisor: FakeSupervisor) -> None:
    web = WebServer(supervisor.crew, WEB, lambda wanted: None)
    said: list[str] = []
    sink = logger.add(lambda line: said.append(line), level="ERROR", format="{message}")
    try:
        for attempt in range(4):
            web.tick(time.monotonic() + 60 * attempt)
            supervisor.die(supervisor.started[-1], "the port is in use")
        assert web.trouble == "the port is in use"
        web.tick(time.monotonic() + 600)
        assert web.trouble is not None
        supervisor.say(supervisor.started[-1], Ready())
        assert web.trouble is None
        supervisor.die(supervisor.started[-1], "the port is in use")
    finally:
        logger.remove(sink)
    assert said == ["the status page is away, will be tried again: the port is in use\n"] * 2


def test_the_web_server_comes_back_and_passes_on_who_is_looked_at(supervisor: FakeSupervisor) -> None:
    wanted: list[PreviewWanted] = []
    web = WebServer(supervisor.crew, WEB, wanted.append)
    web.show_preview(Preview(name="door", jpeg=b"too early"))
    now_s = time.monotonic()
    web.tick(now_s)
    web.tick(now_s)
    (child,) = supervisor.started
    assert child.heard == [WEB]
    supervisor.say(child, PreviewWanted(name="door"))
    web.show_preview(Preview(name="door", jpeg=b"a picture"))
    assert wanted == [PreviewWanted(name="door")]
    assert child.heard_of(Preview) == [Preview(name="door", jpeg=b"a picture")]
    supervisor.die(child, "the port is in use")
    web.tick(time.monotonic())
    assert len(supervisor.started) == 1, "it came at once"
    web.tick(time.monotonic() + 60)
    assert supervisor.started[1].heard == [WEB]
    web.stop()
    supervisor.die(supervisor.started[1])
    web.tick(time.monotonic() + 1000)
    assert len(supervisor.started) == 2

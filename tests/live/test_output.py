"""The supervisor's part in one output, without processes."""

from __future__ import annotations

import itertools
import time

import pytest
from loguru import logger

from streamer.channel import encode
from streamer.live.addresses import output_kind
from streamer.live.config import OutputSettings
from streamer.live.messages import EncodedPacket, EncodingOpened, OutputNote, Published, PublisherSetup, SoundOpened
from streamer.live.output import MOST_OUTSTANDING_BYTES, MOST_OUTSTANDING_PACKETS, OutputRun
from streamer.messages import AudioPacket
from tests.live.fake_crew import FakeChild, FakeSupervisor

ENCODING = EncodingOpened(video=b"parameters", width=64, height=48)
SOUND = SoundOpened(audio=b"sound", codec="aac")
SETTINGS = OutputSettings(to="rtsp://door:${secret:door}@server/door", timeout_s=5.0)
SECRET = "rtsp://door:12345@server/door"
SHOWN = "rtsp://server/door"


class Wording:
    def resolve(self, text: str) -> str:
        return text.replace("${secret:door}", "12345")

    def redact(self, text: str) -> str:
        return text.replace("door:12345@", "").replace("door:${secret:door}@", "")


class Bench:
    def __init__(self) -> None:
        self.supervisor = FakeSupervisor()
        self.keyframes_wanted = 0
        self.output = OutputRun(self.supervisor.crew, "door", SETTINGS, Wording(), self.want_keyframe)
        self.dts = itertools.count(0, 3600)

    def want_keyframe(self) -> None:
        self.keyframes_wanted += 1

    @property
    def publisher(self) -> FakeChild:
        return self.supervisor.started[-1]

    def give(self, message: EncodingOpened | EncodedPacket | AudioPacket) -> None:
        self.output.give(message, encode(message))

    def picture(self, *, is_keyframe: bool = False, size: int = 100) -> bool:
        """Whether the publisher was sent it."""
        pts = next(self.dts)
        self.give(EncodedPacket(pts=pts, dts=pts, duration=3600, is_keyframe=is_keyframe, data=bytes(size)))
        return bool(self.given) and self.given[-1].pts == pts

    def sound(self) -> bool:
        pts = next(self.dts)
        packet = AudioPacket(
            stream=1, track=0, pts=pts, dts=pts, duration=1, time_base=(1, 90000), is_keyframe=True, data=bytes(10)
        )
        self.give(packet)
        return bool(self.given) and self.given[-1] == packet

    @property
    def given(self) -> list[EncodedPacket | AudioPacket]:
        return [message for message in self.publisher.heard if isinstance(message, EncodedPacket | AudioPacket)]

    def acknowledge(self, packets: int, dropped: int = 0) -> None:
        self.supervisor.say(self.publisher, Published(packets=packets, dropped=dropped, is_connected=True))


@pytest.fixture
def bench() -> Bench:
    running = Bench()
    running.output.tick(time.monotonic())
    running.give(ENCODING)
    return running


@pytest.mark.parametrize(
    ("to", "kind"),
    [
        ("rtsp://a/b", "rtsp"),
        ("RTSPS://a/b", "rtsp"),
        ("rtmp://a/b", "rtmp"),
        ("rtmps://a/b", "rtmp"),
        ("srt://a:1", "srt"),
        ("/srv/door.m3u8", "hls"),
        ("/srv/recordings", "recording"),
        ("/srv/door.mp4/", "recording"),
    ],
)
def test_an_output_is_known_by_its_address(to: str, kind: str) -> None:
    assert output_kind(to) == kind


def test_a_publisher_gets_the_address_with_its_password_and_nobody_else_does(bench: Bench) -> None:
    (setup,) = bench.publisher.heard_of(PublisherSetup)
    assert isinstance(setup, PublisherSetup)
    assert (setup.name, setup.output.to) == ("door", SECRET)
    assert bench.publisher.hang_limit_s == SETTINGS.timeout_s
    bench.supervisor.die(bench.publisher, f"cannot write {SECRET}")
    status = bench.output.status()
    assert (status.to, status.last_error) == (SHOWN, f"cannot write {SHOWN}")


def test_it_begins_with_a_keyframe_which_it_asks_for(bench: Bench) -> None:
    assert bench.keyframes_wanted == 1
    assert not bench.picture()
    assert not bench.sound()
    assert bench.picture(is_keyframe=True)
    assert bench.picture()
    assert bench.sound()
    assert bench.output.status().dropped == 2


def test_new_pictures_begin_with_a_keyframe(bench: Bench) -> None:
    bench.picture(is_keyframe=True)
    bench.give(ENCODING)
    assert not bench.picture()
    assert bench.picture(is_keyframe=True)


def test_without_a_word_about_sound_there_is_none(bench: Bench) -> None:
    assert [type(message) for message in bench.publisher.heard] == [PublisherSetup, SoundOpened, EncodingOpened]
    bench.output.announce(SOUND)
    bench.output.announce(SOUND)
    assert bench.publisher.heard_of(SoundOpened) == [SoundOpened(audio=b"", codec=""), SOUND]


def test_what_is_acknowledged_is_counted(bench: Bench) -> None:
    assert bench.output.state == "connecting"
    for _ in range(10):
        bench.picture(is_keyframe=True)
    bench.acknowledge(7, dropped=2)
    status = bench.output.status()
    assert (status.state, status.packets, status.dropped) == ("connected", 5, 2)


@pytest.mark.parametrize(
    ("size", "bytes_at_most", "packets_at_most"),
    [(100, MOST_OUTSTANDING_BYTES, MOST_OUTSTANDING_PACKETS), (1 << 20, MOST_OUTSTANDING_BYTES + (1 << 20), 16)],
)
def test_a_publisher_that_takes_nothing_is_sent_a_bounded_amount(
    bench: Bench, size: int, bytes_at_most: int, packets_at_most: int
) -> None:
    for number in range(4 * MOST_OUTSTANDING_PACKETS):
        bench.picture(is_keyframe=number % 25 == 0, size=size)
    assert sum(len(packet.data) for packet in bench.given) <= bytes_at_most
    assert len(bench.given) <= packets_at_most
    assert bench.output.status().dropped == 4 * MOST_OUTSTANDING_PACKETS - len(bench.given)


@pytest.mark.parametrize("size", [100, 1 << 20])
def test_a_publisher_that_has_caught_up_goes_on_at_a_keyframe(bench: Bench, size: int) -> None:
    bench.picture(is_keyframe=True, size=size)
    while bench.picture(size=size):
        pass
    bench.acknowledge(1)
    assert not bench.picture(), "a picture that needs the lost one"
    assert not bench.picture(is_keyframe=True), "it has hardly begun to catch up"
    bench.acknowledge(len(bench.given) - 1)
    assert not bench.picture()
    assert not bench.sound()
    assert bench.picture(is_keyframe=True)
    assert bench.picture()


def test_a_publisher_that_dies_is_replaced_and_told_all_that_is_known(bench: Bench) -> None:
    bench.output.announce(SOUND)
    bench.picture(is_keyframe=True)
    bench.supervisor.die(bench.publisher)
    assert bench.output.state == "retrying"
    now_s = time.monotonic()
    bench.output.tick(now_s)
    assert len(bench.supervisor.started) == 1, "it came at once"
    bench.output.tick(now_s + 60)
    assert [type(message) for message in bench.publisher.heard] == [PublisherSetup, EncodingOpened, SoundOpened]
    assert bench.publisher.heard_of(SoundOpened) == [SOUND]
    assert bench.keyframes_wanted == 2
    assert not bench.picture()
    assert bench.picture(is_keyframe=True)
    status = bench.output.status()
    assert (status.reconnects, status.dropped) == (1, 2)


def test_what_an_earlier_publisher_held_back_does_not_weigh_on_the_next(bench: Bench) -> None:
    bench.picture(is_keyframe=True)
    while bench.picture():
        pass
    bench.supervisor.die(bench.publisher)
    bench.output.tick(time.monotonic() + 60)
    assert bench.picture(is_keyframe=True)
    assert bench.picture()


def test_it_waits_longer_each_time(bench: Bench) -> None:
    waits = []
    for _ in range(8):
        bench.supervisor.die(bench.publisher)
        waits.append(bench.output._process.start_at_s - time.monotonic())
        bench.output.tick(time.monotonic() + 60)
    assert waits[0] <= 0.25
    assert waits[-1] >= 4.9


def test_what_is_tried_for_ever_is_said_once(bench: Bench) -> None:
    said: list[str] = []
    sink = logger.add(lambda line: said.append(line), level="WARNING", format="{message}")
    try:
        for _ in range(5):
            bench.supervisor.die(bench.publisher)
            bench.output.tick(time.monotonic() + 60)
        assert len(said) == 1
        bench.acknowledge(0)
        bench.supervisor.die(bench.publisher)
        assert len(said) == 2, "it had worked meanwhile"
    finally:
        logger.remove(sink)


def test_without_a_process_nothing_is_sent_and_it_is_tried_again() -> None:
    bench = Bench()
    bench.supervisor.can_start = False
    bench.output.tick(time.monotonic())
    bench.give(ENCODING)
    bench.give(EncodedPacket(pts=0, dts=0, duration=1, is_keyframe=True, data=b"x"))
    assert bench.output.status().dropped == 1
    assert "no further process" in str(bench.output.status().last_error)
    bench.supervisor.can_start = True
    bench.output.tick(time.monotonic() + 60)
    assert bench.publisher.heard_of(EncodingOpened) == [ENCODING]


def test_a_note_is_shown(bench: Bench) -> None:
    bench.supervisor.say(bench.publisher, OutputNote(text="the sound is left out"))
    assert bench.output.status().last_error == "the sound is left out"


def test_a_publisher_that_was_told_to_leave_is_neither_heard_nor_replaced(bench: Bench) -> None:
    bench.output.stop(3.0)
    assert bench.publisher.grace_s == 3.0
    bench.supervisor.die(bench.publisher)
    bench.output.tick(time.monotonic() + 1000)
    assert len(bench.supervisor.started) == 1
    assert bench.output.status().reconnects == 0

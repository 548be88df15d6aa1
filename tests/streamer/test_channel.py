"""Sockets and the decoding of messages."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import msgspec
import pytest
import zmq

from streamer.channel import Decoder, Hub, Line, encode
from streamer.messages import AnonymizedFrame, FrameWritten, Hello, RawFrame, SlotFree, SourceEnded

FREE = SlotFree(stream=0, slot=3, generation=9)
RAW = RawFrame(
    stream=0, number=1, slot=2, generation=3, pts=4, duration=5, time_s=0.5, is_corrupt=False, is_cut=True, effort="quick"
)


def receive(hub: Hub) -> tuple[bytes, bytes]:
    assert hub.socket.poll(5000), "nothing came"
    return next(iter(hub.receive_all()))


def test_messages_go_both_ways() -> None:
    hub = Hub()
    line = Line(hub.endpoint, "sink-1", (SlotFree,))
    line.send(Hello())
    identity, payload = receive(hub)
    assert (identity, Decoder((Hello,)).decode(payload)) == (b"sink-1", Hello())
    assert hub.send(identity, encode(FREE))
    assert line.receive(5.0) == FREE
    assert line.receive(0.0) is None
    line.close()
    hub.close()


def test_a_child_decodes_only_what_it_is_declared_to_read() -> None:
    decoder = Decoder((AnonymizedFrame, SourceEnded))
    with pytest.raises(msgspec.ValidationError):
        decoder.decode(encode(RAW))


def test_sending_to_nobody_is_noticed() -> None:
    hub = Hub()
    assert not hub.send(b"sink-1", b"x")
    hub.close()


def test_only_this_user_can_reach_the_socket_and_it_disappears() -> None:
    hub = Hub()
    folder = Path(hub.endpoint.removeprefix("ipc://")).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    hub.close()
    assert not folder.exists()


def test_a_long_temporary_directory_does_not_break_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    hub = Hub()
    assert len(os.fsencode(hub.endpoint)) < 107
    hub.close()
    assert list(long.iterdir()) == []


def test_closing_does_not_wait_for_a_child_that_is_gone() -> None:
    hub = Hub()
    line = Line(hub.endpoint, "sink-1", (SlotFree,))
    line.send(Hello())
    identity, _ = receive(hub)
    line.close()
    for _ in range(1000):
        hub.send(identity, encode(FREE))
    hub.close()


def test_many_messages_to_a_slow_child_are_kept() -> None:
    hub = Hub()
    line = Line(hub.endpoint, "sink-1", (FrameWritten,))
    line.send(Hello())
    identity, _ = receive(hub)
    sent = [FrameWritten(stream=0, number=number, slot=0) for number in range(5000)]
    assert all(hub.send(identity, encode(message)) for message in sent)
    assert [line.receive(5.0) for _ in sent] == sent
    line.close()
    hub.close()


def test_a_second_hub_does_not_meet_the_first() -> None:
    hubs = [Hub(), Hub()]
    assert hubs[0].endpoint != hubs[1].endpoint
    for hub in hubs:
        assert hub.socket.type == zmq.ROUTER
        hub.close()

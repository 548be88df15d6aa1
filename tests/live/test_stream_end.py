"""A file that is played once, without processes: its end is the end of its stream, and no loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from streamer.live.messages import CameraLost, LiveFrameWritten, Slate
from streamer.live.stream import END_GRACE_S
from tests.live.fake_stream import MAX_LATENCY_S, Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.stream.stop(0.0)


def play_to_the_end(bench: Bench) -> int:
    session = bench.open()
    bench.tick()
    bench.say("camera", CameraLost(session=session, reason="the file is at its end", is_end=True))
    return session


def test_a_file_at_its_end_ends_its_stream_once_what_is_under_way_had_its_time(bench: Bench) -> None:
    session = bench.open()
    frame = bench.send(session, 0, grant=0)
    bench.detect()
    bench.say("camera", CameraLost(session=session, reason="the file is at its end", is_end=True))
    bench.tick()
    sent = bench.anonymize(frame, grant=0)
    bench.say("live-sink", LiveFrameWritten(session=session, number=0, slot=sent.slot))
    assert bench.stream.statistics.frames_out == 1
    bench.tick(later_s=MAX_LATENCY_S + 0.1)
    assert bench.stream.has_ended
    status = bench.stream.status()
    assert (status.state, status.attention, status.reconnects, status.is_silent) == ("ended", None, 0, False)
    assert status.outputs[0].state == "ended"
    assert bench.child("publisher").grace_s == END_GRACE_S, "it completes its files"
    for role in ("camera", "live-anonymizer", "live-sink"):
        assert bench.child(role).grace_s is not None
    started = len(bench.supervisor.started)
    bench.tick(later_s=1000)
    assert len(bench.supervisor.started) == started, "it is not played again"


def test_viewers_of_a_file_at_its_end_are_told_nothing(bench: Bench) -> None:
    play_to_the_end(bench)
    bench.tick(later_s=MAX_LATENCY_S - 0.1)
    assert bench.child("live-sink").heard_of(Slate) == []
    assert not bench.stream.has_ended


def test_a_camera_process_that_dies_at_the_end_of_its_file_does_not_begin_anew(bench: Bench) -> None:
    play_to_the_end(bench)
    bench.die("camera")
    assert bench.stream.has_ended
    bench.tick(later_s=1000)
    assert bench.count("camera") == 1
    assert bench.stream.is_ready, "nothing more can be expected of it"


def test_a_file_without_a_picture_is_tried_again(bench: Bench) -> None:
    session = cast(Any, bench.child("camera").heard[0]).session
    bench.say("camera", CameraLost(session=session, reason="the file is at its end", is_end=True))
    assert not bench.stream.has_ended
    bench.tick(later_s=60)
    assert bench.count("camera") == 2

"""Every kind of process of `veil serve` killed and stopped: nobody's face shows, the stream comes back, the other one goes on."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from models.detectors import FaceDetector
from tests.live.scene import CAMERAS, RECOVERY_S, Scene, stream_of, troubles, wait_until
from tests.live.witness import Footage

pytestmark = pytest.mark.slow

OF_ONE_STREAM = ("camera", "live-anonymizer", "live-sink", "publisher")
SHARED = ("live-detector", "web", "forkserver")
SIGNALS = (signal.SIGKILL, signal.SIGSTOP)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, footage: Footage, judge: FaceDetector) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("faults"), footage, judge) as scene:
        yield scene


@pytest.fixture(scope="module")
def descriptors(scene: Scene) -> int:
    """Of the daemon, before anything happens to it."""
    scene.settle()
    return int(psutil.Process(scene.daemon.process.pid).num_fds())


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[dict[str, float]]:
    """Seconds to be shown with `-s`, for BENCHMARKS.md."""
    found: dict[str, float] = {}
    yield found
    print(f"\n{request.node.name}: {json.dumps(found)}")


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("role", OF_ONE_STREAM)
def test_a_process_of_one_stream_is_replaced_and_the_other_stream_goes_on(
    scene: Scene, descriptors: int, role: str, number: signal.Signals, figures: dict[str, float]
) -> None:
    moment = scene.strike(role, number)
    before = {stream.name: troubles(stream) for stream in moment.before.streams}
    status = scene.daemon.wait_for(lambda status: any(troubles(one) != before[one.name] for one in status.streams))
    (hurt,) = [stream.name for stream in status.streams if troubles(stream) != before[stream.name]]
    (other,) = set(CAMERAS) - {hurt}
    if role == "publisher":
        scene.outside.wait_for(f"{hurt}-out", is_live=True)
        figures["published_again_s"] = round(time.monotonic() - moment.at_s, 2)
    scene.wait_for_pictures(moment.at_s)
    figures["outage_s"] = round(scene.outage_s(hurt, moment), 2)
    figures["gap_beside_s"] = round(scene.gap_s(other, moment), 2)
    scene.assert_no_face_shows()
    assert scene.outage_s(hurt, moment) < RECOVERY_S
    scene.assert_nothing_happened_to(other, moment)
    assert scene.daemon.wait_for(lambda status: status.is_healthy).is_ready


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("role", SHARED)
def test_a_process_that_streams_share_is_replaced_and_all_go_on(
    scene: Scene, descriptors: int, role: str, number: signal.Signals, figures: dict[str, float]
) -> None:
    moment = scene.strike(role, number)
    scene.wait_for_pictures(moment.at_s)
    for name in CAMERAS:
        figures[f"{name}_gap_s"] = round(scene.gap_s(name, moment), 2)
        scene.assert_nothing_happened_to(name, moment)
    scene.assert_no_face_shows()
    status = scene.daemon.wait_for(lambda status: status.is_healthy)
    assert status.detector_restarts == moment.before.detector_restarts + (role == "live-detector")


def test_a_process_can_be_replaced_right_after_the_fork_server_was_stopped(scene: Scene, figures: dict[str, float]) -> None:
    moment = scene.settle()
    server, anonymizers = scene.daemon.children("forkserver"), scene.daemon.children("live-anonymizer")
    server[0].send_signal(signal.SIGSTOP)
    anonymizers[0].kill()
    scene.wait_for_others("live-anonymizer", anonymizers[:1], 2)
    scene.wait_for_others("forkserver", server, 1)
    scene.wait_for_pictures(moment.at_s)
    figures.update({name: round(scene.outage_s(name, moment), 2) for name in CAMERAS})
    scene.assert_no_face_shows()


def test_after_all_that_nothing_is_left_over(scene: Scene, descriptors: int) -> None:
    daemon = scene.daemon
    scene.settle()
    process = psutil.Process(daemon.process.pid)
    wait_until(lambda: process.num_fds() == descriptors, what=f"{descriptors} descriptors instead of {process.num_fds()}")
    status = daemon.wait_for(lambda status: status.is_healthy and status.is_ready)
    roles = {role: len(daemon.children(role)) for role in (*OF_ONE_STREAM, *SHARED)}
    assert roles == {"live-detector": 2, "web": 1, "forkserver": 1, **dict.fromkeys(OF_ONE_STREAM, 2)}
    assert len(process.children(recursive=True)) == sum(roles.values()), "no zombie"
    restarts = [sum(stream.restarts.get(role, 0) for stream in status.streams) for role in ("camera", "anonymizer", "sink")]
    assert min(restarts) >= len(SIGNALS)
    assert sum(output.reconnects for stream in status.streams for output in stream.outputs) >= len(SIGNALS)
    for name in CAMERAS:
        stream = stream_of(status, name)
        assert stream.frames_in == stream.frames_out + sum(stream.dropped.values()) + stream.in_flight_frames, stream
    scene.assert_no_detector_sees_a_face()
    children = process.children(recursive=True)
    assert daemon.stop() == 0
    assert not [child for child in children if child.is_running()]

"""`veil serve` that is told to leave, that is stopped for a while itself, and whose receivers take nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import psutil
import pytest

from models.detectors import FaceDetector, image_render
from tests.live.rtsp_control import RtspServer
from tests.live.scene import CAMERAS, Scene, made_after, stream_of, wait_until
from tests.live.witness import Footage

pytestmark = pytest.mark.slow

STOPPED_S = 5.0
LEAVES_WITHIN_S = 25.0
"""The unit allows 30 s."""


@pytest.fixture(scope="module")
def stuck() -> Iterator[RtspServer]:
    """A server to be stopped."""
    with RtspServer() as server:
        yield server


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, footage: Footage, judge: FaceDetector, stuck: RtspServer) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("stop")
    (folder / "temporary").mkdir()
    beside = [stuck.publish_url("{name}-stuck"), str(folder / "recordings-{name}")]
    more = {"max_latency_ms": 2000, "video": {"keyframe_s": 0.5}}
    with Scene(folder, footage, judge, more=more, beside=beside, environment={"TMPDIR": str(folder / "temporary")}) as scene:
        yield scene


def test_while_the_daemon_is_stopped_nobody_is_to_blame_and_afterwards_nothing_comes_late(scene: Scene) -> None:
    process = psutil.Process(scene.daemon.process.pid)
    wait_until(lambda: len(scene.daemon.children("publisher")) == 6)
    moment = scene.settle()
    children = {child.pid for child in process.children(recursive=True)}
    process.send_signal(signal.SIGSTOP)
    threading.Event().wait(STOPPED_S)
    process.send_signal(signal.SIGCONT)
    scene.wait_for_pictures(moment.at_s + STOPPED_S)
    assert {child.pid for child in process.children(recursive=True)} == children
    for name, viewer in scene.viewers.items():
        late = [frame for frame in made_after(viewer.frames, moment.at_s) if (frame.latency_s or 0) > STOPPED_S - 1]
        assert len(late) <= 2, f"{name}: {len(late)} pictures, more than were encoded already"
        assert len(viewer.openings) == moment.openings[name], viewer.summary
        before, after = stream_of(moment.before, name), stream_of(scene.daemon.wait_for(lambda status: True), name)
        assert (after.restarts, after.reconnects) == (before.restarts, before.reconnects)
    scene.assert_no_face_shows()


def test_a_receiver_that_takes_nothing_holds_up_nobody_and_is_tried_for_ever(scene: Scene, stuck: RtspServer) -> None:
    daemon = scene.daemon
    process = psutil.Process(daemon.process.pid)
    stuck.pause()
    try:
        # It takes the connection, as the kernel does for it, and not a word.
        receiver = {"to": stuck.publish_url("door-stuck"), "timeout_s": 1.0}
        daemon.write(scene.streams(door={"outputs": [scene.outside.publish_url("door-out"), receiver]}))
        daemon.reload()
        daemon.wait_for_stream("door", lambda door: len(door.outputs) == 2 and door.outputs[1].reconnects >= 1)
        moment = scene.settle()
        used, tries = process.memory_info().rss, stream_of(moment.before, "door").outputs[1].reconnects
        daemon.wait_for_stream("door", lambda door: door.outputs[1].reconnects >= tries + 2)
        scene.wait_for_pictures(moment.at_s, seconds=3.0)
        assert process.memory_info().rss - used < 32 << 20
        for name in CAMERAS:
            scene.assert_viewers_noticed_nothing(name, moment)
    finally:
        stuck.resume()
    daemon.wait_for_stream("door", lambda door: door.outputs[1].state == "connected")
    stuck.wait_for("door-stuck", is_live=True)
    scene.assert_no_face_shows()


def test_told_to_leave_it_completes_its_files_and_says_goodbye(scene: Scene, stuck: RtspServer, judge: FaceDetector) -> None:
    daemon = scene.daemon
    daemon.write(scene.streams())
    daemon.reload()
    daemon.wait_for_stream("door", lambda door: len(door.outputs) == 3 and all(one.packets > 10 for one in door.outputs))
    moment = scene.settle()
    children = psutil.Process(daemon.process.pid).children(recursive=True)
    stuck.pause()
    try:
        assert daemon.stop(LEAVES_WITHIN_S) == 0, daemon.log
    finally:
        stuck.resume()
    for name, viewer in scene.viewers.items():
        viewer.wait_for(lambda viewer: any(ending.at_s > moment.at_s for ending in viewer.endings))
        first = next(ending for ending in viewer.endings if ending.at_s > moment.at_s)
        assert first.reason == "end", name
    assert not [child for child in children if child.is_running()]
    assert not list((scene.folder / "temporary").iterdir())
    assert not [path for path in Path("/dev/shm").iterdir() if "veil" in path.name]
    scene.assert_no_face_shows()
    scene.assert_no_detector_sees_a_face()
    for name in CAMERAS:
        recordings = sorted((scene.folder / f"recordings-{name}").rglob("*.*"))
        assert recordings
        assert {path.suffix for path in recordings} == {".mp4"}, recordings
        for path in recordings:
            assert _faces_in_file(path, judge) == 0, path


def _faces_in_file(path: Path, judge: FaceDetector) -> int:
    """In some of its pictures; raises av.FFmpegError where it cannot be played."""
    with av.open(str(path)) as container:
        pictures: list[Any] = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert pictures
    return sum(len(judge.detect(image_render(picture), (picture.shape[1], picture.shape[0]))) for picture in pictures[::6])

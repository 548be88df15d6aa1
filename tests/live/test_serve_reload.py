"""`veil reload`: what the new file changes is started anew, what it leaves as it is goes on, and a wrong file changes nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from models.detectors import FaceDetector
from streamer.live.status import ServeStatus
from tests.live.daemon import free_port
from tests.live.scene import Moment, Scene, wait_until
from tests.live.witness import Footage

pytestmark = pytest.mark.slow

ROLES = ("camera", "live-anonymizer", "live-sink", "publisher", "live-detector", "web", "forkserver")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, footage: Footage, judge: FaceDetector) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("reload"), footage, judge) as scene:
        yield scene
        scene.assert_no_face_shows()
        scene.assert_no_detector_sees_a_face()
        assert scene.daemon.stop() == 0


def pids(scene: Scene) -> set[tuple[str, int]]:
    return {(role, process.pid) for role in ROLES for process in scene.daemon.children(role)}


def reload(scene: Scene) -> Moment:
    """And wait until it is over."""
    moment = scene.settle()
    scene.daemon.reload()
    over = reloads_over(moment.before) + 1
    scene.daemon.wait_for(lambda status: reloads_over(status) == over)
    return moment


def reloads_over(status: ServeStatus) -> int:
    return status.reloads + status.reloads_refused


@pytest.mark.parametrize("text", ["streams: [", "streams: []", "streams: [{input: rtsp://127.0.0.1/a}]", "\x00", None])
def test_a_wrong_file_changes_nothing_and_says_why(scene: Scene, text: str | None) -> None:
    before, path = pids(scene), scene.daemon.path
    right = path.read_text()
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    moment = reload(scene)
    status = scene.daemon.wait_for(lambda status: status.reload_error is not None)
    assert str(path) in (status.reload_error or "")
    scene.wait_for_pictures(moment.at_s)
    path.write_text(right)
    assert pids(scene) == before
    for name in scene.viewers:
        scene.assert_nothing_happened_to(name, moment)


def test_a_file_without_a_change_changes_nothing(scene: Scene) -> None:
    before = pids(scene)
    moment = reload(scene)
    assert scene.daemon.wait_for(lambda status: True).reload_error is None
    scene.wait_for_pictures(moment.at_s)
    assert pids(scene) == before


def test_only_the_stream_that_was_edited_begins_anew(scene: Scene) -> None:
    before = pids(scene)
    scene.daemon.write(scene.streams(door={"look_ahead_s": 0.2}))
    moment = reload(scene)
    scene.daemon.wait_for_stream("door", lambda door: door.look_ahead_s == 0.2 and door.frames_out > 0)
    scene.wait_for_pictures(moment.at_s)
    wait_until(lambda: len(pids(scene)) == len(before), what="the end of what was replaced")
    kept = pids(scene) & before
    assert sorted(role for role, _ in before - kept) == ["camera", "live-anonymizer", "live-sink", "publisher"]
    scene.assert_nothing_happened_to("yard", moment)


def test_a_stream_can_be_taken_out_and_put_in_again(scene: Scene) -> None:
    both = scene.streams()
    scene.daemon.write([stream for stream in both if stream["name"] == "yard"])
    moment = reload(scene)
    status = scene.daemon.wait_for(lambda status: len(status.streams) == 1)
    assert [stream.name for stream in status.streams] == ["yard"]
    scene.outside.wait_for("door-out", is_live=False)
    wait_until(lambda: len(scene.daemon.children("camera")) == 1, what="the end of the camera's process")
    scene.daemon.write(both)
    scene.daemon.process.send_signal(signal.SIGHUP)
    scene.daemon.wait_for_stream("door", lambda door: door.frames_out > 0)
    scene.wait_for_pictures(moment.at_s)
    scene.assert_nothing_happened_to("yard", moment)


def test_the_status_page_moves_and_nothing_else_does(scene: Scene) -> None:
    before = pids(scene)
    moment = scene.settle()
    scene.daemon.port = free_port()
    scene.daemon.write(scene.streams(), http={"address": f"127.0.0.1:{scene.daemon.port}"})
    scene.daemon.reload()
    scene.daemon.wait_for(lambda status: status.reloads == moment.before.reloads + 1)
    scene.wait_for_pictures(moment.at_s)
    wait_until(lambda: len(pids(scene)) == len(before), what="the end of the page's old process")
    assert {role for role, _ in pids(scene) - before} == {"web"}
    for name in scene.viewers:
        scene.assert_nothing_happened_to(name, moment)


def test_another_number_of_detectors_is_taken(scene: Scene) -> None:
    before = {process.pid for process in scene.daemon.children("live-detector")}
    scene.daemon.write(scene.streams(), detector_processes=1)
    moment = reload(scene)
    scene.daemon.wait_for(lambda status: status.detectors == 1 and all(stream.frames_out > 0 for stream in status.streams))
    scene.wait_for_pictures(moment.at_s)
    (detector,) = scene.daemon.children("live-detector")
    assert detector.pid not in before

"""Cameras that fail in every way, one at a time: viewers keep their connection, and the camera beside notices nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.camera import Change
from tests.live.neighbours import PASSWORD, Neighbours
from tests.live.people import RATE, SIZE, film_people
from tests.live.rtsp_control import Protect

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbours]:
    clip = film_people(tmp_path_factory.mktemp("film") / "people.mp4")
    with Neighbours(tmp_path_factory.mktemp("serve"), clip) as pair:
        yield pair


def test_a_server_that_is_killed_and_comes_back(pair: Neighbours) -> None:
    with pair.trouble() as trouble:
        pair.server.kill()
        trouble.wait_for_slate()
        pair.server.start()


def test_a_server_that_hangs(pair: Neighbours) -> None:
    with pair.trouble() as trouble:
        pair.server.pause()
        trouble.wait_for_slate()
        pair.server.resume()


def test_a_connection_that_swallows_everything(pair: Neighbours) -> None:
    with pair.trouble() as trouble:
        pair.server.black_hole("door")
        trouble.wait_for_slate()
        pair.server.heal("door")


def test_a_camera_that_sends_nothing_while_its_server_answers(pair: Neighbours) -> None:
    with pair.trouble() as trouble:
        pair.server.freeze("door")
        trouble.wait_for_slate()
        pair.server.heal("door")


def test_a_camera_that_hangs(pair: Neighbours) -> None:
    with pair.trouble() as trouble:
        pair.camera.pause()
        trouble.wait_for_slate()
        pair.camera.resume()


def test_a_password_that_is_wrong_of_a_sudden(pair: Neighbours) -> None:
    with pair.trouble() as trouble:
        pair.server.order(Protect(users={"read": ("viewer", "another")}, scheme="digest"))
        pair.server.drop_readers("door")
        trouble.wait_for_loss("wrong user name or password (401)")
        trouble.wait_for_slate()
        pair.server.order(Protect(users={"read": ("viewer", PASSWORD)}, scheme="digest"))
    told = pair.daemon.log + pair.daemon.get("/api/streams")[1] + pair.daemon.get("/metrics")[1]
    assert "viewer" not in told
    assert not any(part in told for part in (PASSWORD, "s3cret", "of:the", "s3cret%2Fof%3Athe%40door"))


def test_a_camera_that_is_not_there_until_it_is(pair: Neighbours) -> None:
    with pair.trouble() as trouble:
        pair.camera.kill()
        trouble.wait_for_loss("nothing is there under this path (404)")
        trouble.wait_for_slate()
        pair.camera.start()


def test_bytes_that_are_no_rtsp(pair: Neighbours) -> None:
    with pair.trouble(is_cut_off=None) as trouble:
        pair.server.send_garbage("door", 65536)
        trouble.wait_for_pictures(2 * RATE)


def test_packets_that_hold_nothing_of_sense(pair: Neighbours) -> None:
    with pair.trouble(is_cut_off=None) as trouble:
        for _ in range(5):
            pair.server.send_junk_packets("door", 40)
            trouble.wait_for_pictures(RATE // 2)


def test_packets_that_are_lost_and_damaged(pair: Neighbours) -> None:
    before = pair.status("door").covered_whole.get("corrupt", 0)
    with pair.trouble(is_cut_off=None) as trouble:
        pair.server.damage("door", 20)
        pair.daemon.wait_for_stream("door", lambda door: door.covered_whole.get("corrupt", 0) > before)
        trouble.wait_for_pictures(0)
        pair.server.lose("door", 30)
        middle = pair.status("door").covered_whole.get("corrupt", 0)
        pair.daemon.wait_for_stream("door", lambda door: door.covered_whole.get("corrupt", 0) > middle)
        pair.server.heal("door")


@pytest.mark.parametrize("is_same_connection", [True, False], ids=["in the same connection", "announced anew"])
def test_another_size(pair: Neighbours, is_same_connection: bool) -> None:
    with pair.trouble(is_cut_off=None):
        for size in ((320, 192), SIZE):
            pair.camera.change(Change(size=size, is_same_connection=is_same_connection))
            pair.door.wait_for(lambda viewer, size=size: viewer.frames[-1].size == size)  # type: ignore[misc]
            pair.daemon.wait_for_stream("door", lambda door, size=size: (door.width, door.height) == size)  # type: ignore[misc]


def test_other_codecs(pair: Neighbours) -> None:
    with pair.trouble(is_cut_off=None) as trouble:
        for codec in ("hevc", "mjpeg", "h264"):
            pair.camera.change(Change(codec=codec))
            pair.daemon.wait_for_stream("door", lambda door, codec=codec: door.codec == codec)  # type: ignore[misc]
            trouble.wait_for_pictures()


def test_another_frame_rate(pair: Neighbours) -> None:
    with pair.trouble(is_cut_off=None) as trouble:
        for rate, is_same_connection in ((5, True), (20, False), (RATE, False)):
            pair.camera.change(Change(rate=rate, is_same_connection=is_same_connection))
            trouble.wait_for_pictures(2 * rate)

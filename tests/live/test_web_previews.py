"""Previews on the status page: made only for who asks, and only ever what came as a preview."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from streamer.live.messages import Preview, PreviewWanted
from streamer.messages import Message
from streamer.workers.web import WebWorker
from tests.live.statuses import fetch, serve_status, small_jpeg, stream_status, tell, web_worker

_DEADLINE_S = 20.0


@pytest.fixture
def worker() -> Iterator[WebWorker]:
    with web_worker() as one:
        tell(one, serve_status())
        yield one


class Loop:
    """The loop of the process: hands what the worker wants to somebody who answers."""

    def __init__(self, worker: WebWorker, jpeg: bytes | None) -> None:
        self.wanted: list[Message] = []
        self._stop = threading.Event()
        self._worker, self._jpeg = worker, jpeg
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Loop:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_DEADLINE_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            for message in self._worker.step():
                self.wanted.append(message)
                assert isinstance(message, PreviewWanted)
                if self._jpeg is not None:
                    tell(self._worker, Preview(name=message.name, jpeg=self._jpeg))


def test_who_asks_for_a_preview_gets_the_newest(worker: WebWorker) -> None:
    jpeg = small_jpeg()
    with Loop(worker, jpeg) as loop:
        answers = [fetch(worker, "/preview/door.jpg") for _ in range(5)]

    assert all((answer.status, answer.headers["content-type"], answer.body) == (200, "image/jpeg", jpeg) for answer in answers)
    assert loop.wanted == [PreviewWanted(name="door")], "at most one a second is made, however many ask"


def test_nobody_who_asks_means_no_preview_is_made(worker: WebWorker) -> None:
    with Loop(worker, small_jpeg()) as loop:
        fetch(worker, "/")
        fetch(worker, "/api/streams")
        fetch(worker, "/preview/yard.jpg")
    assert loop.wanted == []


def test_a_preview_that_does_not_come_is_not_waited_for_long(worker: WebWorker) -> None:
    started = time.monotonic()
    with Loop(worker, None):
        answer = fetch(worker, "/preview/door.jpg")
    assert answer.status == 503
    assert time.monotonic() - started < _DEADLINE_S / 2


def test_an_old_preview_is_not_shown_as_if_it_were_new(worker: WebWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(worker, Preview(name="door", jpeg=small_jpeg()))
    assert fetch(worker, "/preview/door.jpg").status == 200
    at_s = time.monotonic() + 60.0
    monkeypatch.setattr(worker._site.previews, "_clock", lambda: at_s)
    assert fetch(worker, "/preview/door.jpg").status == 503


@pytest.mark.parametrize("name", ["yard", "DOOR", "door.jpg", "..", "%2e%2e", "door%00", "a" * 500])
def test_there_is_no_preview_of_what_is_no_stream(name: str, worker: WebWorker) -> None:
    tell(worker, Preview(name="yard", jpeg=small_jpeg()))
    assert fetch(worker, f"/preview/{name}.jpg").status == 404


def test_the_preview_of_a_stream_goes_with_it(worker: WebWorker) -> None:
    tell(worker, Preview(name="door", jpeg=small_jpeg()))
    tell(worker, serve_status(stream_status("yard")))
    tell(worker, serve_status(stream_status("door")))
    assert fetch(worker, "/preview/door.jpg").status == 503


def test_previews_can_be_forbidden() -> None:
    with web_worker(preview=False) as one:
        tell(one, serve_status())
        tell(one, Preview(name="door", jpeg=small_jpeg()))
        assert fetch(one, "/preview/door.jpg").status == 404

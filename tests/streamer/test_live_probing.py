"""Inputs and outputs are tried for real: what works is described, what does not is named, and nothing hangs."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import psutil
import pytest

from streamer.live import probing
from streamer.live.probing import Answer, Request, probe
from tests.streamer.running import REPOSITORY

PASSWORD = "correct-horse"


@pytest.fixture(autouse=True)
def _import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


def tried(*urls: str, kind: Literal["input", "output"] = "input", timeout_s: float = 10.0) -> list[Answer]:
    return probe([Request(kind=kind, url=url, transport="tcp", timeout_s=timeout_s) for url in urls])


@contextlib.contextmanager
def listening(answer: bytes | None) -> Iterator[int]:
    """A port that answers every request with this; None takes requests and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connections.append(connection)
                    threading.Thread(target=reply, args=(connection,), daemon=True).start()

        def reply(connection: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while answer is not None and (request := connection.recv(4096)):
                    number = re.search(rb"CSeq: (\d+)", request)
                    connection.sendall(answer.replace(b"NUMBER", number[1] if number else b"1"))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for connection in connections:
            connection.close()
        thread.join(10)


def rtsp(status: str, more: str = "") -> bytes:
    return f"RTSP/1.0 {status}\r\nCSeq: NUMBER\r\n{more}Content-Length: 0\r\n\r\n".encode()


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_file_is_described(face_clip: Path) -> None:
    (answer,) = tried(str(face_clip))
    assert answer.works
    assert re.fullmatch(r"h264 \d+x\d+, \d+ fps, sound aac", answer.fact)


def test_a_stream_over_http_is_described(face_clip: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(face_clip.parent))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        good, bad = tried(*(f"http://127.0.0.1:{server.server_port}/{name}" for name in (face_clip.name, "none.m3u8")))
        server.shutdown()
    assert good.works
    assert good.fact.startswith("h264 ")
    assert bad == Answer(works=False, fact="nothing is there under this path (404)")


@pytest.mark.parametrize(
    ("status", "more", "fact"),
    [
        ("401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"\r\n', "wrong user name or password (401)"),
        ("403 Forbidden", "", "Server returned 403 Forbidden (access denied)"),
        ("404 Not Found", "", "nothing is there under this path (404)"),
    ],
)
def test_what_a_camera_answers_is_said_in_words(status: str, more: str, fact: str) -> None:
    with listening(rtsp(status, more)) as port:
        assert tried(f"rtsp://admin:{PASSWORD}@127.0.0.1:{port}/a") == [Answer(works=False, fact=fact)]


@pytest.mark.parametrize("start_s", [20.0, -0.9], ids=["by its own alarm", "by a signal"])
def test_a_camera_that_says_nothing_is_given_up_and_leaves_no_process(start_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_START_S", start_s)
    with listening(None) as port:
        begun_s = time.monotonic()
        (answer,) = tried(f"rtsp://127.0.0.1:{port}/a", timeout_s=1.0)
    assert answer == Answer(works=False, fact="does not answer within 1 s")
    assert time.monotonic() - begun_s < 15
    assert [child for child in psutil.Process(os.getpid()).children() if "streamer.live.trying" in child.cmdline()] == []


def test_garbage_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 64)
    (answer,) = tried(str(tmp_path / "noise.mp4"))
    assert answer == Answer(works=False, fact="no answer in time, or it sends nothing that can be read")


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    answers = tried(f"rtsp://127.0.0.1:{unused_port()}/a", "rtsp://camera.invalid/a", "/dev/video-none", str(tmp_path / "none.mp4"))
    assert [answer.works for answer in answers] == [False] * 4
    assert [answer.fact for answer in answers] == [
        "connection refused",
        "the name of the host is not known",
        "No such file or directory",
        "No such file or directory",
    ]


def test_many_are_tried_at_once() -> None:
    with listening(None) as port:
        begun_s = time.monotonic()
        answers = tried(*(f"rtsp://127.0.0.1:{port}/{number}" for number in range(4)), timeout_s=3.0)
    assert {answer.fact for answer in answers} == {"does not answer within 3 s"}
    assert time.monotonic() - begun_s < 12, "one after the other would take longer"


def test_outputs_are_connected_to() -> None:
    free = unused_port()
    with listening(None) as port:
        answers = tried(f"rtsp://u:{PASSWORD}@127.0.0.1:{port}/a", f"rtmp://127.0.0.1:{free}/a", kind="output", timeout_s=3.0)
    assert answers == [
        Answer(works=True, fact=f"127.0.0.1:{port} accepts connections"),
        Answer(works=False, fact=f"127.0.0.1:{free}: connection refused"),
    ]


def test_the_url_is_in_no_command_line_and_no_environment() -> None:
    with listening(None) as port:
        thread = threading.Thread(target=tried, args=(f"rtsp://admin:{PASSWORD}@127.0.0.1:{port}/a",), kwargs={"timeout_s": 2.0})
        thread.start()
        seen = []
        while thread.is_alive():
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.Error):
                    seen.append(f"{child.cmdline()} {child.environ()}")
            thread.join(0.05)
    assert any("streamer.live.trying" in text for text in seen)
    assert not any(PASSWORD in text for text in seen)

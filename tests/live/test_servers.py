"""Publishing to servers: what is published is read by others, goodbye is said, and what goes wrong is told without credentials."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import av
import pytest

from streamer.errors import OutputError
from streamer.live.config import OutputSettings
from streamer.live.messages import CLOCK, EncodedPacket, PublisherSetup, SoundOpened
from streamer.messages import AudioPacket
from streamer.workers.publisher import PublisherWorker
from tests.live.child import REPOSITORY
from tests.live.encoded import RATE, acknowledged, encoded, mixed, notes, number_of, sounding
from tests.live.rtsp_control import Passwords, RtspServer
from tests.workers import answers

SILENCE = SoundOpened(audio=b"", codec="")
SECRET = "pa55/word@of#it"
DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[RtspServer]:
    with RtspServer(Passwords(publish=("veil", SECRET))) as server:
        yield server


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def publisher(to: str, **settings: object) -> PublisherWorker:
    worker = PublisherWorker({})
    assert answers(worker, PublisherSetup(name="door", output=OutputSettings(to=to, **settings))) == []  # type: ignore[arg-type]
    return worker


@dataclass
class Watched:
    """What a reader has got: numbers and times in seconds of the pictures, times of the sound."""

    pictures: list[tuple[int, float]] = field(default_factory=list)
    sounds: list[float] = field(default_factory=list)


def watch(url: str) -> Watched:
    """Everything until the stream ends."""
    watched = Watched()
    with av.open(url, options={"rtsp_transport": "tcp", "fflags": "nobuffer"}, timeout=(10, 10)) as container:
        for packet in container.demux():
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame | av.AudioFrame)
                assert frame.time is not None
                if isinstance(frame, av.VideoFrame):
                    watched.pictures.append((number_of(frame.to_ndarray(format="gray")), frame.time))
                else:
                    watched.sounds.append(frame.time)
    return watched


def publish_and_watch(
    server: RtspServer, path: str, worker: PublisherWorker, stream: list[EncodedPacket | AudioPacket], pool: ThreadPoolExecutor
) -> Watched:
    """Half of the stream is published before anybody watches; the rest no faster than the server takes it."""
    middle = len(stream) // 2
    given = answers(worker, *stream[:middle])
    server.wait_for(path, is_live=True)
    watching: Future[Watched] = pool.submit(watch, server.read_url(path))
    server.wait_for(path, readers=1)
    for packet in stream[middle:]:
        before = server.state(path).packets
        given += answers(worker, packet)
        if isinstance(packet, EncodedPacket):
            wait_for_more_than(before, server, path)
    worker.close()
    server.wait_for(path, is_live=False)
    assert notes(given) == []
    assert acknowledged(given)[0] == len(stream)
    return watching.result(DEADLINE_S)


def wait_for_more_than(packets: int, server: RtspServer, path: str) -> None:
    end = time.monotonic() + 5.0
    while server.state(path).packets <= packets:
        assert time.monotonic() < end, "the picture stays in FFmpeg until there is another one"


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("sound_of", [None, ("aac", 48000), ("pcm_alaw", 8000)])
def test_what_is_published_by_rtsp_is_read(
    server: RtspServer, aside: ThreadPoolExecutor, transport: str, sound_of: tuple[str, int] | None
) -> None:
    path = f"read-{transport}-{sound_of and sound_of[0]}"
    opened, pictures = encoded(range(150), first_pts=1_000_000 * CLOCK)
    sound_opened, sound = sounding(*sound_of, 6.0, first_s=1_000_000.0) if sound_of else (SILENCE, ())
    worker = publisher(server.publish_url(path), transport=transport)
    answers(worker, opened, sound_opened)
    watched = publish_and_watch(server, path, worker, mixed(pictures, sound, delay_s=0.6), aside)
    numbers = [number for number, _ in watched.pictures]
    assert numbers == list(range(numbers[0], 150))
    assert len(numbers) >= 30
    first = watched.pictures[0]
    times = [when - first[1] for _, when in watched.pictures]
    assert times == pytest.approx([(number - first[0]) / RATE for number in numbers], abs=0.002)
    assert (len(watched.sounds) > 20) == (sound_of is not None)


def test_a_picture_does_not_wait_for_the_next_one(server: RtspServer) -> None:
    opened, pictures = encoded(range(20))
    sound_opened, sound = sounding("aac", 48000, 1.0)
    worker = publisher(server.publish_url("prompt"))
    early = [packet for packet in sound if (packet.pts or 0) < 0.9 * 48000]
    answers(worker, opened, sound_opened, *early, *pictures[:5])
    server.wait_for("prompt", is_live=True)
    # Pictures as small as these are a packet each for the network.
    for number, picture in enumerate(pictures[5:9], 5):
        answers(worker, picture)
        wait_for_more_than(number, server, "prompt")
    worker.close()


def test_sound_that_falls_silent_holds_no_picture_back(server: RtspServer) -> None:
    opened, pictures = encoded(range(60))
    sound_opened, sound = sounding("aac", 48000, 0.8)
    worker = publisher(server.publish_url("silent"))
    answers(worker, opened, sound_opened, *mixed(pictures[:20], sound, delay_s=0.2))
    server.wait_for("silent", is_live=True)
    for picture in pictures[20:]:
        before = server.state("silent").packets
        answers(worker, picture)
        wait_for_more_than(before, server, "silent")
    worker.close()


@pytest.mark.parametrize("fault", ["password", "nobody there", "not a server"])
def test_an_output_that_cannot_be_opened_is_told_without_credentials(server: RtspServer, fault: str) -> None:
    url = server.url("wrong", ("veil", SECRET + "!"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if fault == "nobody there":
            listener.close()
        if fault == "not a server":
            threading.Thread(target=_answer_nonsense, args=(listener,), daemon=True).start()
        if fault != "password":
            url = re.sub(r":\d+/", f":{port}/", url)
        opened, pictures = encoded(range(2))
        worker = publisher(url, timeout_s=2.0)
        with pytest.raises(OutputError) as caught:
            answers(worker, opened, SILENCE, *pictures)
    said = str(caught.value)
    assert said.startswith("rtsp://***@127.0.0.1:")
    assert "\n" not in said
    assert not any(part in said for part in ("pa55", "word", "of#it", "veil"))
    assert caught.value.__cause__ is None, "FFmpeg's own text has the address in it"


def _answer_nonsense(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 20)


def test_a_server_that_dies_ends_the_output() -> None:
    with RtspServer() as server:
        opened, pictures = encoded(range(400))
        worker = publisher(server.publish_url("dying"))
        answers(worker, opened, SILENCE, *pictures[:20])
        server.wait_for("dying", is_live=True)
        server.kill()
        with pytest.raises(OutputError, match="rtsp://127"):
            answers(worker, *pictures[20:])


STUCK = """
import sys
from streamer.live.config import OutputSettings
from streamer.live.messages import PublisherSetup, SoundOpened
from streamer.pictures import PictureLayout
from streamer.workers.publisher import PublisherWorker
from tests.live.encoded import encoded
from tests.workers import answers

opened, pictures = encoded(range(50), keyframe_s=0.04, layout=PictureLayout(width=640, height=480, pixel_format="yuv420p"))
worker = PublisherWorker({})
answers(worker, PublisherSetup(name="door", output=OutputSettings(to=sys.stdin.readline().strip())))
answers(worker, opened, SoundOpened(audio=b"", codec=""))
for round in range(1_000_000):
    for number, picture in enumerate(pictures):
        ticks = (round * len(pictures) + number) * 3600
        answers(worker, type(picture)(pts=ticks, dts=ticks, duration=3600, is_keyframe=True, data=picture.data + bytes(30_000)))
    print(round, flush=True)
"""


def test_a_publisher_whose_server_hangs_blocks_and_can_be_killed(server: RtspServer) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    lines: list[float] = []
    has_come = threading.Condition()

    def listen() -> None:
        assert process.stdout is not None
        for _ in process.stdout:
            with has_come:
                lines.append(time.monotonic())
                has_come.notify_all()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        process.stdin.write(server.publish_url("stuck") + "\n")
        process.stdin.flush()
        with has_come:
            assert has_come.wait_for(lambda: len(lines) > 2, DEADLINE_S), "it publishes"
        server.black_hole("stuck")
        with has_come:
            end = time.monotonic() + DEADLINE_S
            while has_come.wait(2.0):
                assert time.monotonic() < end, "it goes on although nothing is taken"
        assert process.poll() is None
    finally:
        process.kill()
        assert process.wait(5.0) == -9
        listener.join(5.0)
        process.stdin.close()
        process.stdout.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the server of this test is the ffmpeg command")
def test_what_is_published_by_rtmp_is_read(tmp_path: Path) -> None:
    port, received = free_port(), tmp_path / "received.mkv"
    command = ["ffmpeg", "-v", "error", "-listen", "1", "-f", "flv", "-i", f"rtmp://127.0.0.1:{port}/live/door", "-c", "copy"]
    process = subprocess.Popen([*command, str(received)], stdin=subprocess.DEVNULL)
    try:
        opened, pictures = encoded(range(100), first_pts=5 * CLOCK)
        sound_opened, sound = sounding("aac", 48000, 4.0, first_s=5.0)
        stream = mixed(pictures, sound, delay_s=0.4)
        end = time.monotonic() + DEADLINE_S
        while True:
            worker = publisher(f"rtmp://127.0.0.1:{port}/live/door")
            try:
                given = answers(worker, opened, sound_opened, *stream)
            except OutputError:  # it does not listen yet
                assert time.monotonic() < end
                continue
            break
        worker.close()
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert acknowledged(given)[0] == len(stream)
    with av.open(str(received)) as container:
        assert [number_of(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)] == list(range(100))
        assert len(container.streams.audio) == 1


def test_a_protocol_that_is_not_there_is_named() -> None:
    opened, pictures = encoded(range(1))
    with pytest.raises(OutputError, match=r"^srt://127\.0\.0\.1:9000: this FFmpeg does not know the protocol$"):
        answers(publisher("srt://127.0.0.1:9000"), opened, SILENCE, *pictures)

"""`veil check`: what it shows, what it warns of, how it ends."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.cli import main
from streamer.errors import ExitCode
from tests.streamer.running import REPOSITORY
from tests.streamer.test_live_probing import listening, unused_port

PASSWORD = "correct-horse"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return tmp_path / "door.yaml"


def check(file: Path, text: str, *options: str, page: str | None = None) -> int:
    """The status page's port is free unless it is said."""
    file.write_text(f"{text}\nhttp: {{address: '{page or f'127.0.0.1:{unused_port()}'}'}}\n")
    with pytest.raises(SystemExit) as ended:
        main(["check", str(file), *options])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def stream(more: str = "", *, source: str = "rtsp://192.0.2.1/a", outputs: str = "rtsp://192.0.2.9/a") -> str:
    return f"streams:\n  - input: {source}\n    outputs: {outputs}\n    audio: drop\n    {more}\n"


def test_each_stream_is_shown_without_credentials(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        f"streams:\n  - name: door\n    input: rtsp://admin:{PASSWORD}@192.0.2.1/a\n    transport: udp\n"
        f"    outputs: [{{to: 'rtsp://u:{PASSWORD}@192.0.2.9/a', audio: drop}}, {{to: rec, keep_days: null}}, live.m3u8]\n"
        "    filter: {name: solid}\n    look_ahead_s: 0.5\n"
        "    zones: [{points: [[0, 0], [1, 0], [1, 1]]}, {points: [[0, 0], [1, 0], [1, 1]], do: ignore}]\n"
        "  - {name: yard, input: rtsp://192.0.2.2/a, outputs: rtsp://192.0.2.9/b, enabled: false}\n"
    )
    assert check(file, text) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert PASSWORD not in shown
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[:10] == [
        "door",
        "input rtsp://***@192.0.2.1/a, over UDP",
        "output rtsp://***@192.0.2.9/a, without sound",
        "output rec, recordings, mp4 of 600 s, at most 20 GB",
        "output live.m3u8, HLS",
        "filter solid",
        "look-ahead 0.5 s, pictures older than 1500 ms are dropped",
        "zones 1 covered, 1 left as they are",
        "sound copied",
        "yard",
    ]
    warnings = [line for line in lines if line.startswith("warning")]
    assert [line.partition(":")[0] for line in warnings] == [
        "warning streams[0].input",
        "warning streams[0].outputs[0].to",
        "warning door",
        "warning door",
    ]
    assert lines[-1] == f"{file}: is valid"


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (stream("slate: false"), "camera1: without slate, viewers are disconnected while the camera is away"),
        (stream("", source="/dev/video99"), "streams[0].input: /dev/video99 is not there; it is used as soon as it is"),
        (stream("", outputs="taken/recordings"), "streams[0].outputs: TMP/taken is not a folder"),
    ],
)
def test_what_may_not_be_meant_so_is_a_warning(file: Path, text: str, warning: str, capsys: pytest.CaptureFixture[str]) -> None:
    (file.parent / "taken").touch()
    assert check(file, text) == ExitCode.DONE
    assert warning.replace("TMP", str(file.parent)) in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_a_warning(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # to root, every folder is writable
    assert check(file, stream("", outputs="[rec/door, rtsp://192.0.2.9/a]")) == ExitCode.DONE
    assert f"streams[0].outputs[0]: {file.parent} cannot be written by this user" in capsys.readouterr().out


def test_a_secret_too_short_to_be_hidden_is_a_warning(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent))
    (file.parent / "door").write_text("abc")
    assert check(file, stream("", source="'rtsp://u:${secret:door}@192.0.2.1/a'")) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert "the secret door has less than 4 characters" in shown
    assert "rtsp://***@192.0.2.1/a" in shown
    assert "the password stands in the file" not in shown


def test_a_port_in_use_is_a_warning(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        page = f"127.0.0.1:{server.getsockname()[1]}"
        assert check(file, stream(), page=page) == ExitCode.DONE
    assert f"http.address: {page} is in use by another program; stop that or give another port (unless" in capsys.readouterr().out


def test_an_address_of_another_machine_is_a_warning(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(file, stream(), page="192.0.2.1:8700', token: '1234567890123456") == ExitCode.DONE
    assert "http.address: 192.0.2.1:8700 is not an address of this machine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (stream("filter: {name: swirl}"), "streams[0].filter.name: there is no filter 'swirl', choose one of gan,"),
        (stream("filter: {name: image, image: none.png}"), "streams[0].filter.image: none.png cannot be read: No such file"),
        (stream("detector: {name: eyes}"), "streams[0].detector.name: there is no detector 'eyes', choose one of centerface"),
        (stream("detector: {keypoints: eyes}"), "streams[0].detector.keypoints: there is no keypoint estimator 'eyes'"),
        (stream("video: {preset: quick}"), "streams[0].video.preset must be one of ultrafast, superfast,"),
        (stream() + "backend: tensorrt", "backend: "),
        (stream("", source="none.mp4"), "streams[0].input: none.mp4 cannot be read (No such file or directory)"),
        (stream("", source="."), "streams[0].input: . is not a file"),
        (stream("", source="srt://192.0.2.1:9000"), "streams[0].input asks for srt://, which is not part of the FFmpeg in the"),
    ],
)
def test_what_this_machine_cannot_do_is_refused(file: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(file, text) == ExitCode.USAGE
    shown = capsys.readouterr()
    assert shown.err.startswith(f"veil check: {file}: {message}")
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_probing_says_what_works(file: Path, face_clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(None) as port:
        text = stream("loop: true", source=str(face_clip), outputs=f"[rec, 'rtsp://127.0.0.1:{port}/a']")
        assert check(file, text, "--probe") == ExitCode.DONE
    shown = capsys.readouterr().out
    assert f"works        camera1: {face_clip}: h264" in shown
    assert "works        camera1: rec: can be written" in shown
    assert shown.endswith("all is well\n")


def test_an_input_that_fails_ends_with_3_and_an_output_alone_with_5(
    file: Path, face_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = unused_port()
    away = f"rtsp://admin:{PASSWORD}@127.0.0.1:{port}/"
    assert check(file, stream("", source=f"{away}in", outputs=f"{away}out"), "--probe") == ExitCode.INPUT
    shown = capsys.readouterr().out
    assert f"FAILED       camera1: rtsp://***@127.0.0.1:{port}/in: connection refused" in shown
    assert check(file, stream("loop: true", source=str(face_clip), outputs=f"{away}out"), "--probe") == ExitCode.OUTPUT
    assert PASSWORD not in shown + capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that says it can be written and cannot")
def test_probing_tries_to_write_and_leaves_nothing_behind(file: Path, face_clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"streams:\n  - {{input: {face_clip}, outputs: %s, audio: drop}}\n"
    before = sorted(file.parent.iterdir())
    assert check(file, text % file.parent, "--probe") == ExitCode.DONE
    assert sorted(file.parent.iterdir()) == [*before, file]
    assert check(file, text % "/proc/foo/", "--probe") == ExitCode.OUTPUT
    assert re.search(r"FAILED +camera1: /proc/foo/: /proc cannot be written", capsys.readouterr().out)


def test_neither_command_loads_torch_or_ffmpeg(file: Path) -> None:
    program = (
        "import sys, contextlib\nfrom streamer.cli import main\n"
        "with contextlib.suppress(SystemExit): main(sys.argv[1:])\n"
        "print([name for name in ('torch', 'av', 'onnxruntime', 'zmq') if name in sys.modules], file=sys.stderr)\n"
    )
    file.write_text(stream())
    for words in (["check", str(file)], ["schema"]):
        ended = subprocess.run(
            [sys.executable, "-c", program, *words],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            timeout=60,
        )
        assert (ended.returncode, ended.stderr) == (0, "[]\n")

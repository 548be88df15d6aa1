"""`veil check --probe` with real cameras behind a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamer.cli import main
from streamer.errors import ExitCode
from tests.live.camera import Camera
from tests.live.conftest import RATE, SIZE
from tests.live.rtsp_control import Passwords, RtspServer
from tests.streamer.running import REPOSITORY

PASSWORD = "p@ss:w/rd?1"


def check(file: Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["check", str(file), "--probe"])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_cameras_are_described_and_a_wrong_password_is_named(
    short_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "door").write_text(PASSWORD)
    file = tmp_path / "door.yaml"
    with (
        RtspServer(Passwords(read=("viewer", PASSWORD))) as server,
        Camera(short_clip, server.publish_url("door"), number=1, sound="aac"),
    ):
        place = f"127.0.0.1:{server.port}"
        text = (
            f"streams:\n  - {{name: door, input: 'rtsp://viewer:${{secret:door}}@{place}/door', outputs: 'rtsp://{place}/safe'}}\n"
            "http: {enabled: false}\n"
        )
        file.write_text(text)
        assert check(file) == ExitCode.DONE
        right = capsys.readouterr().out
        file.write_text(text.replace("${secret:door}", "wr0ng-password"))
        assert check(file) == ExitCode.INPUT
        wrong = capsys.readouterr().out
    assert re.search(rf"works +door: rtsp://\*\*\*@{place}/door: h264 {SIZE[0]}x{SIZE[1]}, {RATE} fps, sound aac\n", right)
    assert f"FAILED       door: rtsp://***@{place}/door: wrong user name or password (401)\n" in wrong
    assert "w/rd" not in right + wrong
    assert "wr0ng" not in right + wrong

"""A running daemon, and what it leaves behind, show no credentials to anybody who looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from tests.live.camera import Camera
from tests.live.daemon import Daemon
from tests.live.rtsp_control import Passwords, RtspServer

READ, PUBLISH, WRONG, LITERAL = "r3ad/w@rd?:x", "publ1sh#w%rd", "wr0ng-one", "l1teral-one"
SECRETS = (READ, PUBLISH, WRONG, LITERAL)
SPELLINGS = {spelling.encode() for secret in SECRETS for spelling in (secret, quote(secret), quote(secret, safe=""))}


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """What belongs to the owner alone, and is not searched."""
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "door").write_text(READ)
    (folder / "file").touch(0o600)
    (folder / "file").write_text(f"yard: {WRONG}\n")
    return folder


def processes_of(daemon: Daemon) -> Iterator[tuple[str, bytes]]:
    """What /proc shows of the daemon and all below it."""
    root = psutil.Process(daemon.process.pid)
    for process in (root, *root.children(recursive=True)):
        for name in ("cmdline", "environ", "comm", "status", "maps"):
            try:
                yield f"{process.name()} {process.pid} {name}", Path(f"/proc/{process.pid}/{name}").read_bytes()
            except (OSError, psutil.NoSuchProcess):
                continue  # it has ended meanwhile


def leaks(seen: dict[str, bytes]) -> list[str]:
    return [f"{place}: {spelling!r}" for place, content in seen.items() for spelling in SPELLINGS if spelling in content]


def test_credentials_are_nowhere_to_be_seen(short_clip: Path, tmp_path: Path, private: Path) -> None:
    public = tmp_path / "public"
    temporary = public / "tmp"
    temporary.mkdir(parents=True)
    environment = {"CREDENTIALS_DIRECTORY": str(private), "VEIL_SECRET_OUT": PUBLISH, "TMPDIR": str(temporary)}
    passwords = Passwords(read=("viewer", READ), publish=("veil", PUBLISH))
    with RtspServer(passwords) as server, Camera(short_clip, server.publish_url("door"), number=1, sound="aac"):
        place = f"127.0.0.1:{server.port}"
        shared = {"filter": {"name": "solid"}, "detector": {"size": 160}, "look_ahead_s": 0.1}
        streams = [
            {
                "name": "door",
                "input": f"rtsp://viewer:${{secret:door}}@{place}/door",
                "outputs": f"rtsp://veil:${{secret:out}}@{place}/a",
            },
            {"name": "yard", "input": f"rtsp://viewer:${{secret:yard}}@{place}/door", "outputs": [str(public / "recordings")]},
            {"name": "gate", "input": f"rtsp://viewer:{LITERAL}@{place}/door", "outputs": f"rtsp://veil:{LITERAL}@{place}/c"},
        ]
        daemon = Daemon(
            private,
            [{**shared, **stream} for stream in streams],
            settings={"secrets_file": str(private / "file"), "detector_processes": 1},
            environment=environment,
        )
        daemon.log_path = public / "veil.log"
        with daemon:
            daemon.wait_for_stream("door", lambda one: one.frames_out > 10 and one.outputs[0].state == "connected")
            daemon.wait_for_stream("yard", lambda one: bool(one.errors))
            daemon.wait_for_stream("gate", lambda one: bool(one.errors) and one.outputs[0].last_error is not None)
            seen = dict(processes_of(daemon))
            seen |= {path: daemon.get(path)[1].encode() for path in ("/", "/api/streams", "/metrics", "/healthz", "/readyz")}
            daemon.path.write_text(daemon.path.read_text().replace("look_ahead_s: 0.1", f"look_ahead_s: rtsp://x:{LITERAL}@h"))
            daemon.reload()
            status = daemon.wait_for(lambda status: status.reload_error is not None)
            assert "***" in str(status.reload_error)
            seen["reload"] = str(status.reload_error).encode()
            seen |= dict(processes_of(daemon))
            assert daemon.stop() == 0
    seen |= {str(path): path.read_bytes() for path in public.rglob("*") if path.is_file()}
    assert any("veil-camera" in place and "environ" in place for place in seen)
    assert b"rtsp://***@" in seen[str(daemon.log_path)] + seen["/api/streams"]
    assert leaks(seen) == []

"""`veil status` and `veil reload` against the web worker, with and without a daemon behind it."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

import streamer.commands.reload
from streamer.errors import ExitCode
from streamer.escaping import printable
from streamer.live.status import Event, ServeStatus
from streamer.live.terminal import duration
from streamer.workers.web import WebWorker
from tests.command import VEIL, veil
from tests.live.statuses import HOSTILE, NOW, assorted_status, serve_status, stream_status, tell, web_worker

TOKEN = "a long enough token"
_DEADLINE_S = 60.0


@pytest.fixture
def worker() -> Iterator[WebWorker]:
    with web_worker() as one:
        yield one


@pytest.fixture
def locked() -> Iterator[WebWorker]:
    with web_worker(token=TOKEN) as one:
        tell(one, serve_status())
        yield one


def ask(
    worker: WebWorker, *arguments: str, cwd: Path, command: str = "status", **environment: str
) -> subprocess.CompletedProcess[str]:
    return veil(command, "--address", f"127.0.0.1:{worker.port}", *arguments, cwd=cwd, environment=environment)


def test_the_status_in_a_terminal_says_what_the_page_says(worker: WebWorker, here: Path) -> None:
    tell(worker, assorted_status())

    done = ask(worker, cwd=here, COLUMNS="80")

    assert done.returncode == ExitCode.INTERNAL, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for shown in (
        "Veil 1.2.3, process 4321, up for 1 d 2 h: NOT healthy, 2 of 3 streams need attention",
        "2 detectors (1 restarted) on openvino, 0.09 cores on average, 1383 MiB",
        "settings /etc/veil/stream.yaml, reloads 3 (1 refused)",
        "the newest reload was refused: streams[2].outputs: door and yard would write to the same place",
        "door running 3 h 12 min 1280x720 25.0 24.8 412 ms 587 ms 2",
        "yard no signal 1 min 14 s 1280x720 0.0 1.0 - - 0",
        "garage given up 1 h 6 min - 0.0 0.0 - - 0",
        "-> connected recording /var/lib/veil/door 118000 packets",
        "-> retrying rtmp rtmp://live.example/app 120400 packets, 5 reconnects: connection refused",
        "dropped: late 2, overload 5",
        "covered whole: corrupt 1",
        "fallbacks: no keypoints 7",
        "reconnects: camera 17",
        "restarts: source 1",
    ):
        assert shown in lines


def test_a_text_of_a_camera_does_not_steer_the_terminal(worker: WebWorker, here: Path) -> None:
    hostile = f"{HOSTILE}\r\n\x9b2J[bold red]"
    tell(worker, serve_status(stream_status(errors=(Event(at=NOW, text=hostile),))))
    done = ask(worker, cwd=here)
    assert printable(hostile) in done.stdout
    assert not {"\x1b", "\x9b", "\r"} & set(done.stdout)


def test_a_healthy_daemon_is_exit_code_0(worker: WebWorker, here: Path) -> None:
    tell(worker, serve_status())
    done = ask(worker, cwd=here)
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")
    assert ": healthy\n" in done.stdout


def test_a_healthy_daemon_with_a_stream_to_look_at_says_so(worker: WebWorker, here: Path) -> None:
    tell(worker, serve_status(stream_status(), stream_status("yard", state="too_slow")))
    done = ask(worker, cwd=here)
    assert done.returncode == ExitCode.DONE
    assert ": healthy, 1 of 2 streams needs attention\n" in done.stdout
    assert "too slow" in done.stdout


def test_json_is_the_whole_status(worker: WebWorker, here: Path) -> None:
    tell(worker, assorted_status())
    done = ask(worker, "--json", cwd=here)
    assert done.returncode == ExitCode.INTERNAL
    assert msgspec.json.decode(done.stdout, type=ServeStatus) == assorted_status()


def hear_ctrl_c() -> None:
    """Also where the tests themselves run in the background of a shell, which lets nobody there hear it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_watching_goes_on_until_ctrl_c(worker: WebWorker, here: Path) -> None:
    tell(worker, serve_status(version="first"))
    watching = subprocess.Popen(
        [*VEIL, "status", "--address", f"127.0.0.1:{worker.port}", "--watch", "--json"],
        cwd=here,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    assert watching.stdout is not None
    try:
        assert msgspec.json.decode(watching.stdout.readline(), type=ServeStatus).version == "first"
        tell(worker, serve_status(version="second"))
        while msgspec.json.decode(watching.stdout.readline(), type=ServeStatus).version != "second":
            pass
        watching.send_signal(signal.SIGINT)
        assert watching.wait(_DEADLINE_S) == ExitCode.INTERRUPTED
    finally:
        watching.kill()
        watching.wait()
        watching.stdout.close()


def test_no_daemon_is_one_clear_line(here: Path) -> None:
    with web_worker() as gone:
        address = f"127.0.0.1:{gone.port}"
    for command in ("status", "reload"):
        done = veil(command, "--address", address, cwd=here)
        assert (done.returncode, done.stdout) == (ExitCode.INPUT, "")
        assert done.stderr == f"veil {command}: {address}: no daemon answers (Connection refused); is veil serve running?\n"


def test_a_daemon_that_knows_nothing_yet_says_so(worker: WebWorker, here: Path) -> None:
    done = ask(worker, cwd=here)
    assert done.returncode == ExitCode.INPUT
    assert done.stderr.endswith("the daemon does not tell how it is (starting)\n")


class _Stranger(http.server.BaseHTTPRequestHandler):
    """Some other server."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"streams": "none"}')

    def log_message(self, *_: object) -> None:
        pass


def test_another_server_is_not_taken_for_the_daemon(here: Path) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), _Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        done = veil("status", "--address", f"127.0.0.1:{server.server_port}", cwd=here)
        server.shutdown()
        thread.join(_DEADLINE_S)
    assert done.returncode == ExitCode.INPUT
    assert done.stderr.endswith("what answers is not veil serve, or not of this version\n")


@pytest.mark.parametrize("address", ["8700", "localhost", "host:0", "host:70000", "::1:8700", "http://localhost:8700"])
def test_an_address_that_is_none_is_refused(address: str, here: Path) -> None:
    done = veil("status", "--address", address, cwd=here)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.startswith("veil status: --address must be a host and a port")
    assert done.stderr.count("\n") == 1


def test_the_token_comes_from_the_environment_or_from_the_settings(locked: WebWorker, here: Path) -> None:
    refused = ask(locked, cwd=here)
    assert refused.returncode == ExitCode.USAGE
    assert "the daemon wants a token" in refused.stderr
    assert ask(locked, cwd=here, VEIL_HTTP_TOKEN=TOKEN).returncode == ExitCode.DONE

    settings, secrets = here / "stream.yaml", here / "secrets.yaml"
    secrets.write_text(f"page: {TOKEN}\n")
    secrets.chmod(0o600)
    settings.write_text(
        "streams: [{input: 'rtsp://u:${secret:not-here}@camera.example/1', outputs: rtsp://media.example/1}]\n"
        f"secrets_file: {secrets}\n"
        f"http: {{address: '0.0.0.0:{locked.port}', token: '${{secret:page}}'}}\n"
    )
    by_file = veil("status", "--config", settings, cwd=here)
    assert by_file.returncode == ExitCode.DONE, by_file.stderr

    wrong = ask(locked, cwd=here, VEIL_HTTP_TOKEN="guess-guess")
    assert wrong.returncode == ExitCode.USAGE
    assert "is not this token's" in wrong.stderr
    assert "guess-guess" not in wrong.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http: {address: nonsense}", "http.address must be a host and a port from 1 to 65535"),
        ("http: {enabled: false}", "http.enabled is false, so that this daemon cannot be asked"),
        ("http: {token: '${secret:page}'}", "http.token needs the secret page, which is not there"),
    ],
)
def test_settings_that_lead_to_no_daemon_are_named(text: str, said: str, here: Path) -> None:
    (here / "stream.yaml").write_text(f"streams: [{{input: a.mp4, outputs: b.m3u8}}]\n{text}\n")
    done = veil("status", "--config", "stream.yaml", cwd=here)
    assert done.returncode == ExitCode.USAGE
    assert f"stream.yaml: {said}" in done.stderr
    assert done.stderr.count("\n") == 1


_HEARS_SIGHUP = """
import signal, sys
signal.signal(signal.SIGHUP, lambda number, frame: print("reload", flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""

After = Callable[[ServeStatus], ServeStatus]


class Reloading:
    """A process that hears SIGHUP as the daemon does, and a page that shows what came of it."""

    def __init__(self, worker: WebWorker, *words: str) -> None:
        self._worker = worker
        self._process = subprocess.Popen([sys.executable, "-c", _HEARS_SIGHUP, *words], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self.pid = self._process.pid

    def show_after_reload(self, status: ServeStatus) -> threading.Thread:
        """In a thread, which ends when the signal has come and the status is shown."""

        def run() -> None:
            assert self._process.stdout is not None
            if self._process.stdout.readline() == "reload\n":
                tell(self._worker, status)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextlib.contextmanager
def reloading(worker: WebWorker, *words: str) -> Iterator[Reloading]:
    one = Reloading(worker, *words)
    try:
        yield one
    finally:
        one.close()


@pytest.mark.parametrize(
    ("before", "after", "code", "said"),
    [
        (None, None, ExitCode.DONE, "/etc/veil/stream.yaml is in force; streams: door\n"),
        (None, "streams: none", ExitCode.USAGE, "veil reload: refused, nothing was changed: streams: none\n"),
        ("streams: none", "streams: none", ExitCode.USAGE, "veil reload: refused, nothing was changed: streams: none\n"),
        ("streams: none", None, ExitCode.DONE, "/etc/veil/stream.yaml is in force; streams: door\n"),
    ],
    ids=["carried out", "refused", "refused again", "mended"],
)
def test_a_reload_is_waited_for(
    before: str | None, after: str | None, code: ExitCode, said: str, worker: WebWorker, here: Path
) -> None:
    with reloading(worker, "serve") as one:
        tell(worker, serve_status(pid=one.pid, reload_error=before))
        counted = {"reloads": 4} if after is None else {"reloads_refused": 1}
        thread = one.show_after_reload(serve_status(pid=one.pid, reload_error=after, **counted))
        done = ask(worker, command="reload", cwd=here)
        one.close()
        thread.join(_DEADLINE_S)
    assert (done.returncode, done.stdout + done.stderr) == (code, said)


def test_a_reload_of_which_no_word_comes_is_not_waited_for_for_ever(
    worker: WebWorker, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from streamer.cli import main

    monkeypatch.setattr(streamer.commands.reload, "DEADLINE_S", 0.5)
    with reloading(worker, "serve") as one:
        tell(worker, serve_status(pid=one.pid))
        with pytest.raises(SystemExit) as caught:
            main(["reload", "--address", f"127.0.0.1:{worker.port}"])
    assert caught.value.code == ExitCode.INTERNAL
    assert "no word of the reload within 0.5 s" in capsys.readouterr().err


def test_no_signal_goes_to_a_process_that_is_not_the_daemon(worker: WebWorker, here: Path) -> None:
    with reloading(worker, "innocent") as one:
        thread = one.show_after_reload(serve_status())
        tell(worker, serve_status(pid=one.pid))
        done = ask(worker, command="reload", cwd=here)
        assert done.returncode == ExitCode.USAGE
        assert f"no process of this machine (or container) with the number {one.pid}" in done.stderr
        os.kill(one.pid, 0)
        one.close()
        thread.join(_DEADLINE_S)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (86400 * 3 + 59, "3 d"), (-5, "0 s")]
)
def test_durations_are_said_in_their_two_largest_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said

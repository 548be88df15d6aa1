"""`veil serve --demo` says what is wrong before it makes its clip, and in the words of its user."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from streamer.commands.serve import page_address
from streamer.errors import ExitCode
from streamer.live.addresses import split_address
from streamer.live.web.listening import check_address
from tests.command import veil
from tests.live.daemon import free_port


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [
        ("http://127.0.0.1/y", ExitCode.USAGE, "--output begins with http://; possible are rtsp://"),
        ("film.mp4", ExitCode.USAGE, "--output is named like a file"),
        ("rtsp://u:${secret:none-such}@127.0.0.1/y", ExitCode.USAGE, "--output needs the secret none-such"),
        ("/proc/foo/", ExitCode.OUTPUT, "--output: /proc cannot be written"),
    ],
)
def test_an_output_that_cannot_be_is_named_before_anything_is_made(output: str, code: ExitCode, words: str, tmp_path: Path) -> None:
    ended = veil("serve", "--demo", "--output", output, cwd=tmp_path)
    assert ended.returncode == code
    assert ended.stderr.startswith(f"veil serve: {words}")
    assert len(ended.stderr.splitlines()) == 1
    assert "stream.yaml" not in ended.stderr


def test_a_file_and_the_demonstration_are_two_things(tmp_path: Path) -> None:
    ended = veil("serve", "door.yaml", "--demo", cwd=tmp_path)
    assert ended.returncode == ExitCode.USAGE
    assert ended.stderr == "veil serve: only one of both: door.yaml or --demo\n"


def test_the_page_of_the_demonstration_takes_another_port_where_the_usual_one_is_taken() -> None:
    usual = free_port()
    assert page_address(usual) == f"127.0.0.1:{usual}"
    with socket.socket() as other:
        other.bind(("127.0.0.1", usual))
        other.listen()
        address = page_address(usual)
    assert address != f"127.0.0.1:{usual}"
    check_address(*split_address(address))

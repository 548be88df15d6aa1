"""`veil serve`: anonymize live streams until it is told to stop."""

from __future__ import annotations

import argparse
import contextlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from rich.console import Console

from streamer.cli import exit_codes_text
from streamer.errors import ExitCode, OutputError, UsageError
from streamer.live.checks import objection_to_writing, output_folder
from streamer.live.daemon import serve
from streamer.live.loading import load_serve_settings
from streamer.live.web.listening import check_address
from streamer.telemetry import configure_logging

_EXAMPLES = """\
examples:
  veil serve stream.yaml                                every camera of the file, until Ctrl-C or SIGTERM
  veil serve --demo                                     no camera, no file: people who do not exist, and the status page
  veil serve --demo --output rtsp://127.0.0.1:8554/demo the same, published to an RTSP server

SIGHUP, or veil reload, reads the file again and starts only what has changed.
"""
_DEMO_SIZE, _DEMO_RATE = (640, 360), 15
"""As a small camera has it: a machine with two cores keeps up."""
_HOST = "127.0.0.1"
_OUTPUT_KEY = "streams[0].outputs[0]"
_LEVELS = {-1: "WARNING", 0: "INFO"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "veil serve FILE [options] | veil serve --demo [--output TO] [options]"
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", help="the settings; configs/stream.yaml shows every key")
    parser.add_argument("--demo", action="store_true", help="loop a clip of people who do not exist instead of a camera")
    parser.add_argument("--output", metavar="TO", help="with --demo: where it goes, as in the settings (default: HLS, temporary)")
    group = parser.add_argument_group("what is said")
    group.add_argument("-q", "--quiet", dest="verbosity", action="store_const", const=-1, default=0, help="only what is wrong")
    group.add_argument("-v", "--verbose", dest="verbosity", action="count", help="everything")
    parser.epilog = f"{_EXAMPLES}\n{exit_codes_text()}"


def run(arguments: argparse.Namespace) -> ExitCode:
    if arguments.demo and arguments.file is not None:
        raise UsageError(f"only one of both: {arguments.file} or --demo")
    if not arguments.demo and arguments.file is None:
        raise UsageError("name a file of settings, or use --demo")
    if arguments.output is not None and not arguments.demo:
        raise UsageError("--output goes with --demo; with a file, outputs stand in the file")
    level = _LEVELS.get(arguments.verbosity, "DEBUG")
    configure_logging("veil", level)
    with _demo(arguments.output) if arguments.demo else contextlib.nullcontext(arguments.file) as path:
        loaded = load_serve_settings(path)
        return serve(loaded, path, fork_server=arguments.fork_server, log_level=level)


@contextlib.contextmanager
def _demo(output: str | None) -> Iterator[Path]:
    """The settings of the demonstration; its files are gone afterwards."""
    from streamer.demo import make_demo_clip  # only here: it takes OpenCV's drawing and the demo's faces

    say = Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print
    with tempfile.TemporaryDirectory(prefix="veil-demo-") as folder:
        clip, path = Path(folder, "demo.mp4"), Path(folder, "stream.yaml")
        to = output or str(Path(folder, "hls", "demo.m3u8"))
        stream = {"name": "demo", "input": str(clip), "loop": True, "outputs": [to]}
        address = page_address()
        path.write_text(yaml.safe_dump({"http": {"address": address}, "streams": [stream]}))
        _check_demo(path)
        say("making a clip of people who do not exist ...")
        try:
            make_demo_clip(clip, size=_DEMO_SIZE, rate=_DEMO_RATE)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error.strerror})") from None
        say(f"the status page: http://{address}    the stream: {to}    Ctrl-C ends it")
        yield path


def page_address(port: int = 8700) -> str:
    """Of the demonstration's status page: the usual port, or another one where that is taken."""
    try:
        check_address(_HOST, port)
    except OutputError:
        with socket.socket() as chosen:
            chosen.bind((_HOST, 0))
            port = chosen.getsockname()[1]
    return f"{_HOST}:{port}"


def _check_demo(path: Path) -> None:
    """Before the clip is made. Raises UsageError or OutputError, which name --output and not a file that the user does not have."""
    try:
        (address,) = load_serve_settings(path).outputs
    except UsageError as error:
        raise UsageError(str(error).removeprefix(f"{path}: ").replace(_OUTPUT_KEY, "--output")) from None
    folder = output_folder(address.url)
    objection = objection_to_writing(folder) if folder is not None else None
    if objection is not None:
        raise OutputError(f"--output: {objection}")

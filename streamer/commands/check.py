"""`veil check`: say what a file of live streams means and what is wrong with it, without starting anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from streamer.cli import exit_codes_text
from streamer.errors import ExitCode
from streamer.live.addresses import output_kind
from streamer.live.checks import check_machine, objection_to_writing, output_folder, warnings_of, warnings_of_page
from streamer.live.config import OutputSettings, StreamSettings
from streamer.live.loading import Address, Loaded, load_serve_settings
from streamer.live.probing import Answer, Request, probe
from streamer.redaction import redact

_INPUT_TIMEOUT_S, _OUTPUT_TIMEOUT_S = 10.0, 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "veil check FILE [--probe]"
    parser.add_argument("file", metavar="FILE", type=Path, help="YAML file as for veil serve")
    parser.add_argument(
        "--probe",
        action="store_true",
        help="open every input for a moment, and try whether the outputs accept connections and folders can be written",
    )
    parser.epilog = f"""\
examples:
  veil check configs/stream.yaml
  veil check configs/stream.yaml --probe

Without --probe nothing is opened but the file itself, and a camera that is away is no error. With it, exit code 3 says that an
input does not work, and 5 that an output does not.

{exit_codes_text()}"""


def run(arguments: argparse.Namespace) -> ExitCode:
    loaded = load_serve_settings(arguments.file)
    backend = check_machine(loaded)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for stream in loaded.settings.streams:
        _show_stream(console, stream, loaded)
    http = loaded.settings.http
    page = f"http://{http.address}/{' with a token' if http.token else ''}" if http.enabled else "none"
    _show(console, "backend", backend)
    _show(console, "status page", page)
    for warning in [*warnings_of(loaded), *warnings_of_page(loaded)]:
        _show(console, "warning", warning)
    code = _probe(console, loaded) if arguments.probe else ExitCode.DONE
    if code is ExitCode.DONE:
        console.print(f"{arguments.file}: {'all is well' if arguments.probe else 'is valid'}")
    return code


def _show_stream(console: Console, stream: StreamSettings, loaded: Loaded) -> None:
    """What becomes of a stream, one fact a line."""
    console.print(stream.name, style="bold")
    if not stream.enabled:
        _show(console, "enabled", "no")
        return
    _show(console, "input", _described_input(stream))
    for address, target in zip(_outputs_of(stream, loaded), stream.targets, strict=True):
        _show(console, "output", _described_output(address, target))
    _show(console, "filter", stream.filter.name)
    _show(console, "look-ahead", f"{stream.look_ahead_s:g} s, pictures older than {stream.max_latency_ms} ms are dropped")
    kinds = [zone.do for zone in stream.zones]
    zones = [f"{kinds.count(do)} {word}" for do, word in (("cover", "covered"), ("ignore", "left as they are")) if do in kinds]
    _show(console, "zones", ", ".join(zones) or "none")
    _show(console, "sound", "copied" if stream.audio == "copy" else "dropped")


def _outputs_of(stream: StreamSettings, loaded: Loaded) -> list[Address]:
    return [address for address in loaded.outputs if address.stream is stream]


def _described_input(stream: StreamSettings) -> str:
    notes = (", over UDP" if stream.transport == "udp" else "") + (", again and again" if stream.loop else "")
    return redact(stream.input) + notes


def _described_output(address: Address, target: OutputSettings) -> str:
    notes = []
    match output_kind(address.url):
        case "recording":
            limits = [f"{target.keep_gigabytes:g} GB"] if target.keep_gigabytes else []
            limits += [f"{target.keep_days:g} days"] if target.keep_days else []
            kept = f"at most {' and '.join(limits)}" if limits else "kept for ever"
            notes.append(f"recordings, {target.container} of {target.segment_s:g} s, {kept}")
        case "hls":
            notes.append("HLS")
    notes += ["over UDP"] if target.transport == "udp" else []
    notes += ["without sound"] if target.audio == "drop" else []
    return ", ".join([redact(address.text), *notes])


def _show(console: Console, topic: str, fact: str) -> None:
    style = "yellow" if topic == "warning" else "red" if topic.startswith("FAILED") else None
    console.print(f"  {topic:<12} {redact(fact)}", style=style)


def _probe(console: Console, loaded: Loaded) -> ExitCode:
    """Try everything, the inputs and outputs of all streams at once, and say how each went."""
    requests: dict[str, Request] = {
        address.key: Request(kind="input", url=address.url, transport=address.stream.transport, timeout_s=_INPUT_TIMEOUT_S)
        for address in loaded.inputs
    }
    folders: dict[str, Answer] = {}
    for address in loaded.outputs:
        folder = output_folder(address.url)
        if folder is not None:
            objection = objection_to_writing(folder)
            folders[address.key] = Answer(works=objection is None, fact=objection or "can be written")
        else:
            requests[address.key] = Request(kind="output", url=address.url, transport="tcp", timeout_s=_OUTPUT_TIMEOUT_S)
    answers = folders | dict(zip(requests, probe(list(requests.values())), strict=True))
    for address in (*loaded.inputs, *loaded.outputs):
        answer = answers[address.key]
        _show(console, "works" if answer.works else "FAILED", f"{address.stream.name}: {address.text}: {answer.fact}")
    if not all(answers[address.key].works for address in loaded.inputs):
        return ExitCode.INPUT
    return ExitCode.DONE if all(answers[address.key].works for address in loaded.outputs) else ExitCode.OUTPUT

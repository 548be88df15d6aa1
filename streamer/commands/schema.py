"""`veil schema`: print what a file for `veil serve` may hold, for editors and programs, or as a file to start from."""

from __future__ import annotations

import argparse

import msgspec

from streamer.errors import ExitCode
from streamer.live.manual import manual
from streamer.live.schema import serve_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yaml", action="store_true", help="instead, a file with every key, its default and what it does")
    parser.epilog = """\
examples:
  veil schema > veil.schema.json
  veil schema --yaml > stream.yaml

An editor that knows JSON Schema completes and checks a file that begins with
  # yaml-language-server: $schema=veil.schema.json
"""


def run(arguments: argparse.Namespace) -> ExitCode:
    if arguments.yaml:
        print(manual(), end="")
    else:
        print(msgspec.json.format(msgspec.json.encode(serve_schema())).decode())
    return ExitCode.DONE

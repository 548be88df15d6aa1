"""Which daemon `veil status` and `veil reload` speak to, from their options."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from streamer.config import convert_settings, name_in_file
from streamer.errors import UsageError
from streamer.live.addresses import AddressError, split_address
from streamer.live.asking import DEFAULT_ADDRESS, Daemon
from streamer.live.config import ServeSettings
from streamer.live.secrets import Secrets
from streamer.yaml_files import read_yaml

TOKEN_VARIABLE = "VEIL_HTTP_TOKEN"
_HERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where to find what listens on all addresses of this machine."""


def add_daemon_options(parser: argparse.ArgumentParser) -> None:
    """`--address` and `--config`."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--address", metavar="HOST:PORT", help=f"http.address of the daemon (default: {DEFAULT_ADDRESS})")
    where.add_argument("--config", metavar="FILE", type=Path, help="the daemon's settings, for its http.address and http.token")


def daemon_of(arguments: argparse.Namespace) -> Daemon:
    """Raises UsageError. The token of the environment wins over that of the file, whose secret then need not be at hand."""
    token = os.environ.get(TOKEN_VARIABLE) or None
    if arguments.config is None:
        return _daemon(arguments.address or DEFAULT_ADDRESS, token, "--address")
    name_key = name_in_file(arguments.config)
    settings = convert_settings(read_yaml(arguments.config), ServeSettings, name_key=name_key)
    if not settings.http.enabled:
        raise UsageError(f"{name_key('http.enabled')} is false, so that this daemon cannot be asked; its log tells how it is")
    if token is None and settings.http.token is not None:
        token = Secrets(settings.secrets_file, name_key=name_key).resolve(settings.http.token, "http.token")
    return _daemon(settings.http.address, token, name_key("http.address"))


def _daemon(address: str, token: str | None, name: str) -> Daemon:
    try:
        host, port = split_address(address)
    except AddressError as error:
        raise UsageError(f"{name} {error}, is {address}") from None
    return Daemon(host=_HERE.get(host, host), port=port, token=token)

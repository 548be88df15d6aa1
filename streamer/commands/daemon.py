"""Which daemon `veil status` and `veil reload` speak to, from their options."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import yaml

from streamer.errors import UsageError
from streamer.live.asking import DEFAULT_ADDRESS, Daemon, reachable, split_address

TOKEN_VARIABLE = "VEIL_HTTP_TOKEN"


def add_daemon_options(parser: argparse.ArgumentParser) -> None:
    """`--address` and `--config`."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--address", metavar="HOST:PORT", help=f"http.address of the daemon (default: {DEFAULT_ADDRESS})")
    where.add_argument("--config", metavar="FILE", type=Path, help="the daemon's settings, for its address and token")


def daemon_of(arguments: argparse.Namespace) -> Daemon:
    """Raises UsageError. The token of the environment wins over that of the file."""
    token = os.environ.get(TOKEN_VARIABLE) or None
    if arguments.config is None:
        host, port = split_address(arguments.address or DEFAULT_ADDRESS, "--address")
        return Daemon(host=host, port=port, token=token)
    address, kept = _http_of(arguments.config)
    host, port = split_address(address, f"{arguments.config}: http.address")
    return Daemon(host=reachable(host), port=port, token=token or kept)


def _http_of(path: Path) -> tuple[str, str | None]:
    """http.address and http.token of a daemon's settings, without a look at its cameras.

    This is the place where a `${secret:NAME}` is to be resolved as `veil serve` does it.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    http = values.get("http", {}) if isinstance(values, dict) else {}
    if not isinstance(http, dict):
        raise UsageError(f"{path}: http must be a group of settings")
    if http.get("enabled") is False:
        raise UsageError(f"{path}: http.enabled is false, so that this daemon cannot be asked; only its log tells")
    token = http.get("token")
    if isinstance(token, str) and token.startswith("${secret:"):
        raise UsageError(f"{path}: http.token is {token}; give the token itself in {TOKEN_VARIABLE}")
    return str(http.get("address", DEFAULT_ADDRESS)), None if token is None else str(token)

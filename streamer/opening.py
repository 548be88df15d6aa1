"""Opening input files: what cannot be read is refused with one line, and nothing but the file itself is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import av
import av.container
import av.packet
import av.stream

from streamer.errors import InputError

Packet: TypeAlias = "av.packet.Packet[av.stream.Stream]"

_CONTAINER_OPTIONS = {"protocol_whitelist": "file"}
"""A file must not make the program open network addresses."""


def check_readable(path: Path) -> None:
    """Raises InputError unless the path is a file with at least one byte that may be read."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: cannot be read: permission denied")
    if not path.is_file():
        raise InputError(f"{path}: is not a regular file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty (zero bytes)")


def open_input(path: Path) -> av.container.InputContainer:
    """Raises InputError where FFmpeg cannot open the file."""
    try:
        # "file:" keeps FFmpeg from reading a protocol into a name with a colon.
        return av.open(f"file:{path}", options=_CONTAINER_OPTIONS, metadata_errors="replace")
    except av.FFmpegError as error:
        if isinstance(error, av.error.InvalidDataError | av.error.EOFError):
            raise InputError(f"{path}: is not a media file that can be read, or is damaged at its start") from error
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: is not a media file that can be read") from error


def read_packets(container: av.container.InputContainer) -> Iterator[Packet]:
    """All packets of a file up to its end, without the empty ones that PyAV appends.

    PyAV must not be asked to append them: where a stream has grown tracks meanwhile, it reads beyond its own table.
    """
    for packet in container.demux():
        if packet.size:
            yield packet
        elif packet.dts is None:
            return

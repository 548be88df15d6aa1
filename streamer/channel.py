"""The sockets between the supervisor and its children: one star, whose only way from child to child is the supervisor's routing."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import msgspec
import zmq

from streamer.messages import Message

_LONGEST_SOCKET_PATH = 100  # bytes; the kernel takes 107
_MOST_UNHEARD = 1000  # messages of one child
_MOST_UNSENT = 10_000  # in the child itself


class Decoder:
    """Decodes the declared messages and nothing else."""

    def __init__(self, types: Sequence[type[Message]]) -> None:
        union: Any = reduce(or_, types)
        self._decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(union)

    def decode(self, payload: bytes) -> Message:
        """Raises msgspec.ValidationError where the payload is not one of the declared messages."""
        return self._decoder.decode(payload)


_ENCODER = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    return _ENCODER.encode(message)


def _private_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="veil-"))
    if len(os.fsencode(directory)) + 2 > _LONGEST_SOCKET_PATH:
        directory.rmdir()
        directory = Path(tempfile.mkdtemp(prefix="veil-", dir="/tmp"))
    return directory


class Hub:
    """The supervisor's socket, in a directory that only this user can enter and that disappears with `close`."""

    def __init__(self) -> None:
        self._directory = _private_directory()
        self.endpoint = f"ipc://{self._directory}/s"
        self._context = zmq.Context(io_threads=1)
        self.socket = self._context.socket(zmq.ROUTER)
        self.socket.linger = 0
        # Slots and credits bound what is under way; a high-water mark would only make it vanish or block. But what is received
        # neither vanishes nor blocks anybody else: beyond this, it lies in the memory of the child that has said it.
        self.socket.set_hwm(0)
        self.socket.rcvhwm = _MOST_UNHEARD
        # Without it, what is sent to a child that has died disappears in silence.
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.bind(self.endpoint)

    def send(self, identity: bytes, payload: bytes) -> bool:
        """False if that child is not connected (any more)."""
        try:
            self.socket.send_multipart((identity, payload), flags=zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                return False
            raise
        return True

    def receive_all(self) -> Iterator[tuple[bytes, bytes]]:
        """(identity, payload) of everything that has arrived, one of each child in turns where several have said something."""
        while True:
            try:
                parts = self.socket.recv_multipart(flags=zmq.NOBLOCK)
            except zmq.Again:
                return
            yield parts[0], parts[-1]

    def close(self) -> None:
        self._context.destroy(linger=0)
        shutil.rmtree(self._directory)


class Line:
    """A child's only socket."""

    def __init__(self, endpoint: str, identity: str, reads: Sequence[type[Message]]) -> None:
        self._context = zmq.Context(io_threads=1)
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.set_hwm(0)
        # One that says so much that nobody can hear it waits, and is killed when it does nothing else for too long.
        self._socket.sndhwm = _MOST_UNSENT
        self._socket.setsockopt(zmq.IDENTITY, identity.encode())
        self._socket.connect(endpoint)
        self._decoder = Decoder(reads)

    def send(self, message: Message) -> None:
        self._socket.send(encode(message))

    def receive(self, timeout_s: float) -> Message | None:
        """The next message, or None if none came in time. Raises msgspec.ValidationError for one that was not declared."""
        if not self._socket.poll(round(timeout_s * 1000)):
            return None
        return self._decoder.decode(self._socket.recv())

    def close(self) -> None:
        """Leave; what is not sent within a second is dropped, so that no child stays because its parent does not listen."""
        self._context.destroy(linger=1000)

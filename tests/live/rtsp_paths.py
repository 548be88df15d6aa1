"""One live stream inside the RTSP server: who publishes it, who reads it, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from typing import Protocol

from tests.live.rtsp_control import Fault, PathState
from tests.live.rtsp_protocol import controls_of

_RTP_HEAD = 14
"""Bytes that damage leaves alone: the header of RTP, and of the fragment of a picture."""
_JUNK_PACKET = 1200


class Way(Protocol):
    """How the packets of one track reach a reader."""

    def send(self, payload: bytes, is_control: bool) -> bool:
        """False where the reader is too slow and must be cut off."""


class InterleavedWay:
    """Inside the reader's own connection; channel: of its RTP, the next one is of its RTCP."""

    def __init__(self, transport: asyncio.WriteTransport, channel: int, most_waiting: int) -> None:
        """most_waiting: bytes that may wait for a slow reader."""
        self._transport, self._channel, self._most_waiting = transport, channel, most_waiting

    def send(self, payload: bytes, is_control: bool) -> bool:
        if self._transport.is_closing():
            return True
        if self._transport.get_write_buffer_size() > self._most_waiting:
            return False
        self._transport.write(b"$" + bytes([self._channel + is_control]) + len(payload).to_bytes(2, "big") + payload)
        return True


class DatagramWay:
    """UDP between two pairs of ports; what a slow reader does not take is lost."""

    def __init__(self, ports: tuple[asyncio.DatagramTransport, asyncio.DatagramTransport]) -> None:
        """ports: of RTP and of RTCP, connected to the reader's."""
        self._ports = ports

    def send(self, payload: bytes, is_control: bool) -> bool:
        self._ports[is_control].sendto(payload)
        return True


class Reader:
    """Somebody who plays a stream; ways: by number of track."""

    def __init__(self, transport: asyncio.Transport, ways: dict[int, Way]) -> None:
        self._transport, self._ways = transport, ways

    def send(self, track: int, payload: bytes, is_control: bool) -> bool:
        way = self._ways.get(track)
        return way is None or way.send(payload, is_control)

    def send_raw(self, data: bytes) -> None:
        """Bytes into the connection that belong to no packet."""
        self._transport.write(data)

    def cut(self) -> None:
        self._transport.abort()

    def close(self) -> None:
        self._transport.close()


class LivePath:
    """A name under which a stream can be published and read; it is there from when it is first named, faults included."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.sdp = ""
        self.controls: list[str] = []
        self.readers: set[Reader] = set()
        self.gate = asyncio.Event()
        """Shut while the stream is a black hole."""
        self.gate.set()
        self._fault = Fault(path="")
        self._on_change = on_change
        self._publisher: asyncio.Transport | None = None
        self._reports: dict[int, bytes] = {}
        self._pictures: set[int] = set()
        self._packets = self._bytes = self._slow = 0
        self._random = random.Random(5)

    @property
    def is_live(self) -> bool:
        return self._publisher is not None

    @property
    def state(self) -> PathState:
        return PathState(
            is_live=self.is_live, readers=len(self.readers), packets=self._packets, bytes=self._bytes, slow_readers_cut=self._slow
        )

    def publish(self, publisher: asyncio.Transport, sdp: str) -> None:
        """From now on this connection is the publisher; another one is sent away, and so are its readers."""
        if self._publisher is not None:
            self._publisher.close()
            self.unpublish(self._publisher)
        self._publisher, self.sdp, self.controls = publisher, sdp, controls_of(sdp)
        kinds = re.findall(r"^m=(\w+)", sdp, flags=re.MULTILINE)
        self._pictures = {number for number, kind in enumerate(kinds) if kind == "video"}
        self._on_change()

    def unpublish(self, publisher: asyncio.Transport) -> None:
        """The connection has ended: its readers have nothing more to come, so theirs end too."""
        if self._publisher is publisher:
            self._publisher, self.sdp, self.controls = None, "", []
            self._reports.clear()
            self.close_readers()

    def play(self, reader: Reader) -> None:
        """Send a reader all from now on; first the last reports, which say how the times of sound and pictures belong together."""
        self.readers.add(reader)
        for track, report in self._reports.items():
            reader.send(track, report, is_control=True)
        self._on_change()

    def leave(self, reader: Reader) -> None:
        self.readers.discard(reader)
        self._on_change()

    def close_publisher(self) -> None:
        if self._publisher is not None:
            self._publisher.abort()
            self.unpublish(self._publisher)

    def close_readers(self) -> None:
        for reader in self.readers:
            reader.close()
        self.readers.clear()
        self._on_change()

    def suffer(self, fault: Fault) -> None:
        self._fault = fault
        if fault.kind == "black hole":
            self.gate.clear()
        else:
            self.gate.set()

    def forward(self, track: int, payload: bytes, is_control: bool) -> None:
        """Give a packet of the publisher to all readers, or do to it what was ordered."""
        if is_control:
            self._reports[track] = payload
        elif track in self._pictures:
            self._packets += 1
            self._bytes += len(payload)
            if self._fault.lose_every and self._packets % self._fault.lose_every == 0:
                return
            if self._fault.damage_every and self._packets % self._fault.damage_every == 0:
                payload = payload[:_RTP_HEAD] + self._random.randbytes(len(payload) - _RTP_HEAD)
        if self._fault.kind == "freeze":
            return
        for reader in [reader for reader in self.readers if not reader.send(track, payload, is_control)]:
            self._slow += 1
            reader.cut()
            self.leave(reader)

    def send_garbage(self, size: int) -> None:
        """Bytes to every reader that are neither an answer nor a packet of a channel, as from a broken camera."""
        for reader in self.readers:
            reader.send_raw(self._random.randbytes(size))

    def send_junk(self, count: int) -> None:
        """Packets to every reader that are framed as they should be and hold nothing of sense."""
        for _ in range(count):
            for reader in self.readers:
                reader.send(0, self._random.randbytes(_JUNK_PACKET), is_control=False)

"""A small RTSP server that hands the packets of publishers on to readers, over TCP and UDP, on 127.0.0.1 only.

publisher: ANNOUNCE, SETUP, RECORD -> LivePath -> readers: DESCRIBE, SETUP, PLAY

`python -m tests.live.rtsp_server --port 8554` runs it by hand; the tests talk to it through `rtsp_control.RtspServer`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import re
import secrets
import socket
import sys
from collections.abc import Callable
from typing import cast

import msgspec

from tests.live.child import say
from tests.live.rtsp_control import Await, Drop, Fault, Garbage, Listen, NumberedOrder, Order, Protect, Reply
from tests.live.rtsp_paths import DatagramWay, InterleavedWay, LivePath, Reader, Way
from tests.live.rtsp_protocol import Guard, Packet, ProtocolError, Request, Role, answer, controls_of, read_item

HOST = "127.0.0.1"
METHODS = "OPTIONS, ANNOUNCE, DESCRIBE, SETUP, RECORD, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN"
MOST_WAITING = 2**20
"""Bytes that may wait for a slow reader before it is cut off."""
_PORT_TRIES = 50
_SEND_BUFFER = 2**18
"""Of the kernel, so that a stuck reader shows after a second or two of video."""


class Answered(Exception):  # noqa: N818
    """A request ends with another status than 200."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.headers = status, headers


class _Receiver(asyncio.DatagramProtocol):
    """A UDP port at which packets of a publisher arrive."""

    def __init__(self, on_packet: Callable[[bytes], None]) -> None:
        self._on_packet = on_packet

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._on_packet(data)


class Connection:
    """One client, publisher or reader, from its first request to its end."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._stream = server, reader
        self._transport = cast(asyncio.Transport, writer.transport)
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._session = secrets.token_hex(8)
        self._path: LivePath | None = None
        self._announced: str | None = None
        self._tracks: dict[int, int] = {}
        self._ways: dict[int, Way] = {}
        self._ports: list[asyncio.DatagramTransport] = []
        self._player: Reader | None = None
        self._is_recording = False

    async def run(self) -> None:
        try:
            while (item := await read_item(self._stream)) is not None:
                if isinstance(item, Request):
                    self._path = self._path or self._server.find(item.path)
                if self._path is not None:
                    await self._path.gate.wait()
                if isinstance(item, Request):
                    self._transport.write(await self._answer(item))
                    if item.method == "TEARDOWN":
                        break
                    self._start(item.method)
                elif self._is_recording and self._path is not None and item.channel & ~1 in self._tracks:
                    self._receive(item)
        except ProtocolError:
            pass
        finally:
            self._end()

    def close(self) -> None:
        self._transport.abort()

    def _receive(self, packet: Packet) -> None:
        assert self._path is not None
        self._path.forward(self._tracks[packet.channel & ~1], packet.payload, bool(packet.channel & 1))

    async def _answer(self, request: Request) -> bytes:
        try:
            headers, body = await self._handle(request)
        except Answered as answered:
            return answer(request, answered.status, answered.headers)
        except ProtocolError:
            return answer(request, 400)
        return answer(request, 200, headers, body)

    async def _handle(self, request: Request) -> tuple[dict[str, str], bytes]:
        """The headers and body of the answer to a request. Raises Answered for every other status than 200."""
        session = {"Session": f"{self._session};timeout=60"}
        match request.method:
            case "OPTIONS":
                return {"Public": METHODS}, b""
            case "GET_PARAMETER" | "SET_PARAMETER" | "TEARDOWN":
                return session, b""
            case "ANNOUNCE":
                self._admit("publish", request)
                self._announced = request.body.decode(errors="replace")
                controls_of(self._announced)
                self._path = self._server.path(request.path)
                return {}, b""
            case "DESCRIBE":
                self._admit("read", request)
                self._path = self._live(request.path)
                base = request.url.rstrip("/") + "/"
                return {"Content-Base": base, "Content-Type": "application/sdp"}, self._path.sdp.encode()
            case "SETUP":
                self._admit("publish" if self._announced is not None else "read", request)
                return {**session, "Transport": await self._set_up(request)}, b""
            case "RECORD":
                if self._announced is None or self._path is None or not (self._tracks or self._ports):
                    raise Answered(455)
                return session, b""
            case "PLAY" | "PAUSE":
                if not self._ways or self._path is None or not self._path.is_live:
                    raise Answered(455)
                return session, b""
        raise Answered(501)

    def _admit(self, role: Role, request: Request) -> None:
        if not self._server.guard.admits(role, request):
            raise Answered(401, self._server.guard.challenge)

    def _live(self, name: str) -> LivePath:
        path = self._server.find(name)
        if path is None or not path.is_live:
            raise Answered(404)
        return path

    async def _set_up(self, request: Request) -> str:
        """Prepare one track, and say how."""
        path = self._path or self._live(request.path.rpartition("/")[0])
        self._path = path
        controls = controls_of(self._announced) if self._announced is not None else path.controls
        control = request.path.rpartition("/")[2]
        if control not in controls:
            raise Answered(404)
        track = controls.index(control)
        for transport in request.headers.get("transport", "").split(","):
            if "RTP/AVP/TCP" in transport:
                return self._set_up_interleaved(track, transport)
            if ports := re.search(r"client_port=(\d+)-(\d+)", transport):
                return await self._set_up_datagrams(track, path, int(ports[1]), int(ports[2]))
        raise Answered(461)

    def _set_up_interleaved(self, track: int, wanted: str) -> str:
        channels = re.search(r"interleaved=(\d+)", wanted)
        channel = int(channels[1]) if channels else 2 * track
        if self._announced is not None:
            self._tracks[channel] = track
        else:
            self._ways[track] = InterleavedWay(self._transport, channel, MOST_WAITING)
        return f"RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}"

    async def _set_up_datagrams(self, track: int, path: LivePath, rtp: int, rtcp: int) -> str:
        pair = []
        for is_control, (ours, theirs) in enumerate(zip(_port_pair(), (rtp, rtcp), strict=True)):
            receive = functools.partial(self._receive_datagram, path, track, bool(is_control))
            ours.connect((HOST, theirs))
            protocol = functools.partial(_Receiver, receive)
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(protocol, sock=ours)
            pair.append(transport)
        self._ports += pair
        if self._announced is None:
            self._ways[track] = DatagramWay((pair[0], pair[1]))
        ports = "-".join(str(port.get_extra_info("sockname")[1]) for port in pair)
        return f"RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={ports}"

    def _receive_datagram(self, path: LivePath, track: int, is_control: bool, payload: bytes) -> None:
        """What a reader says of its reception is of no interest."""
        if self._is_recording and path.gate.is_set():
            path.forward(track, payload, is_control)

    def _start(self, method: str) -> None:
        """What begins with a request, once its answer is on its way."""
        if self._path is None:
            return
        if method == "RECORD" and self._announced is not None and not self._is_recording:
            self._is_recording = True
            self._path.publish(self._transport, self._announced)
        elif method == "PLAY" and self._ways and self._player is None:
            self._player = Reader(self._transport, self._ways)
            self._path.play(self._player)
        elif method == "PAUSE" and self._player is not None:
            self._path.leave(self._player)
            self._player = None

    def _end(self) -> None:
        for port in self._ports:
            port.close()
        if self._path is not None:
            self._path.unpublish(self._transport)
            if self._player is not None:
                self._path.leave(self._player)
        self._transport.close()


def _port_pair() -> tuple[socket.socket, socket.socket]:
    """Free ports for RTP and, as FFmpeg expects whatever it is told, for RTCP the next one."""
    for _ in range(_PORT_TRIES):
        first, second = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        first.bind((HOST, 0))
        try:
            second.bind((HOST, first.getsockname()[1] + 1))
        except OSError:
            first.close()
            second.close()
        else:
            return first, second
    raise ProtocolError("no two free ports beside each other")


class Server:
    """All paths and connections, and what the test orders."""

    def __init__(self) -> None:
        self.guard = Guard()
        self._paths: dict[str, LivePath] = {}
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._changed = asyncio.Event()

    @property
    def port(self) -> int | None:
        return self._listener.sockets[0].getsockname()[1] if self._listener is not None else None

    def path(self, name: str) -> LivePath:
        """The path of a name, a new one where there is none."""
        return self._paths.setdefault(name, LivePath(self._changed.set))

    def find(self, name: str) -> LivePath | None:
        return self._paths.get(name)

    async def listen(self, port: int) -> None:
        """Take connections at a port of 127.0.0.1; 0 for any free one. Raises OSError."""
        self._listener = await asyncio.start_server(self._connect, HOST, port)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def obey(self, orders: asyncio.StreamReader) -> None:
        """Carry out what the test orders, until it has gone."""
        decoder = msgspec.json.Decoder(NumberedOrder)
        while line := await orders.readline():
            numbered = decoder.decode(line)
            is_met = await self._carry_out(numbered.order)
            states = {name: path.state for name, path in self._paths.items()}
            say(Reply(number=numbered.number, port=self.port, paths=states, is_met=is_met))

    async def _carry_out(self, order: Order) -> bool:
        match order:
            case Listen(port=int(port)) if self._listener is None:
                await self.listen(port)
            case Listen(port=None) if self._listener is not None:
                self._listener.close()
                self._listener = None
                for connection in list(self._connections):
                    connection.close()
            case Protect(users=users, scheme=scheme):
                self.guard = Guard(users=users, scheme=scheme)
            case Fault(path=name):
                self.path(name).suffer(order)
            case Garbage(path=name, size=size, packets=packets):
                self.path(name).send_garbage(size)
                self.path(name).send_junk(packets)
            case Drop(path=name, who="publisher"):
                self.path(name).close_publisher()
            case Drop(path=name, who="readers"):
                self.path(name).close_readers()
            case Await():
                return await self._await(order)
        return True

    async def _await(self, order: Await) -> bool:
        path = self.path(order.path)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(order.deadline_s):
                while not _is_met(order, path):
                    self._changed.clear()
                    await self._changed.wait()
        return _is_met(order, path)


def _is_met(order: Await, path: LivePath) -> bool:
    state = path.state
    as_live = order.is_live is None or state.is_live == order.is_live
    return as_live and state.readers >= order.readers and state.slow_readers_cut >= order.slow_readers_cut


async def _run_for_test() -> None:
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    await Server().obey(orders)


async def _run_by_hand(port: int) -> None:
    server = Server()
    await server.listen(port)
    print(f"rtsp://{HOST}:{server.port}/", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """With a port by hand, without one at the orders of a test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, help="listen at this port (0: any free one) and print the address")
    port = parser.parse_args().port
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run_for_test() if port is None else _run_by_hand(port))


if __name__ == "__main__":
    main()

"""A real RTSP server for the tests: starting it, breaking it in every way, waiting for what happens in it.

test -> RtspServer -> orders, a line each -> rtsp_server (a process) -> Reply
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import quote

import msgspec

from tests.live.child import Child
from tests.live.rtsp_protocol import Role, Scheme

START_S = 30.0
ANSWER_S = 10.0
PATH_S = 30.0


class Listen(msgspec.Struct, tag="listen", frozen=True, kw_only=True):
    """Be reachable at the port (0: any free one), or with None refuse new connections and cut those that are there."""

    port: int | None


class Protect(msgspec.Struct, tag="protect", frozen=True, kw_only=True):
    """Ask for a name and a password from now on."""

    users: dict[Role, tuple[str, str]]
    scheme: Scheme


class Fault(msgspec.Struct, tag="fault", frozen=True, kw_only=True):
    """What happens to a path from now on, until another fault is ordered.

    freeze: the publisher's packets are thrown away, every connection lives and answers.
    black hole: nothing is read or answered any more on any connection of this path, so that publishers hang in their writes.
    lose_every, damage_every: every how many packets of pictures one is lost, or holds noise; 0 for none.
    """

    path: str
    kind: Literal["none", "freeze", "black hole"] = "none"
    lose_every: int = 0
    damage_every: int = 0


class Garbage(msgspec.Struct, tag="garbage", frozen=True, kw_only=True):
    """Send the readers of a path noise: raw bytes that break the connection's framing, and packets that do not."""

    path: str
    size: int = 0
    packets: int = 0


class Drop(msgspec.Struct, tag="drop", frozen=True, kw_only=True):
    """Cut connections of a path."""

    path: str
    who: Literal["publisher", "readers"]


class Await(msgspec.Struct, tag="await", frozen=True, kw_only=True):
    """Answer when a path is as wanted, or when the time is over.

    is_live: None where it does not matter. readers, slow_readers_cut: at least so many.
    """

    path: str
    is_live: bool | None = None
    readers: int = 0
    slow_readers_cut: int = 0
    deadline_s: float = 0.0


Order = Listen | Protect | Fault | Garbage | Drop | Await


class NumberedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """number: comes back with the reply."""

    number: int
    order: Order


class PathState(msgspec.Struct, frozen=True, kw_only=True):
    """packets, bytes: of pictures, from the publisher."""

    is_live: bool
    readers: int
    packets: int
    bytes: int
    slow_readers_cut: int


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The server after an order. port: None while it refuses connections. is_met: what was waited for has come."""

    number: int
    port: int | None
    paths: dict[str, PathState]
    is_met: bool = True


_NOBODY = PathState(is_live=False, readers=0, packets=0, bytes=0, slow_readers_cut=0)


@dataclass(frozen=True, kw_only=True)
class Passwords:
    """Names and passwords; None where everybody may."""

    publish: tuple[str, str] | None = None
    read: tuple[str, str] | None = None
    scheme: Scheme = "digest"


class RtspServer:
    """The server as a process, at a free port of 127.0.0.1; a context manager."""

    def __init__(self, passwords: Passwords | None = None) -> None:
        self._passwords = passwords or Passwords()
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._orders = 0
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it, again at the same port where it ran before."""
        self.close()
        self._child = Child("tests.live.rtsp_server", self._answers.put)
        # Not before passwords are asked for can anybody come in.
        users: dict[Role, tuple[str, str]] = {}
        if self._passwords.publish is not None:
            users["publish"] = self._passwords.publish
        if self._passwords.read is not None:
            users["read"] = self._passwords.read
        self.order(Protect(users=users, scheme=self._passwords.scheme), START_S)
        self.accept()

    def close(self) -> None:
        if self._child is not None:
            self._child.close()

    kill = close

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def _process(self) -> Child:
        assert self._child is not None, "the server has not been started"
        return self._child

    def pause(self) -> None:
        """SIGSTOP: connections stay open and new ones are taken by the kernel, but nothing is read or answered."""
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def url(self, path: str, user: tuple[str, str] | None = None) -> str:
        """user: name and password in the address."""
        credentials = f"{quote(user[0], safe='')}:{quote(user[1], safe='')}@" if user is not None else ""
        return f"rtsp://{credentials}127.0.0.1:{self.port}/{path}"

    def publish_url(self, path: str) -> str:
        """With the password that the server wants."""
        return self.url(path, self._passwords.publish)

    def read_url(self, path: str) -> str:
        """With the password that the server wants."""
        return self.url(path, self._passwords.read)

    def order(self, order: Order, deadline_s: float = ANSWER_S) -> Reply:
        """Raises TimeoutError where the server is silent, as when it is paused."""
        with self._lock:
            self._orders += 1
            self._process.send(NumberedOrder(number=self._orders, order=order))
            end = time.monotonic() + deadline_s
            with contextlib.suppress(queue.Empty):
                while True:
                    reply = msgspec.json.decode(self._answers.get(timeout=max(end - time.monotonic(), 0)), type=Reply)
                    # Others came too late for an order before this one.
                    if reply.number == self._orders:
                        return reply
            raise TimeoutError(f"the RTSP server did not answer {type(order).__name__} in {deadline_s} s")

    def accept(self) -> None:
        """Take connections, at the port where it did before."""
        self.port = self.order(Listen(port=self.port)).port or 0

    def refuse(self) -> None:
        """Nobody can connect (ConnectionRefused), and whoever was is cut off."""
        self.order(Listen(port=None))

    def freeze(self, path: str) -> None:
        self.order(Fault(path=path, kind="freeze"))

    def black_hole(self, path: str) -> None:
        self.order(Fault(path=path, kind="black hole"))

    def lose(self, path: str, every: int) -> None:
        self.order(Fault(path=path, lose_every=every))

    def damage(self, path: str, every: int) -> None:
        self.order(Fault(path=path, damage_every=every))

    def heal(self, path: str) -> None:
        """End every fault of a path."""
        self.order(Fault(path=path))

    def send_garbage(self, path: str, size: int = 4096) -> None:
        self.order(Garbage(path=path, size=size))

    def send_junk_packets(self, path: str, count: int = 20) -> None:
        self.order(Garbage(path=path, packets=count))

    def drop_publisher(self, path: str) -> None:
        self.order(Drop(path=path, who="publisher"))

    def drop_readers(self, path: str) -> None:
        self.order(Drop(path=path, who="readers"))

    def state(self, path: str) -> PathState:
        return self.order(Await(path=path)).paths.get(path, _NOBODY)

    def wait_for(
        self,
        path: str,
        *,
        is_live: bool | None = None,
        readers: int = 0,
        slow_readers_cut: int = 0,
        deadline_s: float = PATH_S,
        answer_s: float = ANSWER_S,
    ) -> PathState:
        """Until a path is published, or is not, and has, or has cut off, at least so many readers.

        answer_s: how long after the deadline the server may take to say so. Raises TimeoutError.
        """
        order = Await(path=path, is_live=is_live, readers=readers, slow_readers_cut=slow_readers_cut, deadline_s=deadline_s)
        reply = self.order(order, deadline_s + answer_s)
        if not reply.is_met:
            raise TimeoutError(f"{path}: after {deadline_s} s it is {reply.paths.get(path, _NOBODY)}, wanted {order}")
        return reply.paths[path]

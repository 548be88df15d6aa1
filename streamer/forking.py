"""The other end of `forkserver.py`: imports what every child needs, then forks one for each request."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import socket
import time
from collections.abc import Sequence

import msgspec

from streamer import process
from streamer.forkserver import LONGEST_REQUEST, MOST_DESCRIPTORS, PING, PONG, READY, ChildStart
from streamer.pipeline import IMAGE_PIPELINE, LIVE_PIPELINE, VIDEO_PIPELINE, ProcessRow

_ADOPTION_LIMIT_S = 10.0

PIPELINES: dict[str, tuple[ProcessRow, ...]] = {"files": (*VIDEO_PIPELINE, *IMAGE_PIPELINE), "live": LIVE_PIPELINE}


def main() -> int:
    """Serves until the other end is closed; in a child, returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m streamer.forking")
    parser.add_argument("--socket", required=True, type=int, metavar="DESCRIPTOR")
    parser.add_argument("--parent", required=True, type=int, metavar="PID")
    parser.add_argument("--for", required=True, choices=PIPELINES, dest="pipelines")
    arguments = parser.parse_args()
    process.die_with_parent(arguments.parent)
    process.show_name("forkserver")
    requests = socket.socket(fileno=arguments.socket)
    _import_all(PIPELINES[arguments.pipelines])
    _say(requests, READY)
    while True:
        payload, descriptors, _, _ = socket.recv_fds(requests, LONGEST_REQUEST, MOST_DESCRIPTORS)
        if not payload:
            return 0
        if payload == PING:
            _say(requests, PONG)
            continue
        pid = _fork_orphan()
        if pid is None:
            requests.close()
            return _be_child(payload, descriptors)
        # Told only now, when the child has its new parent: it could be awaited at once.
        _say(requests, str(pid).encode())
        for descriptor in descriptors:
            os.close(descriptor)


def _say(requests: socket.socket, reply: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody is there any more, which the next look shows
        requests.send(reply)


def _import_all(rows: Sequence[ProcessRow]) -> None:
    """What all children need; not ONNX Runtime, whose import starts a thread, which a fork would not survive."""
    for row in rows:
        importlib.import_module(row.worker.partition(":")[0])
    # What lies here now is left alone by the collector, so that its pages stay shared with the children.
    gc.collect()
    gc.freeze()


def _fork_orphan() -> int | None:
    """As os.fork, for a child whose parent has ended: its process id, None in the child, 0 where there can be none."""
    readable, writable = os.pipe()
    between = _fork()
    if between is None:
        os.close(readable)
        child = _fork()
        if child is None:
            os.close(writable)
            return None
        os.write(writable, str(child).encode())
        os._exit(0)
    os.close(writable)
    with open(readable, "rb") as told:
        pid = int(told.read() or b"0")
    if between:
        os.waitpid(between, 0)
    return pid


def _fork() -> int | None:
    """The process id of the child, None in the child, 0 where there can be none."""
    try:
        return os.fork() or None
    except OSError:
        return 0


def _be_child(payload: bytes, descriptors: Sequence[int]) -> int:
    start = msgspec.msgpack.decode(payload, type=ChildStart)
    heartbeat, *rings = descriptors
    start = msgspec.structs.replace(start, heartbeat=heartbeat, rings=dict(zip(start.rings, rings, strict=True)))
    first, deadline_s = os.getppid(), time.monotonic() + _ADOPTION_LIMIT_S
    while os.getppid() == first != start.parent and time.monotonic() < deadline_s:
        time.sleep(0.0005)
    return process.run(start)


if __name__ == "__main__":
    raise SystemExit(main())

"""Rings of picture slots in anonymous shared memory: who may write, and how a reader knows what lies in a slot."""

from __future__ import annotations

import enum
import fcntl
import mmap
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.pictures import PictureLayout, Plane

Access = Literal["read", "write"]

HEADER_BYTES = 64
_HEADER_FIELDS = 4  # int64: stream, number, generation, state
_SLOT_ALIGNMENT = mmap.PAGESIZE
_ARRIVAL_LIMIT_S = 5.0
"""A descriptor is sent before the message that speaks of it."""


class SlotState(enum.IntEnum):
    """What a slot holds; the writer sets it last."""

    EMPTY = 0
    BEING_WRITTEN = 1
    RAW = 2
    """A decoded picture, faces and all."""
    SAFE = 3
    """A picture whose faces are covered."""


class SlotMismatchError(Exception):
    """A slot does not hold the picture that a message promised."""


class FrameKey(Protocol):
    """What a picture in a slot is known by; every message about a slot has these."""

    @property
    def stream(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def slot(self) -> int: ...
    @property
    def generation(self) -> int: ...


def slot_bytes(layout: PictureLayout) -> int:
    """Bytes of a slot: header and picture, rounded up to whole memory pages."""
    return -(-(HEADER_BYTES + layout.nbytes) // _SLOT_ALIGNMENT) * _SLOT_ALIGNMENT


class RingMemory:
    """The shared memory of a ring, owned by the supervisor, which itself never looks into it.

    It has no name: it is gone with the last process that holds a descriptor. Its size is fixed once, by `resize`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._writable = os.memfd_create(f"veil-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._readable = os.open(f"/proc/self/fd/{self._writable}", os.O_RDONLY | os.O_CLOEXEC)

    def resize(self, layout: PictureLayout, slots: int) -> None:
        """Make room for `slots` pictures; afterwards nobody can change the size under a process that has mapped it."""
        os.ftruncate(self._writable, slots * slot_bytes(layout))
        fcntl.fcntl(self._writable, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)

    def descriptor(self, access: Access) -> int:
        """The file descriptor for a process with these rights."""
        return self._writable if access == "write" else self._readable

    def close(self) -> None:
        os.close(self._writable)
        os.close(self._readable)


class RingEnd(Protocol):
    """A child's end of a ring, to be mapped once the layout of the stream is known."""

    def reader(self, layout: PictureLayout, slots: int, state: SlotState) -> RingReader: ...
    def writer(self, layout: PictureLayout, slots: int, state: SlotState) -> RingWriter: ...


class RingHandle:
    """The end of the one ring that a process has from its start on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def reader(self, layout: PictureLayout, slots: int, state: SlotState) -> RingReader:
        return RingReader(self._descriptor, layout, slots, state)

    def writer(self, layout: PictureLayout, slots: int, state: SlotState) -> RingWriter:
        return RingWriter(self._descriptor, layout, slots, state)


class RingInbox:
    """The ends of the rings that a process is handed one after another, one with each session: each call maps the next."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.settimeout(_ARRIVAL_LIMIT_S)

    def reader(self, layout: PictureLayout, slots: int, state: SlotState) -> RingReader:
        with self._next() as descriptor:
            return RingReader(descriptor, layout, slots, state)

    def writer(self, layout: PictureLayout, slots: int, state: SlotState) -> RingWriter:
        with self._next() as descriptor:
            return RingWriter(descriptor, layout, slots, state)

    def close(self) -> None:
        self._socket.close()

    @contextmanager
    def _next(self) -> Iterator[int]:
        _, (descriptor,), _, _ = socket.recv_fds(self._socket, 1, 1)
        try:
            yield descriptor
        finally:
            os.close(descriptor)  # what is mapped stays


class RingOutbox:
    """The supervisor's side of a `RingInbox`."""

    def __init__(self) -> None:
        self._socket, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)

    @property
    def inbox(self) -> int:
        """The descriptor for the child."""
        return self._theirs.fileno()

    def hand_over(self, ring: RingMemory, access: Access) -> None:
        """Raises OSError where the child is gone or takes nothing."""
        socket.send_fds(self._socket, [b"r"], [ring.descriptor(access)])

    def started(self) -> None:
        """The child has its end; so that this side notices when it is gone."""
        self._theirs.close()

    def close(self) -> None:
        self._theirs.close()
        self._socket.close()


class _Slots:
    """Headers and planes of all slots of a mapped ring."""

    def __init__(self, descriptor: int, layout: PictureLayout, slots: int, protection: int) -> None:
        self._mapped = mmap.mmap(descriptor, slots * slot_bytes(layout), flags=mmap.MAP_SHARED, prot=protection)
        self.headers: list[NDArray[np.int64]] = []
        self.planes: list[tuple[Plane, ...]] = []
        for start in range(0, slots * slot_bytes(layout), slot_bytes(layout)):
            self.headers.append(np.frombuffer(self._mapped, np.int64, _HEADER_FIELDS, start))
            picture = memoryview(self._mapped)[start + HEADER_BYTES : start + HEADER_BYTES + layout.nbytes]
            self.planes.append(layout.planes(picture))


class RingReader:
    """Read-only access to the pictures of a ring that are in one state."""

    def __init__(self, descriptor: int, layout: PictureLayout, slots: int, state: SlotState) -> None:
        self._slots = _Slots(descriptor, layout, slots, mmap.PROT_READ)
        self._state = state

    def planes(self, frame: FrameKey) -> tuple[Plane, ...]:
        """Views of the planes of this very frame; they cannot be written.

        Raises SlotMismatchError unless the slot's header says that it holds this frame, of this generation, in the state of the
        ring.
        """
        if not 0 <= frame.slot < len(self._slots.headers):
            raise SlotMismatchError(f"frame {frame.number}: slot {frame.slot} does not exist")
        promised = (frame.stream, frame.number, frame.generation, int(self._state))
        found = tuple(self._slots.headers[frame.slot].tolist())
        if found != promised:
            raise SlotMismatchError(
                f"frame {frame.number}: slot {frame.slot} should hold (stream, number, generation, state) {promised}, holds {found}"
            )
        return self._slots.planes[frame.slot]


class RingWriter:
    """Write access to a ring whose finished pictures are in one state."""

    def __init__(self, descriptor: int, layout: PictureLayout, slots: int, state: SlotState) -> None:
        self._slots = _Slots(descriptor, layout, slots, mmap.PROT_READ | mmap.PROT_WRITE)
        self._state = state

    @contextmanager
    def writing(self, *, stream: int, number: int, slot: int, generation: int) -> Iterator[tuple[Plane, ...]]:
        """The planes to fill; the header is completed when the block ends, and stays BEING_WRITTEN if it raises."""
        header = self._slots.headers[slot]
        header[3] = SlotState.BEING_WRITTEN
        yield self._slots.planes[slot]
        header[:3] = (stream, number, generation)
        header[3] = self._state


class SlotTable:
    """The supervisor's account of a ring: which slots are lent for writing or hold a picture, and each slot's generation."""

    def __init__(self, slots: int) -> None:
        self._generations = [1] * slots

    def initial(self) -> list[tuple[int, int]]:
        """(slot, generation) of every slot, for the first grants."""
        return list(enumerate(self._generations))

    def check(self, frame: FrameKey) -> None:
        """Raises SlotMismatchError if the frame claims a slot that does not exist or a generation that was not granted."""
        if not 0 <= frame.slot < len(self._generations) or self._generations[frame.slot] != frame.generation:
            raise SlotMismatchError(f"frame {frame.number}: slot {frame.slot} was not granted as generation {frame.generation}")

    def release(self, slot: int) -> int:
        """Take a slot back and return the generation as which it may be written next."""
        self._generations[slot] += 1
        return self._generations[slot]

"""Slots of shared memory: what a reader accepts, who may write, what remains."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from streamer.pictures import PIXEL_FORMATS, PictureLayout
from streamer.rings import (
    RingHandle,
    RingInbox,
    RingMemory,
    RingOutbox,
    RingReader,
    RingWriter,
    SlotMismatchError,
    SlotState,
    SlotTable,
)

LAYOUT = PictureLayout(width=64, height=36, pixel_format="yuv420p")
SLOTS = 3


@dataclass(frozen=True)
class Key:
    stream: int = 0
    number: int = 7
    slot: int = 1
    generation: int = 2


@pytest.fixture
def memory() -> Iterator[RingMemory]:
    ring = RingMemory("test")
    ring.resize(LAYOUT, SLOTS)
    yield ring
    ring.close()


def ends(memory: RingMemory, state: SlotState = SlotState.RAW) -> tuple[RingWriter, RingReader]:
    writer = RingHandle(memory.descriptor("write")).writer(LAYOUT, SLOTS, state)
    return writer, RingHandle(memory.descriptor("read")).reader(LAYOUT, SLOTS, state)


def fill(writer: RingWriter, key: Key, level: int) -> None:
    with writer.writing(stream=key.stream, number=key.number, slot=key.slot, generation=key.generation) as planes:
        for plane in planes:
            plane.fill(level)


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
def test_a_picture_comes_out_as_it_went_in(pixel_format: str) -> None:
    layout = PictureLayout(width=38, height=22, pixel_format=pixel_format)
    ring = RingMemory("test")
    ring.resize(layout, 2)
    writer = RingHandle(ring.descriptor("write")).writer(layout, 2, SlotState.RAW)
    reader = RingHandle(ring.descriptor("read")).reader(layout, 2, SlotState.RAW)
    random = np.random.default_rng(1)
    pictures = [[random.integers(0, 255, shape).astype(layout.dtype) for shape in layout.plane_shapes] for _ in range(2)]
    for slot, picture in enumerate(pictures):
        with writer.writing(stream=0, number=slot, slot=slot, generation=1) as planes:
            for plane, content in zip(planes, picture, strict=True):
                plane[...] = content
    for slot, picture in enumerate(pictures):
        found = reader.planes(Key(number=slot, slot=slot, generation=1))
        assert all(np.array_equal(plane, content) for plane, content in zip(found, picture, strict=True))
    ring.close()


@pytest.mark.parametrize(
    "wrong", [Key(stream=1), Key(number=8), Key(generation=1), Key(generation=3), Key(slot=0), Key(slot=SLOTS), Key(slot=-1)]
)
def test_a_reader_refuses_a_slot_that_holds_something_else(memory: RingMemory, wrong: Key) -> None:
    writer, reader = ends(memory)
    fill(writer, Key(), 50)
    assert reader.planes(Key())[0][0, 0] == 50
    with pytest.raises(SlotMismatchError, match=f"frame {wrong.number}"):
        reader.planes(wrong)


def test_a_reader_of_safe_pictures_refuses_a_raw_one(memory: RingMemory) -> None:
    writer, _ = ends(memory, SlotState.RAW)
    _, reader = ends(memory, SlotState.SAFE)
    fill(writer, Key(), 50)
    with pytest.raises(SlotMismatchError):
        reader.planes(Key())


def test_a_slot_whose_writing_failed_cannot_be_read_as_the_frame_before(memory: RingMemory) -> None:
    writer, reader = ends(memory)
    fill(writer, Key(), 50)
    with pytest.raises(RuntimeError), writer.writing(stream=0, number=8, slot=1, generation=3):
        raise RuntimeError
    for key in (Key(), Key(number=8, generation=3)):
        with pytest.raises(SlotMismatchError):
            reader.planes(key)


def test_the_header_is_written_last(memory: RingMemory) -> None:
    writer, reader = ends(memory)
    with writer.writing(stream=0, number=7, slot=1, generation=2), pytest.raises(SlotMismatchError):
        reader.planes(Key())
    reader.planes(Key())


def test_a_reader_cannot_write(memory: RingMemory) -> None:
    writer, reader = ends(memory)
    fill(writer, Key(), 50)
    with pytest.raises(ValueError, match="read-only"):
        reader.planes(Key())[0][0, 0] = 1
    with pytest.raises(PermissionError):
        RingHandle(memory.descriptor("read")).writer(LAYOUT, SLOTS, SlotState.RAW)


def test_the_size_cannot_change_under_those_who_have_mapped_it(memory: RingMemory) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(memory.descriptor("write"), 0)


def test_memory_has_no_name_and_is_gone_when_closed() -> None:
    before = len(os.listdir("/proc/self/fd"))
    ring = RingMemory("veil-test")
    ring.resize(LAYOUT, SLOTS)
    assert not [name for name in os.listdir("/dev/shm") if "veil-test" in name]
    ring.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def outbox() -> Iterator[RingOutbox]:
    box = RingOutbox()
    yield box
    box.close()


@pytest.fixture
def inbox(outbox: RingOutbox) -> Iterator[RingInbox]:
    box = RingInbox(os.dup(outbox.inbox))
    outbox.started()
    yield box
    box.close()


def test_rings_arrive_one_after_another(outbox: RingOutbox, inbox: RingInbox) -> None:
    memories = [RingMemory("test") for _ in range(3)]
    for number, memory in enumerate(memories):
        memory.resize(LAYOUT, SLOTS)
        writer, _ = ends(memory)
        fill(writer, Key(stream=number), 50 + number)
        outbox.hand_over(memory, "read")
        memory.close()
    readers = [inbox.reader(LAYOUT, SLOTS, SlotState.RAW) for _ in memories]
    assert [reader.planes(Key(stream=number))[0][0, 0] for number, reader in enumerate(readers)] == [50, 51, 52]


def test_who_is_given_a_ring_to_read_cannot_write_it(memory: RingMemory, outbox: RingOutbox, inbox: RingInbox) -> None:
    outbox.hand_over(memory, "read")
    with pytest.raises(PermissionError):
        inbox.writer(LAYOUT, SLOTS, SlotState.RAW)
    outbox.hand_over(memory, "write")
    writer = inbox.writer(LAYOUT, SLOTS, SlotState.RAW)
    fill(writer, Key(), 50)


def test_no_descriptor_is_left_of_rings_that_are_gone(outbox: RingOutbox, inbox: RingInbox) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        memory = RingMemory("test")
        memory.resize(LAYOUT, SLOTS)
        outbox.hand_over(memory, "read")
        reader = inbox.reader(LAYOUT, SLOTS, SlotState.RAW)
        del reader
        memory.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_ring_that_does_not_come_is_an_error(outbox: RingOutbox, inbox: RingInbox) -> None:
    outbox.close()
    with pytest.raises((OSError, ValueError)):
        inbox.reader(LAYOUT, SLOTS, SlotState.RAW)


def test_a_ring_that_is_too_small_for_what_was_said_is_refused(memory: RingMemory, outbox: RingOutbox, inbox: RingInbox) -> None:
    outbox.hand_over(memory, "read")
    with pytest.raises((OSError, ValueError)):
        inbox.reader(LAYOUT, 2 * SLOTS, SlotState.RAW)


def test_who_takes_no_rings_is_found_out(memory: RingMemory, outbox: RingOutbox, inbox: RingInbox) -> None:
    def hand_over_many() -> None:
        for _ in range(100_000):
            outbox.hand_over(memory, "read")

    with pytest.raises(OSError, match=r"Resource temporarily unavailable|Too many references"):
        hand_over_many()


def test_each_use_of_a_slot_has_its_own_generation() -> None:
    table = SlotTable(2)
    seen = set(table.initial())
    for slot in (0, 1, 0, 0, 1):
        grant = (slot, table.release(slot))
        assert grant not in seen
        seen.add(grant)


def test_only_the_granted_generation_of_a_slot_is_accepted() -> None:
    table = SlotTable(2)
    generation = table.release(1)
    table.check(Key(slot=1, generation=generation))
    for slot, wrong in itertools.chain([(1, generation - 1), (1, generation + 1), (0, generation), (2, 1), (-1, generation)]):
        with pytest.raises(SlotMismatchError):
            table.check(Key(slot=slot, generation=wrong))

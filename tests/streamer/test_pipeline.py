"""The table of processes against the messages."""

from __future__ import annotations

import importlib

import pytest

from streamer import messages
from streamer.messages import AnonymizedFrame, Message
from streamer.pipeline import (
    EVERY_CHILD_READS,
    EVERY_CHILD_WRITES,
    IMAGE_PIPELINE,
    SUPERVISOR_READS,
    SUPERVISOR_WRITES,
    VIDEO_PIPELINE,
    ProcessRow,
    readers,
    row_of,
)

ROWS = (*VIDEO_PIPELINE, *IMAGE_PIPELINE)
KINDS = [kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message]


def writers(kind: type[Message]) -> list[str]:
    rows = [row.role for row in ROWS if kind in row.writes]
    if kind in EVERY_CHILD_WRITES:
        rows.append("every child")
    if kind in SUPERVISOR_WRITES:
        rows.append("supervisor")
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_has_one_writer_and_at_least_one_reader(kind: type[Message]) -> None:
    assert len(writers(kind)) == 1
    assert kind in SUPERVISOR_READS or kind in EVERY_CHILD_READS or readers(ROWS, kind)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.role)
def test_each_worker_exists_and_each_role_has_one_row(row: ProcessRow) -> None:
    module, _, name = row.worker.partition(":")
    assert callable(getattr(importlib.import_module(module), name).process)
    assert row_of(row.role) is row


def test_the_sink_hears_of_pictures_only_when_they_are_safe_and_cannot_map_the_raw_ring() -> None:
    sink = row_of("sink")
    about_pictures = [kind for kind in sink.reads if "slot" in kind.__struct_fields__]
    assert about_pictures == [AnonymizedFrame]
    assert set(sink.rings) == {"safe"}


def test_each_ring_has_one_writer() -> None:
    for ring in ("raw", "safe"):
        assert len([row for row in ROWS if row.rings.get(ring) == "write"]) == 1


def test_only_processes_that_hold_no_state_are_restarted() -> None:
    assert {row.role for row in ROWS if row.restart_limit is not None} == {"detector", "image"}
    assert {row.role for row in ROWS if row.by_credit is not None} == {"detector", "image"}

"""The tables of processes against the messages."""

from __future__ import annotations

import importlib

import pytest

from streamer import messages
from streamer.live import messages as live_messages
from streamer.live.messages import EncodedPacket, EncodingOpened, Preview
from streamer.messages import AnonymizedFrame, DetectedFrame, Message, RawFrame, UndetectedFrame
from streamer.pipeline import (
    EVERY_CHILD_READS,
    EVERY_CHILD_WRITES,
    IMAGE_PIPELINE,
    LIVE_PIPELINE,
    SUPERVISOR_READS,
    SUPERVISOR_WRITES,
    VIDEO_PIPELINE,
    ProcessRow,
    readers,
    row_of,
)

FILES = (*VIDEO_PIPELINE, *IMAGE_PIPELINE)
TABLES = {"files": FILES, "live": LIVE_PIPELINE}
ROWS = (*FILES, *LIVE_PIPELINE)


def kinds_in(module: object) -> list[type[Message]]:
    """The messages that are defined there."""
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Message)]
    return [kind for kind in kinds if kind is not Message and kind.__module__ == getattr(module, "__name__", "")]


def is_used(table: tuple[ProcessRow, ...], kind: type[Message]) -> bool:
    """By a row of its own, not only by the supervisor or by every child."""
    return any(kind in (*row.reads, *row.writes) for row in table)


USES = [
    (name, kind) for name, table in TABLES.items() for kind in kinds_in(messages) + kinds_in(live_messages) if is_used(table, kind)
]


def writers(table: tuple[ProcessRow, ...], kind: type[Message]) -> list[str]:
    rows = [row.role for row in table if kind in row.writes]
    if kind in EVERY_CHILD_WRITES:
        rows.append("every child")
    if kind in SUPERVISOR_WRITES:
        rows.append("supervisor")
    return rows


@pytest.mark.parametrize(("name", "kind"), USES, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_every_message_has_one_writer_and_at_least_one_reader(name: str, kind: type[Message]) -> None:
    table = TABLES[name]
    assert len(writers(table, kind)) == 1
    assert kind in SUPERVISOR_READS or readers(table, kind)


@pytest.mark.parametrize("kind", kinds_in(messages) + kinds_in(live_messages))
def test_every_message_is_used_by_a_table_or_by_all(kind: type[Message]) -> None:
    assert any(is_used(table, kind) for table in TABLES.values()) or kind in EVERY_CHILD_READS or kind in EVERY_CHILD_WRITES


@pytest.mark.parametrize("kind", kinds_in(live_messages))
def test_the_messages_of_live_streams_are_no_business_of_files(kind: type[Message]) -> None:
    assert not is_used(FILES, kind)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.role)
def test_each_worker_exists_and_each_role_has_one_row(row: ProcessRow) -> None:
    module, _, name = row.worker.partition(":")
    worker = getattr(importlib.import_module(module), name)
    assert callable(worker.process)
    assert hasattr(worker, "step") == row.steps
    assert row_of(row.role) is row


@pytest.mark.parametrize("role", ["sink", "live-sink"])
def test_a_sink_hears_of_pictures_only_when_they_are_safe_and_cannot_map_the_raw_ring(role: str) -> None:
    sink = row_of(role)
    about_pictures = [kind for kind in sink.reads if "slot" in kind.__struct_fields__ or "frame" in kind.__struct_fields__]
    assert about_pictures == [AnonymizedFrame]
    assert dict(sink.rings) == {"safe": "read"}


def test_a_publisher_has_no_ring_and_gets_pictures_only_from_the_sink() -> None:
    publisher = row_of("publisher")
    assert dict(publisher.rings) == {}
    assert not {AnonymizedFrame, RawFrame, DetectedFrame, UndetectedFrame} & set(publisher.reads)
    for kind in (EncodingOpened, EncodedPacket):
        assert kind in publisher.reads
        assert writers(LIVE_PIPELINE, kind) == ["live-sink"]


def test_the_web_server_has_no_ring_and_gets_pictures_only_from_the_sink() -> None:
    web = row_of("web")
    assert dict(web.rings) == {}
    assert Preview in web.reads
    assert writers(LIVE_PIPELINE, Preview) == ["live-sink"]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_each_ring_has_one_writer_and_only_an_anonymizer_knows_both(table: tuple[ProcessRow, ...]) -> None:
    for ring in ("raw", "safe"):
        assert len([row for row in table if row.rings.get(ring) == "write"]) == 1
    (both,) = [row for row in table if len(row.rings) == 2]
    assert both.role.endswith("anonymizer")
    assert dict(both.rings) == {"raw": "read", "safe": "write"}


def test_only_processes_of_files_that_hold_no_state_are_restarted() -> None:
    assert {row.role for row in FILES if row.restart_limit is not None} == {"detector", "image"}
    assert {row.role for row in FILES if row.by_credit is not None} == {"detector", "image"}


def test_every_process_of_a_camera_belongs_to_the_daemon() -> None:
    """Which restarts it by its own limits."""
    assert all(row.is_live and row.restart_limit is None for row in LIVE_PIPELINE)
    assert not any(row.is_live for row in FILES)

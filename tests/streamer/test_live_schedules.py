"""When zones count."""

from __future__ import annotations

from datetime import datetime

import pytest

from streamer.live.schedules import ScheduleError, is_scheduled, parse_span

MONDAY, SATURDAY = "2026-11-23", "2026-11-28"


@pytest.mark.parametrize(
    ("text", "at", "is_covered"),
    [
        ("mon-fri 08:00-18:00", f"{MONDAY} 08:00", True),
        ("mon-fri 08:00-18:00", f"{MONDAY} 17:59:59", True),
        ("mon-fri 08:00-18:00", f"{MONDAY} 18:00", False),
        ("mon-fri 08:00-18:00", f"{SATURDAY} 12:00", False),
        ("sat,sun", f"{SATURDAY} 00:00", True),
        ("sat,sun", "2026-11-29 23:59:59", True),
        ("sat,sun", f"{MONDAY} 00:00", False),
        ("22:00-06:00", f"{MONDAY} 23:00", True),
        ("22:00-06:00", f"{MONDAY} 05:59", True),
        ("22:00-06:00", f"{MONDAY} 06:00", False),
        ("sat 22:00-06:00", "2026-11-29 05:00", True),
        ("sat 22:00-06:00", f"{SATURDAY} 05:00", False),
        ("fri-mon 10:00-11:00", f"{MONDAY} 10:30", True),
        ("fri-mon 10:00-11:00", "2026-11-24 10:30", False),
        ("Mon 8:00 - 24:00", f"{MONDAY} 23:59", True),
        ("mon 00:00-24:00", "2026-11-24 00:00", False),
    ],
)
def test_a_span_covers_its_days_and_times(text: str, at: str, is_covered: bool) -> None:
    assert parse_span(text).covers(datetime.fromisoformat(at)) == is_covered


def test_without_any_span_it_is_always() -> None:
    at = datetime.fromisoformat(f"{MONDAY} 12:00")
    assert is_scheduled([], at)
    assert is_scheduled([parse_span("sat"), parse_span("mon")], at)
    assert not is_scheduled([parse_span("sat")], at)


@pytest.mark.parametrize("text", ["", "always", "mon-", "mon-fri-sun", "8-18", "24:01-25:00", "mon 12:60-13:00", "monday", "08:00"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError, match=r"must be days, times or both"):
        parse_span(text)

"""When a zone counts: texts such as `mon-fri 08:00-18:00`, in local time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"(?:(?P<days>[a-z,\- ]+?)\s+)?(?P<start>\d{1,2}:\d\d)\s*-\s*(?P<end>\d{1,2}:\d\d)|(?P<only_days>[a-z,\- ]+)")
_MUST = "must be days, times or both, as in 'mon-fri 08:00-18:00', 'sat,sun' or '22:00-06:00'"


class ScheduleError(ValueError):
    """The text is no schedule; the message is the rest of a sentence that begins with its key."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span of time that returns every week."""

    days: frozenset[int]
    """On which it begins; 0 is Monday."""
    start: time
    end: time
    """Where it is not after the start, it is that of the next day; 00:00 to 00:00 is a whole day."""

    def covers(self, at: datetime) -> bool:
        """at: local time."""
        if self.start < self.end:
            return at.weekday() in self.days and self.start <= at.time() < self.end
        yesterday = (at - timedelta(days=1)).weekday()
        return (at.weekday() in self.days and at.time() >= self.start) or (yesterday in self.days and at.time() < self.end)


def parse_span(text: str) -> Span:
    """Raises ScheduleError."""
    found = _FORM.fullmatch(text.strip().lower())
    if found is None:
        raise ScheduleError(f"{_MUST}, is {text}")
    days = _days(found["days"] or found["only_days"] or "mon-sun", text)
    return Span(days=days, start=_time(found["start"] or "00:00", text), end=_time(found["end"] or "00:00", text))


def is_scheduled(spans: Iterable[Span], at: datetime) -> bool:
    """Whether any span covers this local time; always where there is none."""
    spans = list(spans)
    return not spans or any(span.covers(at) for span in spans)


def _days(text: str, whole: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        ends = [first, last if dash else first]
        if not set(ends) <= set(DAYS):
            raise ScheduleError(f"{_MUST}; days are {', '.join(DAYS)}; is {whole}")
        begin, end = map(DAYS.index, ends)
        days |= {day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)}
    return frozenset(days)


def _time(text: str, whole: str) -> time:
    hour, minute = map(int, text.split(":"))
    if (hour, minute) == (24, 0):
        return time(0)
    if hour > 23 or minute > 59:
        raise ScheduleError(f"{_MUST}; {text} is no time of day; is {whole}")
    return time(hour, minute)

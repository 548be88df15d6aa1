"""What the user sees while files are worked on: bars in a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from streamer.escaping import printable
from streamer.messages import FrameReport

LINE_EVERY_S = 5.0
"""Between two plain lines about one file."""
DRAW_EVERY_S = 0.1
"""Between two drawings of the bars."""


@dataclass(kw_only=True)
class Tally:
    """How far something is: frames so far, of how many, and whose faces."""

    frames_estimated: int | None
    """None where the container does not say."""
    frames: int = 0
    first_s: float = 0.0
    """When the first frame was done; the start of the processes before it says nothing about the speed."""
    tracks: set[int] = field(default_factory=set)

    def add(self, now_s: float, tracks: Iterable[int] = ()) -> None:
        """One more frame is done."""
        if not self.frames:
            self.first_s = now_s
        self.frames += 1
        self.tracks.update(tracks)

    def fps(self, now_s: float) -> float:
        """0 while there is nothing to measure."""
        return (self.frames - 1) / (now_s - self.first_s) if self.frames > 1 and now_s > self.first_s else 0.0

    def left_s(self, now_s: float) -> float | None:
        """Seconds that the rest will take at the speed so far; None where nothing can be said."""
        fps = self.fps(now_s)
        return None if self.frames_estimated is None or not fps else max(self.frames_estimated - self.frames, 0) / fps

    def text(self, now_s: float) -> str:
        """`120/300 frames, 24.1 fps, 3 faces, 0:07 left`."""
        of = f"/{self.frames_estimated}" if self.frames_estimated else ""
        parts = [f"{self.frames}{of} frames", f"{self.fps(now_s):.1f} fps", count_of(len(self.tracks), "face")]
        left_s = self.left_s(now_s)
        return ", ".join(parts if left_s is None else [*parts, f"{clock(left_s)} left"])


def count_of(count: int, noun: str) -> str:
    """`1 face`, `2 faces`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def clock(seconds: float) -> str:
    """`0:07`, `12:40`, `1:02:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class ProgressView(Protocol):
    """What a batch tells while it runs."""

    def start_file(self, name: str, frames_estimated: int | None) -> None:
        """The next file; a picture is one frame, None means that nobody knows how many."""
        ...

    def frame(self, report: FrameReport) -> None:
        """A frame of the file is done."""
        ...

    def end_file(self, line: str | None) -> None:
        """The file is over; the line says how it went, None where somebody else says it."""
        ...


@contextmanager
def show_progress(
    *, files: int, frames_estimated: int | None, is_quiet: bool = False, console: Console | None = None
) -> Iterator[ProgressView]:
    """The view that fits where stderr goes; leaves the terminal as it was found.

    files, frames_estimated: of the whole batch; the estimate is None where that of any file is unknown.
    """
    console = console or Console(stderr=True, highlight=False)
    if is_quiet:
        yield Silence()
    elif not console.is_terminal:
        yield Lines(console, files)
    else:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[facts]}"))
        # Drawn by `frame`, not by a thread of rich: no thread may hold a lock while processes are started.
        with Progress(*columns, console=console, auto_refresh=False, redirect_stdout=False, transient=True) as bars:
            yield Bars(bars, files, frames_estimated)


def _tracks(report: FrameReport) -> Iterable[int]:
    return (cover.track for cover in report.covers)


class Silence:
    """Shows nothing; satisfies ProgressView."""

    def start_file(self, name: str, frames_estimated: int | None) -> None:
        pass

    def frame(self, report: FrameReport) -> None:
        pass

    def end_file(self, line: str | None) -> None:
        pass


class Lines:
    """A line now and then, for logs; satisfies ProgressView."""

    def __init__(self, console: Console, files: int) -> None:
        self._console, self._files, self._number = console, files, 0

    def start_file(self, name: str, frames_estimated: int | None) -> None:
        self._number += 1
        # The first frame says at once that it works.
        self._name, self._said_s = printable(name), -LINE_EVERY_S
        self._tally = Tally(frames_estimated=frames_estimated)

    def frame(self, report: FrameReport) -> None:
        now_s = time.monotonic()
        self._tally.add(now_s, _tracks(report))
        if now_s - self._said_s >= LINE_EVERY_S:
            self._said_s = now_s
            self._print(f"{self._name}: {self._tally.text(now_s)}")

    def end_file(self, line: str | None) -> None:
        if line is not None:
            self._print(line)

    def _print(self, line: str) -> None:
        prefix = f"[{self._number}/{self._files}] " if self._files > 1 else ""
        self._console.print(prefix + printable(line), markup=False, soft_wrap=True)


class Bars:
    """A bar for the file and, in a batch, one for everything; satisfies ProgressView."""

    def __init__(self, bars: Progress, files: int, frames_estimated: int | None) -> None:
        self._bars, self._files, self._done, self._drawn_s = bars, files, 0, 0.0
        self._all = Tally(frames_estimated=frames_estimated)
        self._faces_before = 0
        self._total: TaskID | None = None
        if files > 1:
            self._total = bars.add_task("total", total=frames_estimated, facts="")
        self._file: TaskID | None = None

    def start_file(self, name: str, frames_estimated: int | None) -> None:
        self._tally = Tally(frames_estimated=frames_estimated)
        self._file = self._bars.add_task(escape(printable(name)), total=frames_estimated, facts="starting")
        self._draw(is_forced=True)

    def frame(self, report: FrameReport) -> None:
        now_s = time.monotonic()
        self._tally.add(now_s, _tracks(report))
        self._all.add(now_s)
        self._draw()

    def end_file(self, line: str | None) -> None:
        self._done += 1
        self._faces_before += len(self._tally.tracks)
        if self._file is not None:
            self._bars.remove_task(self._file)
        self._file = None
        if line is not None:
            self._bars.console.print(printable(line), markup=False, soft_wrap=True)
        self._draw(is_forced=True)

    def _draw(self, *, is_forced: bool = False) -> None:
        now_s = time.monotonic()
        if now_s - self._drawn_s < DRAW_EVERY_S and not is_forced:
            return
        self._drawn_s = now_s
        if self._file is not None and self._tally.frames:
            self._bars.update(self._file, completed=self._tally.frames, facts=self._tally.text(now_s))
        if self._total is not None:
            left_s = self._all.left_s(now_s)
            faces = self._faces_before + (len(self._tally.tracks) if self._file is not None else 0)
            facts = [f"{self._done}/{self._files} files", f"{self._all.fps(now_s):.1f} fps", count_of(faces, "face")]
            facts += [] if left_s is None else [f"{clock(left_s)} left"]
            self._bars.update(self._total, completed=self._all.frames, facts=", ".join(facts))
        self._bars.refresh()

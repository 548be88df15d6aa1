"""What the user sees while files are worked on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from streamer.messages import Cover, FrameReport
from streamer.progress import Bars, Lines, Silence, Tally, clock, count_of, show_progress


def frame(number: int, *tracks: int) -> FrameReport:
    covers = [Cover(track, (0.0, 0.0, 9.0, 9.0), "detected", 0.9) for track in tracks]
    return FrameReport(stream=0, number=number, pts=number, time_s=number / 25, raw_slot=0, covers=covers, covered_whole=None)


def test_the_speed_is_measured_from_the_first_frame_on() -> None:
    tally = Tally(frames_estimated=100)
    for second in range(100, 111):
        tally.add(float(second), [1])

    assert tally.fps(110.0) == pytest.approx(1.0)
    assert tally.left_s(110.0) == pytest.approx(89.0)
    assert tally.text(110.0) == "11/100 frames, 1.0 fps, 1 face, 1:29 left"


def test_nothing_is_promised_before_there_is_a_speed_or_where_the_length_is_unknown() -> None:
    early, endless = Tally(frames_estimated=100), Tally(frames_estimated=None)
    early.add(5.0)
    for second in range(5):
        endless.add(float(second))

    assert early.left_s(5.0) is None
    assert endless.left_s(5.0) is None
    assert endless.text(4.0) == "5 frames, 1.0 fps, 0 faces"


def test_more_frames_than_estimated_leave_no_negative_time() -> None:
    tally = Tally(frames_estimated=2)
    for second in range(5):
        tally.add(float(second))

    assert tally.left_s(4.0) == 0.0


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (760, "12:40"), (3723, "1:02:03")])
def test_times_read_like_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_count_of_one_is_singular() -> None:
    assert (count_of(1, "face"), count_of(2, "face"), count_of(0, "face")) == ("1 face", "2 faces", "0 faces")


def test_where_nobody_looks_there_are_plain_lines_with_the_place_in_the_batch() -> None:
    out = io.StringIO()
    with show_progress(files=2, frames_estimated=20, console=Console(file=out, force_terminal=False)) as view:
        assert isinstance(view, Lines)
        view.start_file("[a].mp4", 10)
        for number in range(10):
            view.frame(frame(number, 1, 2))
        view.end_file("[a].mp4: done")
        view.start_file("b.mp4", 10)
        view.frame(frame(0))
        view.end_file(None)

    lines = out.getvalue().splitlines()
    assert lines == [
        "[1/2] [a].mp4: 1/10 frames, 0.0 fps, 2 faces",
        "[1/2] [a].mp4: done",
        "[2/2] b.mp4: 1/10 frames, 0.0 fps, 0 faces",
    ]


def test_a_terminal_shows_the_file_the_batch_and_what_is_done() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160, highlight=False)
    with show_progress(files=2, frames_estimated=6, console=console) as view:
        assert isinstance(view, Bars)
        view.start_file("[a].mp4", 3)
        for number in range(3):
            view.frame(frame(number, 7))
        view.end_file("[a].mp4: all three")
        view.start_file("b.mp4", 3)
        view.end_file(None)

    shown = out.getvalue()
    assert "[a].mp4" in shown
    assert "[a].mp4: all three" in shown
    assert "1/2 files" in shown
    assert "2/2 files" in shown
    assert "1 face" in shown


def test_quiet_says_nothing() -> None:
    out = io.StringIO()
    with show_progress(files=1, frames_estimated=1, is_quiet=True, console=Console(file=out)) as view:
        assert isinstance(view, Silence)
        view.start_file("a", 1)
        view.frame(frame(0))
        view.end_file("a: done")

    assert out.getvalue() == ""

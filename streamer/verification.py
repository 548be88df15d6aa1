"""Opening a finished output again, to see that it holds what was written."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from streamer.encoders import OutputPlan
from streamer.errors import InputError, OutputError
from streamer.messages import StreamOpened
from streamer.probe import open_input, probe
from streamer.writing import Written


def verify_output(path: Path, *, frames: int, opened: StreamOpened, plan: OutputPlan, written: Written | None = None) -> list[str]:
    """Hold a file, still under its temporary name, against what was to be written.

    frames: number of pictures. written: what `VideoWriter.close` returned; with it the times and the copied packets are compared
    too. Returns notes for the report. Raises OutputError where the file lacks anything.
    """
    try:
        info = probe(path)
        counts, first, end = _count(path, info.video_index)
    except (InputError, av.FFmpegError) as error:
        raise OutputError(f"{plan.path}: the finished file cannot be read back: {error}") from error
    layout = opened.layout
    found = info.layout
    if counts.get(info.video_index, 0) != frames:
        raise _wrong(plan, f"it holds {counts.get(info.video_index, 0)} frames instead of {frames}")
    if (found.width, found.height) != (layout.width, layout.height):
        raise _wrong(plan, f"its pictures are {found.width}x{found.height} instead of {layout.width}x{layout.height}")
    if len(info.tracks) != len(plan.tracks):
        raise _wrong(plan, f"it holds {len(info.tracks)} further tracks instead of {len(plan.tracks)}")
    if not info.made_by_veil:
        raise _wrong(plan, "it lacks the mark that says what made it")
    if written is not None:
        _compare_times(plan, opened, written, first, end)
        _compare_packets(
            plan, written, [counts.get(track.index, 0) for track in info.tracks], [track.codec for track in info.tracks]
        )
    return []


def _count(path: Path, video_index: int) -> tuple[dict[int, int], Fraction, Fraction]:
    """Packets of each track, the first time and the end of the pictures in seconds."""
    counts: dict[int, int] = {}
    first: Fraction | None = None
    end = Fraction(0)
    with open_input(path) as container:
        for packet in container.demux():
            if not packet.size:
                continue
            counts[packet.stream_index] = counts.get(packet.stream_index, 0) + 1
            if packet.stream_index == video_index and packet.pts is not None and packet.time_base is not None:
                start = packet.pts * packet.time_base
                first = start if first is None else min(first, start)
                end = max(end, start + (packet.duration or 0) * packet.time_base)
    return counts, first or Fraction(0), end


def _compare_times(plan: OutputPlan, opened: StreamOpened, written: Written, first: Fraction, end: Fraction) -> None:
    if written.first_pts is None or written.end_pts is None:
        return
    base = Fraction(*opened.time_base)
    rate = Fraction(*opened.average_rate)
    wanted = (written.end_pts - written.first_pts) * base
    # A frame's time, since Matroska neither keeps the duration of the last frame nor times finer than milliseconds.
    tolerance = max(
        1 / rate if rate else Fraction(1, 10), (written.end_pts - written.first_pts) * base / max(written.frames, 1)
    ) + Fraction(1, 500)
    if abs((end - first) - wanted) > tolerance:
        raise _wrong(plan, f"it lasts {float(end - first):.3f} s instead of {float(wanted):.3f} s")


def _compare_packets(plan: OutputPlan, written: Written, found: list[int], codecs: list[str]) -> None:
    for number, (count, expected, codec) in enumerate(zip(found, written.packets, codecs, strict=True), start=1):
        # Containers cut uncompressed sound into packets of their own size.
        if count != expected and not codec.startswith("pcm"):
            raise _wrong(plan, f"its copied track {number} has {count} packets instead of {expected}")


def _wrong(plan: OutputPlan, what: str) -> OutputError:
    return OutputError(f"{plan.path}: the finished file is wrong: {what}")

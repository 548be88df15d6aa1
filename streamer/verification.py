"""Opening a finished output again, to see that it holds what was written."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from streamer.encoders import OutputPlan
from streamer.errors import InputError, OutputError
from streamer.messages import StreamOpened
from streamer.opening import open_input, read_packets
from streamer.probe import Track, probe
from streamer.writing import Written

_ROUNDING_S = Fraction(1, 500)
"""Matroska rounds both times to milliseconds."""


def verify_output(path: Path, *, frames: int, opened: StreamOpened, plan: OutputPlan, written: Written | None = None) -> list[str]:
    """Hold a file, still under its temporary name, against what was to be written.

    frames: number of pictures. written: what `VideoWriter.close` returned; with it the times and the copied packets are compared
    too. Returns notes for the report. Raises OutputError where the file lacks anything.
    """
    try:
        info = probe(path)
        counts, first, last = _count(path, info.video_index)
    except (InputError, av.FFmpegError) as error:
        raise OutputError(f"{plan.path}: the finished file cannot be read back: {error}") from error
    layout = opened.layout
    found = info.layout
    if counts.get(info.video_index, 0) != frames:
        raise _wrong(plan, f"it holds {counts.get(info.video_index, 0)} frames instead of {frames}")
    if (found.width, found.height) != (layout.width, layout.height):
        raise _wrong(plan, f"its pictures are {found.width}x{found.height} instead of {layout.width}x{layout.height}")
    if not info.made_by_veil:
        raise _wrong(plan, "it lacks the mark that says what made it")
    found_packets = [counts.get(track.index, 0) for track in info.tracks]
    # A track without a single packet does not show up in every container.
    packets = [count for count in written.packets if count] if written is not None else [1] * len(plan.tracks)
    if sum(count > 0 for count in found_packets) != len(packets):
        raise _wrong(plan, f"it holds {sum(count > 0 for count in found_packets)} further tracks instead of {len(packets)}")
    if written is not None:
        _compare_times(plan, opened, written, first, last)
        _compare_packets(plan, packets, [(track, counts[track.index]) for track in info.tracks if counts.get(track.index)])
    return []


def _count(path: Path, video_index: int) -> tuple[dict[int, int], Fraction, Fraction]:
    """Packets of each track, the times of the first and of the last picture in seconds."""
    counts: dict[int, int] = {}
    times: list[Fraction] = []
    with open_input(path) as container:
        for packet in read_packets(container):
            counts[packet.stream_index] = counts.get(packet.stream_index, 0) + 1
            if packet.stream_index == video_index and packet.pts is not None and packet.time_base is not None:
                start = packet.pts * packet.time_base
                times = [min(start, *times), max(start, *times)] if times else [start, start]
    return counts, times[0] if times else Fraction(0), times[-1] if times else Fraction(0)


def _compare_times(plan: OutputPlan, opened: StreamOpened, written: Written, first: Fraction, last: Fraction) -> None:
    if written.first_pts is None or written.last_pts is None:
        return
    wanted = (written.last_pts - written.first_pts) * Fraction(*opened.time_base)
    if abs(last - first - wanted) > _ROUNDING_S:
        raise _wrong(
            plan, f"from its first to its last picture it lasts {float(last - first):.3f} s instead of {float(wanted):.3f} s"
        )


def _compare_packets(plan: OutputPlan, written: list[int], found: list[tuple[Track, int]]) -> None:
    for expected, (track, count) in zip(written, found, strict=True):
        # Containers cut uncompressed sound into packets of their own size.
        if count != expected and not track.codec.startswith("pcm"):
            raise _wrong(plan, f"its copied track {track.index} has {count} packets instead of {expected}")


def _wrong(plan: OutputPlan, what: str) -> OutputError:
    return OutputError(f"{plan.path}: the finished file is wrong: {what}")

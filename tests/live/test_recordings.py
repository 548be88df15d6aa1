"""Recordings: nothing is lost between two files, limits delete the oldest, what a crash leaves is finished, a full disk is said."""

from __future__ import annotations

import gc
import os
import re
import resource
import signal
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import av
import pytest

from streamer.errors import OutputError
from streamer.live.config import OutputSettings
from streamer.live.messages import CLOCK, EncodedPacket, PublisherSetup, SoundOpened
from streamer.live.recordings import RecordingFolder
from streamer.workers.publisher import PublisherWorker
from tests.live.encoded import (
    LAYOUT,
    RATE,
    acknowledged,
    encoded,
    mixed,
    notes,
    number_of,
    read_numbers,
    read_sound,
    sounding,
)
from tests.workers import answers

SILENCE = SoundOpened(audio=b"", codec="")


def recorder(folder: Path, *, container: str = "mp4", segment_s: float = 1.0, **settings: object) -> PublisherWorker:
    worker = PublisherWorker({})
    output = OutputSettings(to=str(folder), container=container, segment_s=segment_s, **settings)  # type: ignore[arg-type]
    assert answers(worker, PublisherSetup(name="door", output=output)) == []
    return worker


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_no_picture_and_no_sound_is_lost_over_the_seams(container: str, tmp_path: Path) -> None:
    numbers = range(80)
    opened, pictures = encoded(numbers, first_pts=7 * CLOCK)
    sound_opened, sound = sounding("aac", 48000, 3.2, first_s=7.0)
    worker = recorder(tmp_path, container=container)
    given = answers(worker, opened, sound_opened, *mixed(pictures, sound, delay_s=0.7))
    worker.close()
    assert notes(given) == []
    assert acknowledged(given)[0] == len(pictures) + len(sound)
    # 80 pictures of 0.04 s, files of 1 s that end at keyframes every 0.4 s: 30, 30 and 20 pictures.
    written = files(tmp_path)
    assert [len(read_numbers(str(path))) for path in written] == [30, 30, 20]
    seen = [number for path in written for number, _ in read_numbers(str(path))]
    assert seen == list(numbers)
    heard = [data for path in written for _, data in read_sound(str(path))]
    begin, end = 1, len(sound) - 1  # the first begins before the pictures, the last after them
    known = [packet.data for packet in sound]
    assert heard == known[known.index(heard[0]) : known.index(heard[0]) + len(heard)], "sound is missing or doubled"
    assert known.index(heard[0]) <= begin
    assert known.index(heard[-1]) >= end - 2


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_each_file_begins_at_zero_with_its_sound_in_step(container: str, tmp_path: Path) -> None:
    opened, pictures = encoded(range(60), first_pts=7 * CLOCK)
    sound_opened, sound = sounding("aac", 48000, 2.4, first_s=7.0)
    worker = recorder(tmp_path, container=container)
    answers(worker, opened, sound_opened, *mixed(pictures, sound, delay_s=0.7))
    worker.close()
    times = {packet.data: (packet.pts or 0) / 48000 - 7.0 for packet in sound}
    for path in files(tmp_path):
        seen = read_numbers(str(path))
        start = seen[0][0] / RATE
        assert seen[0][1] == 0
        assert [when for _, when in seen] == pytest.approx([number / RATE - start for number, _ in seen], abs=0.001)
        heard = read_sound(str(path))
        assert [when for when, _ in heard] == pytest.approx([times[data] - start for _, data in heard], abs=0.002)
        with av.open(str(path)) as recording:
            assert recording.duration is not None
            assert recording.duration / 1e6 == pytest.approx(len(seen) / RATE, abs=0.05)


def test_names_tell_when_a_recording_began(tmp_path: Path) -> None:
    before = datetime.now().replace(microsecond=0)
    opened, pictures = encoded(range(60))
    worker = recorder(tmp_path, segment_s=1)
    answers(worker, opened, SILENCE, *pictures)
    assert [path.name for path in files(tmp_path) if path.name.startswith(".")] != [], "the one that grows is hidden"
    worker.close()
    names = [path.name for path in files(tmp_path)]
    assert len(names) == 2
    for name in names:
        found = re.fullmatch(r"door_(\d{8}-\d{6})(_\d+)?\.mp4", name)
        assert found is not None, name
        assert before <= datetime.strptime(found[1], "%Y%m%d-%H%M%S") <= datetime.now()


def test_other_pictures_begin_a_new_file(tmp_path: Path) -> None:
    opened, pictures = encoded(range(10))
    larger = LAYOUT.__class__(width=320, height=192, pixel_format="yuv420p")
    reopened, later = encoded(range(10, 20), layout=larger)
    same, last = encoded(range(20, 30), layout=larger)
    worker = recorder(tmp_path, segment_s=60)
    answers(worker, opened, SILENCE, *pictures, reopened, *later, same, *last)
    worker.close()
    assert [[number for number, _ in read_numbers(str(path))] for path in files(tmp_path)] == [list(range(10)), list(range(10, 30))]


def test_pictures_before_a_keyframe_are_dropped(tmp_path: Path) -> None:
    opened, pictures = encoded(range(20))
    worker = recorder(tmp_path)
    given = answers(worker, opened, SILENCE, *pictures[3:])
    worker.close()
    assert acknowledged(given) == (17, 7)
    assert [number for path in files(tmp_path) for number, _ in read_numbers(str(path))] == list(range(10, 20))


def test_sound_that_ends_takes_no_picture_with_it(tmp_path: Path) -> None:
    opened, pictures = encoded(range(60))
    sound_opened, sound = sounding("aac", 48000, 0.8)
    worker = recorder(tmp_path, segment_s=60)
    given = answers(worker, opened, sound_opened, *mixed(pictures[:20], sound, delay_s=0.2), SILENCE, *pictures[20:])
    assert acknowledged(given)[0] == 60 + len(sound)
    worker.close()
    (path,) = files(tmp_path)
    assert [number for number, _ in read_numbers(str(path))] == list(range(60))


def test_sound_that_the_file_cannot_hold_is_left_out_and_said_once(tmp_path: Path) -> None:
    opened, pictures = encoded(range(20))
    sound_opened, sound = sounding("pcm_alaw", 8000, 0.8)
    worker = recorder(tmp_path)
    given = answers(worker, opened, sound_opened, *mixed(pictures, sound, delay_s=0.2), sound_opened)
    worker.close()
    (note,) = notes(given)
    assert "pcm_alaw" in note
    assert acknowledged(given) == (20 + len(sound), len(sound))
    (path,) = files(tmp_path)
    with av.open(str(path)) as recording:
        assert len(recording.streams.audio) == 0
    assert len(read_numbers(str(path))) == 20


def test_sound_is_dropped_when_that_is_wished(tmp_path: Path) -> None:
    opened, pictures = encoded(range(20))
    sound_opened, sound = sounding("aac", 48000, 0.8)
    worker = recorder(tmp_path, audio="drop")
    given = answers(worker, opened, sound_opened, *mixed(pictures, sound, delay_s=0.2))
    worker.close()
    assert notes(given) == []
    (path,) = files(tmp_path)
    with av.open(str(path)) as recording:
        assert len(recording.streams.audio) == 0


def test_what_a_crash_left_is_finished_or_removed(tmp_path: Path) -> None:
    opened, pictures = encoded(range(60))
    worker = recorder(tmp_path, segment_s=60)
    answers(worker, opened, SILENCE, *pictures)
    # As after SIGKILL: what lies in the file is what has been written by now.
    (growing,) = files(tmp_path)
    crashed = tmp_path / "after"
    crashed.mkdir()
    (crashed / growing.name).write_bytes(growing.read_bytes())
    (crashed / ".door_20260101-000000.mp4.part").write_bytes(b"")
    (crashed / ".door_20260102-000000.mp4.part").write_bytes(b"no film at all" * 100)
    (crashed / ".gate_20260102-000000.mp4.part").write_bytes(b"")
    recorder(crashed)
    assert [path.name for path in files(crashed)] == [".gate_20260102-000000.mp4.part", growing.name[1:-5]]
    seen = [number for number, _ in read_numbers(str(crashed / growing.name[1:-5]))]
    assert seen == list(range(len(seen)))
    assert len(seen) >= 40
    worker.close()


def test_a_recording_that_grows_is_no_leftover(tmp_path: Path) -> None:
    opened, pictures = encoded(range(20))
    worker = recorder(tmp_path, segment_s=60)
    answers(worker, opened, SILENCE, *pictures[:15])
    (growing,) = files(tmp_path)
    successor = recorder(tmp_path, segment_s=60)
    assert files(tmp_path) == [growing]
    answers(successor, opened, SILENCE, *pictures[10:])
    answers(worker, *pictures[15:])
    worker.close()
    successor.close()
    assert [[number for number, _ in read_numbers(str(path))] for path in files(tmp_path)] == [list(range(20)), list(range(10, 20))]


def folder_of(tmp_path: Path, *, keep_bytes: float | None = None, keep_s: float | None = None) -> RecordingFolder:
    for day in range(1, 6):
        path = tmp_path / f"door_2026010{day}-120000.mp4"
        path.write_bytes(bytes(1000))
        os.utime(path, (time.time() - (6 - day) * 86400,) * 2)
    for stranger in ("gate_20260101-120000.mp4", "door_20260101-120000.mp4.bak", "holiday.mp4", "door_notes.mp4"):
        (tmp_path / stranger).write_bytes(bytes(5000))
        os.utime(tmp_path / stranger, (0, 0))
    return RecordingFolder(tmp_path, "door", ".mp4", keep_bytes=keep_bytes, keep_s=keep_s)


STRANGERS = ["door_20260101-120000.mp4.bak", "door_notes.mp4", "gate_20260101-120000.mp4", "holiday.mp4"]


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"keep_s": 3.5 * 86400}, [3, 4, 5]),
        ({"keep_bytes": 2500}, [4, 5]),
        ({"keep_bytes": 2500, "keep_s": 1.5 * 86400}, [5]),
        ({"keep_bytes": 10}, []),
    ],
)
def test_the_oldest_recordings_go_first_and_other_files_never(tmp_path: Path, limits: dict[str, float], left: list[int]) -> None:
    folder_of(tmp_path, **limits).tidy()
    kept = [path.name for path in files(tmp_path)]
    assert [name for name in kept if name not in STRANGERS] == [f"door_2026010{day}-120000.mp4" for day in left]
    assert [name for name in kept if name in STRANGERS] == STRANGERS


def test_limits_hold_while_a_recording_grows(tmp_path: Path) -> None:
    opened, pictures = encoded(range(25 * 24), keyframe_s=2.0)
    worker = recorder(tmp_path, segment_s=2, keep_gigabytes=10e-6)
    answers(worker, opened, SILENCE, *pictures)
    worker.close()
    sizes = [path.stat().st_size for path in files(tmp_path)]
    total = sum(len(packet.data) for packet in pictures)
    assert total > 30_000, "the test needs more than the limit"
    assert 0 < sum(sizes) <= 10_000 + max(sizes)
    last = [number for number, _ in read_numbers(str(files(tmp_path)[-1]))]
    assert last[-1] == 25 * 24 - 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=re.escape(str(tmp_path / "file" / "recordings"))):
        recorder(tmp_path / "file" / "recordings")


def test_a_disk_without_space_is_said_before_anything_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    opened, pictures = encoded(range(2))
    worker = recorder(tmp_path)
    with pytest.raises(OutputError, match=re.escape(f"{tmp_path}: no space left on the disk")):
        answers(worker, opened, SILENCE, *pictures)
    assert files(tmp_path) == []


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_file_that_may_not_grow_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    """A limit of the kernel stands for the full disk: the next write fails in the middle of a recording."""
    opened, pictures = encoded(range(400), keyframe_s=0.2)
    worker = recorder(tmp_path, segment_s=60)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(OutputError, match=re.escape(str(tmp_path))):
            answers(worker, opened, SILENCE, *pictures)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    del worker  # its process would end
    gc.collect()
    recorder(tmp_path)
    (path,) = files(tmp_path)
    assert path.name.startswith("door_")
    seen: list[int] = []
    with suppress(av.error.InvalidDataError), av.open(str(path)) as recording:  # the last picture is a part of one
        seen.extend(number_of(frame.to_ndarray(format="gray")) for frame in recording.decode(video=0))
    assert seen == list(range(len(seen)))
    assert len(seen) > 20, "what was on the disk can be watched"


def test_a_time_that_comes_twice_is_dropped(tmp_path: Path) -> None:
    opened, pictures = encoded(range(10))
    worker = recorder(tmp_path)
    again = [pictures[3], pictures[4]]
    packets: list[EncodedPacket] = [*pictures[:6], *again, *pictures[6:]]
    given = answers(worker, opened, SILENCE, *packets)
    worker.close()
    assert acknowledged(given) == (12, 2)
    (path,) = files(tmp_path)
    assert len(read_numbers(str(path))) == 10

"""The process of a camera, in one process, with files."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.live.messages import CLOCK, FramesSkipped
from streamer.messages import AudioPacket
from tests.live.camera_bench import SLOTS, CameraBench
from tests.live.conftest import RATE
from tests.live.frames import SESSION
from tests.media import CORNERS, Clip, Sound, sound_packets, write_clip
from tests.streamer.tagged import PICTURE, id3, parameters_of, pieces_in, tagged_clip
from tests.streamer.test_aperture import clip, crop


def distances_s(bench: CameraBench) -> list[float]:
    return [(later.pts - earlier.pts) / CLOCK for earlier, later in itertools.pairwise(bench.frames)]


@pytest.fixture(scope="module")
def tenth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures, 0.4 s, with pictures that are shown in another order than they are stored."""
    return write_clip(tmp_path_factory.mktemp("clips") / "tenth.mp4", Clip(options={"bf": "2"}))


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv"])
def test_a_looped_file_goes_on_over_its_seams(open_camera: Any, tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"loop{suffix}", Clip(options={"bf": "2", "g": "5"}))
    bench = open_camera(path, loop=True)
    bench.run(frames=35)
    assert [frame.number for frame in bench.frames] == list(range(35))
    assert min(distances_s(bench)) > 0.01
    assert distances_s(bench) == pytest.approx([0.04] * 34, abs=0.03)
    assert bench.frames[-1].time_s - bench.frames[0].time_s == pytest.approx(34 / RATE, abs=0.1)


def test_no_picture_of_a_looped_file_is_left_out(open_camera: Any, tenth: Path) -> None:
    bench = open_camera(tenth, loop=True)
    bench.run(frames=25)
    bars = [int(np.argmin(bench.luma[number][22:26].mean(axis=0))) for number in range(25)]
    assert bars[5:15] == bars[15:25]
    assert len(set(bars[5:15])) == 10


def test_a_file_comes_in_real_time(open_camera: Any, tenth: Path) -> None:
    bench = open_camera(tenth, loop=True)
    began_s = time.monotonic()
    bench.run(frames=25)
    assert time.monotonic() - began_s > 0.8 * 24 / RATE
    assert all(abs(frame.captured_s - bench.setup.origin_s - frame.time_s) < 1.0 for frame in bench.frames)


def test_a_file_that_is_not_looped_ends_with_its_last_picture(open_camera: Any, tenth: Path) -> None:
    bench = open_camera(tenth)
    bench.run()
    assert bench.reason == "the file is at its end"
    assert len(bench.frames) == 9, "all but the first, which is seen before there is a ring"
    bench.run(deadline_s=1.0)
    assert list(bench.worker.step()) == [], "it is over"


def test_a_gap_in_a_file_is_not_waited_for(open_camera: Any, tmp_path: Path) -> None:
    pts = [512 * number + (12800 * 3600 if number >= 5 else 0) for number in range(10)]
    bench = open_camera(write_clip(tmp_path / "gap.mkv", Clip(pts=pts)))
    bench.run(deadline_s=8.0)
    assert bench.reason == "the file is at its end"
    assert max(distances_s(bench)) < 2.0


def test_the_first_frame_begins_a_shot_and_thorough_ones_come_often(open_camera: Any, tenth: Path) -> None:
    bench = open_camera(tenth, loop=True)
    bench.run(frames=30)
    assert (bench.frames[0].is_cut, bench.frames[0].effort) == (True, "thorough")
    thorough = [frame.time_s for frame in bench.frames if frame.effort == "thorough"]
    assert max(later - earlier for earlier, later in itertools.pairwise(thorough)) < 0.3 + 2 / RATE


@pytest.mark.parametrize("most", [4.0, 10.0, 25.0])
def test_the_rate_that_was_asked_for_is_that_of_the_frames(open_camera: Any, tenth: Path, most: float) -> None:
    bench = open_camera(tenth, loop=True, max_fps=most)
    bench.run(frames=12)
    span_s = bench.frames[-1].time_s - bench.frames[0].time_s
    assert 11 / span_s == pytest.approx(most, rel=0.12)
    skipped = bench.of(FramesSkipped)
    assert all(skip.reason == "rate" for skip in skipped)
    assert bool(skipped) == (most < RATE)


def test_without_a_slot_frames_are_left_out_and_counted(open_camera: Any, tenth: Path) -> None:
    bench = open_camera(tenth, loop=True, keeps=True)
    bench.run(until=FramesSkipped)
    assert [frame.slot for frame in bench.frames] == list(range(SLOTS))
    assert bench.of(FramesSkipped) == [FramesSkipped(session=SESSION, reason="no_slot", frames=1)]
    bench.generations[2] += 1
    bench.grant(2)
    bench.run(frames=SLOTS + 1)
    assert (bench.frames[-1].number, bench.frames[-1].slot, bench.frames[-1].generation) == (SLOTS, 2, 2)


def test_pictures_are_set_upright(open_camera: Any, tmp_path: Path) -> None:
    bench = open_camera(write_clip(tmp_path / "turned.mp4", Clip(turn=(90, False, False))), loop=True)
    bench.run(frames=1)
    assert bench.opened is not None
    assert (bench.opened.layout.width, bench.opened.layout.height) == (48, 64)
    luma = bench.luma[0]
    brightest = {"top left": luma[16, 12], "top right": luma[16, 36], "bottom left": luma[48, 12], "bottom right": luma[48, 36]}
    turned = {"top left": "top right", "top right": "bottom right", "bottom left": "top left", "bottom right": "bottom left"}
    weights = np.array([0.2126, 0.7152, 0.0722])
    expected = {corner: float(weights @ np.array(CORNERS[was])) for corner, was in turned.items()}
    assert sorted(brightest, key=brightest.__getitem__) == sorted(expected, key=expected.__getitem__)


def test_only_the_part_that_is_shown_comes(open_camera: Any, tmp_path: Path) -> None:
    bench = open_camera(crop(write_clip(tmp_path / "cropped.mkv", clip("libx264")), left=16, bottom=8))
    bench.run(frames=3)
    assert bench.opened is not None
    assert (bench.opened.layout.width, bench.opened.layout.height) == (80, 56)
    assert np.ptp(bench.luma[0]) < 30, "something of the red edge is there"


def test_a_picture_of_another_size_ends_the_session(open_camera: Any, tmp_path: Path) -> None:
    parts = [write_clip(tmp_path / f"{width}.ts", Clip(width=width, height=48)) for width in (64, 96)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    bench = open_camera(joined)
    bench.run()
    assert bench.reason.startswith("the picture changed from 64x48")
    assert "96x48" in bench.reason
    assert len(bench.frames) >= 8


def test_sound_comes_with_the_times_of_the_pictures(open_camera: Any, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "sound.mp4", Clip(pts=range(0, 25 * 512, 512), sounds=(Sound(),)))
    bench = open_camera(path, loop=True)
    bench.run(frames=60)
    assert bench.opened is not None
    assert bench.opened.audio_codec == "aac"
    packets = bench.of(AudioPacket)
    times = [packet.pts * packet.time_base[0] / packet.time_base[1] for packet in packets]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    assert times[-1] == pytest.approx(bench.frames[-1].time_s, abs=0.3)
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 0.1, "a gap at a seam"


def test_sound_that_is_not_wanted_does_not_come(open_camera: Any, tmp_path: Path) -> None:
    bench = open_camera(write_clip(tmp_path / "sound.mp4", Clip(sounds=(Sound(),))), loop=True, audio="drop")
    bench.run(frames=12)
    assert bench.opened is not None
    assert (bench.opened.audio, bench.opened.audio_codec, bench.of(AudioPacket)) == (b"", "", [])


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_tags_in_the_sound_do_not_come(open_camera: Any, tmp_path: Path, suffix: str) -> None:
    path = tagged_clip(tmp_path / f"tagged{suffix}", "libmp3lame", before=id3())
    assert pieces_in(b"".join(sound_packets(path))) > 100
    bench = open_camera(path)
    bench.run()
    assert bench.opened is not None
    assert bench.opened.audio_codec == "mp3"
    packets = [packet.data for packet in bench.of(AudioPacket)]
    assert pieces_in(bench.opened.audio + b"".join(packets)) == 0
    assert len(packets) > 10
    assert set(packets) <= set(sound_packets(tmp_path / "plain.mkv"))


def test_comments_beside_the_sound_do_not_come(open_camera: Any, tmp_path: Path) -> None:
    plain = write_clip(tmp_path / "plain.mkv", Clip(sounds=(Sound(codec="flac"),)))
    parameters = b"fLaC\0\0\0\x22" + parameters_of(plain) + b"\x86\0\x4e\x26" + PICTURE
    path = tagged_clip(tmp_path / "tagged.nut", "flac", parameters=parameters)
    assert parameters_of(path) == parameters
    bench = open_camera(path)
    bench.run(frames=5)
    assert bench.opened is not None
    assert bench.opened.audio_codec == "flac"
    assert pieces_in(bench.opened.audio) == 0


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video_is_said_in_one_line(open_camera: Any, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret-name.mp4"
    path.write_bytes(content)
    bench = open_camera(path)
    assert len(bench.reason.splitlines()) == 1
    assert "secret-name" not in bench.reason


def test_a_file_that_is_not_there_is_said_so(open_camera: Any, tmp_path: Path) -> None:
    assert open_camera(tmp_path / "none.mp4").reason == "No such file or directory"

"""What is read: upright pictures with true times, damage that is noticed, packets that are copied."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.config import VideoSettings
from streamer.encoders import plan_output
from streamer.errors import InputError
from streamer.messages import AudioPacket
from streamer.pictures import PIXEL_FORMATS
from streamer.probe import probe
from streamer.reading import DecodedFrame, VideoReader
from tests.media import CORNERS, Clip, Sound, corner_colors, most_like, picture, picture_times, sound_packets, write_clip


def _frames(reader: VideoReader) -> list[DecodedFrame]:
    return [item for item in reader if isinstance(item, DecodedFrame)]


def _planes(reader: VideoReader, frame: DecodedFrame) -> tuple[NDArray[Any], ...]:
    layout = reader.info.layout
    planes = layout.planes(np.full(layout.nbytes, 77, np.uint8))
    frame.write_into(planes)
    return planes


def _rgb(reader: VideoReader, frame: DecodedFrame) -> NDArray[np.uint8]:
    """The picture in its slot as a player shows it."""
    layout = reader.info.layout
    whole = av.VideoFrame(layout.width, layout.height, layout.pixel_format)
    for source, plane in zip(_planes(reader, frame), whole.planes, strict=True):
        lines = np.zeros((plane.height, plane.line_size), np.uint8)
        row = np.ascontiguousarray(source).view(np.uint8)
        lines[:, : row.shape[1]] = row
        plane.update(lines.tobytes())
    color = layout.color
    matrix = color.matrix if color.matrix != 2 else 1
    rgb = whole.reformat(format="rgb24", src_colorspace=matrix, src_color_range=2 if color.range == 2 else 1)
    return np.asarray(rgb.to_ndarray(), np.uint8)


IRREGULAR = [0, 1, 700, 701, 2000, 2900, 9000, 9001, 12800, 50000]


@pytest.mark.parametrize("threads", [1, 4])
def test_irregular_times_come_out_exactly(tmp_path: Path, threads: int) -> None:
    path = write_clip(tmp_path / "a.mp4", Clip(pts=IRREGULAR))
    frames = _frames(VideoReader(path, threads=threads))
    assert [frame.pts for frame in frames] == IRREGULAR
    assert [frame.time_s for frame in frames] == [pts / 12800 for pts in IRREGULAR]
    assert [frame.duration for frame in frames[:-1]] == [after - before for before, after in pairwise(IRREGULAR)]


def test_the_last_frame_keeps_its_duration(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", Clip(last_duration=4000, options={"bf": "0"}))
    assert _frames(VideoReader(path))[-1].duration == 4000


@pytest.mark.parametrize("mirrored", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_turned_and_mirrored_videos_are_set_upright(tmp_path: Path, degrees: int, mirrored: tuple[bool, bool]) -> None:
    # FFmpeg mirrors what it has turned, so the stored picture is the upright one mirrored back, then turned back.
    upright = picture(0, 64, 48)
    stored = upright[:, ::-1] if mirrored[0] else upright
    stored = stored[::-1] if mirrored[1] else stored
    stored = np.ascontiguousarray(np.rot90(stored, -degrees // 90))
    clip = Clip(
        width=stored.shape[1],
        height=stored.shape[0],
        pictures=[stored],
        pts=[0],
        turn=(degrees, *mirrored),
        attributes={"colorspace": 1},
    )
    reader = VideoReader(write_clip(tmp_path / "a.mp4", clip))
    found = corner_colors(_rgb(reader, _frames(reader)[0]))
    assert {name: most_like(color) for name, color in found.items()} == {name: name for name in CORNERS}


@pytest.mark.parametrize(
    ("name", "codec", "stored", "expected"),
    [
        ("a.mp4", "libx264", "yuv420p", "yuv420p"),
        ("a.mp4", "libx264", "yuv422p", "yuv422p"),
        ("a.mp4", "libx264", "yuv444p", "yuv444p"),
        ("a.mp4", "libx265", "yuv420p10le", "yuv420p10le"),
        ("a.mkv", "ffv1", "yuv420p12le", "yuv420p10le"),
        ("a.mkv", "ffv1", "yuv422p16le", "yuv422p10le"),
        ("a.mkv", "ffv1", "yuv411p", "yuv422p"),
        ("a.mkv", "ffv1", "yuv440p", "yuv444p"),
        ("a.mkv", "ffv1", "bgr0", "yuv444p"),
        ("a.mkv", "ffv1", "gbrp12le", "yuv444p10le"),
        ("a.mkv", "rawvideo", "nv12", "yuv420p"),
        ("a.mov", "rawvideo", "uyvy422", "yuv422p"),
        ("a.mov", "prores_ks", "yuv422p10le", "yuv422p10le"),
        ("a.mkv", "mjpeg", "yuvj420p", "yuv420p"),
        ("a.mkv", "mjpeg", "yuvj444p", "yuv444p"),
    ],
)
def test_every_pixel_format_keeps_its_colours(tmp_path: Path, name: str, codec: str, stored: str, expected: str) -> None:
    full = {"color_range": 2} if stored.startswith("yuvj") else {}
    attributes: dict[str, Any] = {"colorspace": 5 if stored.startswith("yuvj") else 1, **full}
    clip = Clip(codec=codec, pixel_format=stored, attributes=attributes)
    reader = VideoReader(write_clip(tmp_path / name, clip))
    assert reader.info.layout.pixel_format == expected
    found = corner_colors(_rgb(reader, _frames(reader)[0]))
    for corner, color in CORNERS.items():
        assert found[corner] == pytest.approx(color, abs=12), corner


def test_a_format_that_fits_is_copied_bit_for_bit(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", Clip(codec="ffv1", pixel_format="yuv420p10le"))
    reader = VideoReader(path)
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray() for frame in container.decode(video=0)]
    for frame, whole in zip(_frames(reader), expected, strict=True):
        luma, blue, red = _planes(reader, frame)
        assert np.array_equal(luma, whole[:48])
        assert np.array_equal(np.concatenate((blue.ravel(), red.ravel())), whole[48:].ravel())


@pytest.mark.parametrize("stored", ["gray", "gray10le", "gray16le"])
def test_gray_video_gets_neutral_colour(tmp_path: Path, stored: str) -> None:
    reader = VideoReader(write_clip(tmp_path / "a.mkv", Clip(codec="ffv1", pixel_format=stored)))
    bits = PIXEL_FORMATS[reader.info.layout.pixel_format].bits
    assert bits == (8 if stored == "gray" else 10)
    luma, *chroma = _planes(reader, _frames(reader)[0])
    assert luma.std() > 10
    assert all((plane == 1 << (bits - 1)).all() for plane in chroma)


def test_an_odd_size_is_padded_by_its_border_and_said(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", Clip(codec="ffv1", width=63, height=47))
    reader = VideoReader(path)
    luma, _, _ = _planes(reader, _frames(reader)[0])
    assert luma.shape == (48, 64)
    assert np.array_equal(luma[:, 63], luma[:, 62])
    assert np.array_equal(luma[47], luma[46])
    assert "63x47 is padded to 64x48" in reader.notes[0]


@pytest.mark.parametrize("codec", ["aac", "ac3", "flac", "libopus", "libmp3lame"])
def test_sound_is_handed_on_packet_for_packet(tmp_path: Path, codec: str) -> None:
    path = write_clip(tmp_path / "a.mkv", Clip(sounds=(Sound(codec=codec), Sound(codec="aac"))))
    reader = VideoReader(path)
    reader.opened(7)
    packets = [item for item in reader if isinstance(item, AudioPacket)]
    assert {packet.stream for packet in packets} == {7}
    for track in (0, 1):
        assert [packet.data for packet in packets if packet.track == track] == sound_packets(path, track)


def test_pictures_outside_the_edit_list_are_never_shown(tmp_path: Path) -> None:
    plain = write_clip(tmp_path / "plain.mp4", Clip(pts=range(0, 50 * 512, 512), sounds=(Sound(),), options={"g": "50"}))
    # Times before zero are written as an edit list that hides them, as trimming without encoding does.
    path = tmp_path / "trimmed.mp4"
    with av.open(str(plain)) as source, av.open(str(path), "w") as output:
        copies = {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.size and packet.pts is not None and packet.dts is not None and packet.time_base is not None:
                shift = round(Fraction(1) / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copies[packet.stream.index]
                output.mux(packet)
    reader = VideoReader(path, plan_output(probe(path), VideoSettings(), (), tmp_path / "out.mp4"))
    items = list(reader)
    frames = [item for item in items if isinstance(item, DecodedFrame)]
    assert [frame.pts * reader.info.time_base for frame in frames] == picture_times(path)
    assert len(frames) == 25
    sounds = [item for item in items if isinstance(item, AudioPacket)]
    assert min(float(packet.pts * Fraction(*packet.time_base)) for packet in sounds if packet.pts is not None) > -0.13
    assert not reader.is_damaged


def _spoiled(path: Path, spoil: Callable[[bytearray], bytes]) -> Path:
    content = bytearray(path.read_bytes())
    path.write_bytes(spoil(content))
    return path


def _flip_bytes(content: bytearray) -> bytes:
    rng = np.random.default_rng(3)
    for at in rng.integers(len(content) * 3 // 10, len(content) * 6 // 10, 40):
        content[at] ^= 0x55
    return bytes(content)


NOISY = [np.random.default_rng(number).integers(0, 255, (96, 128, 3), np.uint8) for number in range(40)]


def _noisy_clip(path: Path, **extra: Any) -> Path:
    """Forty pictures in four seconds with a keyframe every ten, large enough that damage hits pictures and not headers."""
    start: dict[str, Any] = {"time_base": Fraction(1, 90000), "rate": 10, "pts": range(0, 40 * 9000, 9000)}
    options = {"g": "10", "keyint_min": "10", "sc_threshold": "0", "crf": "30"}
    return write_clip(path, Clip(width=128, height=96, pictures=NOISY, options=options, **start, **extra))


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4"])
def test_damaged_pictures_and_all_that_follow_them_are_marked(tmp_path: Path, name: str) -> None:
    path = _spoiled(_noisy_clip(tmp_path / name), _flip_bytes)
    reader = VideoReader(path, threads=2)
    frames = _frames(reader)
    assert len(frames) >= 20
    assert any(frame.is_corrupt for frame in frames)
    assert not all(frame.is_corrupt for frame in frames)
    assert not frames[0].is_corrupt
    assert reader.is_damaged
    assert reader.notes
    for before, after in pairwise(frames):
        if before.is_corrupt and not after.is_corrupt:
            assert after.picture.key_frame


@pytest.mark.parametrize(("name", "options"), [("a.mkv", {}), ("a.mp4", {"movflags": "+faststart"}), ("a.ts", {})])
def test_of_a_truncated_file_all_that_is_there_is_read(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    path = _spoiled(
        _noisy_clip(tmp_path / name, container_options=options), lambda content: bytes(content[: len(content) * 6 // 10])
    )
    reader = VideoReader(path)
    frames = _frames(reader)
    assert 15 <= len(frames) < 40
    assert reader.is_damaged or name == "a.ts"


def test_an_undamaged_file_is_not_called_damaged(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "a.ts"):
        reader = VideoReader(_noisy_clip(tmp_path / name, sounds=(Sound(),)), threads=2)
        assert not any(frame.is_corrupt for frame in _frames(reader))
        assert (reader.is_damaged, reader.notes) == (False, [])


def test_pictures_that_change_their_size_midway_are_refused(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.ts", Clip(time_base=Fraction(1, 90000), pts=range(0, 36000, 3600)))
    second = write_clip(tmp_path / "b.ts", Clip(width=96, time_base=Fraction(1, 90000), pts=range(36000, 72000, 3600)))
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(InputError, match="changes its size from 64x48 to 96x48"):
        list(VideoReader(path))


def test_joined_recordings_go_on_without_a_jump_and_in_step(tmp_path: Path) -> None:
    clip = Clip(time_base=Fraction(1, 90000), pts=range(0, 50 * 3600, 3600), sounds=(Sound(codec="aac"),))
    part = write_clip(tmp_path / "a.ts", clip).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(part + part)
    reader = VideoReader(path)
    items = list(reader)
    times = [item.time_s for item in items if isinstance(item, DecodedFrame)]
    assert len(times) == 100
    assert max(after - before for before, after in pairwise(times)) < 0.09
    sound_ends = [float((item.dts or 0) * Fraction(*item.time_base)) for item in items if isinstance(item, AudioPacket)]
    assert sound_ends[-1] == pytest.approx(times[-1], abs=0.1)
    assert any("jumps" in note for note in reader.notes)


def test_becoming_transparent_midway_is_refused(tmp_path: Path) -> None:
    layers = [np.dstack((picture(number, 64, 48), np.full((48, 64), 255 - 100 * (number == 2), np.uint8))) for number in range(3)]
    path = write_clip(tmp_path / "a.mkv", Clip(codec="ffv1", pixel_format="bgra", pictures=layers, pts=(0, 512, 1024)))
    with pytest.raises(InputError, match="transparent"):
        list(VideoReader(path))


def test_sound_that_begins_too_late_to_be_recognized_is_dropped_and_said(tmp_path: Path) -> None:
    # More than the five megabytes in which FFmpeg looks for tracks when it opens a file.
    noise = [np.random.default_rng(number).integers(0, 255, (240, 320, 3), np.uint8) for number in range(60)]
    rough = {"crf": "1", "preset": "ultrafast", "g": "1"}
    start = range(0, 60 * 3600, 3600)
    silent_clip = Clip(width=320, height=240, time_base=Fraction(1, 90000), pts=start, pictures=noise, options=rough)
    silent = write_clip(tmp_path / "a.ts", silent_clip)
    end = range(60 * 3600, 120 * 3600, 3600)
    loud_clip = Clip(width=320, height=240, time_base=Fraction(1, 90000), pts=end, sounds=(Sound(), Sound(), Sound()))
    loud = write_clip(tmp_path / "b.ts", loud_clip)
    path = tmp_path / "joined.ts"
    path.write_bytes(silent.read_bytes() + loud.read_bytes())
    assert silent.stat().st_size > 5_500_000
    plan = plan_output(probe(path), VideoSettings(), (), tmp_path / "out")
    assert plan.tracks == ()
    assert sum("sound of track" in warning for warning in plan.warnings) == 3
    assert len(_frames(VideoReader(path, plan))) == 120

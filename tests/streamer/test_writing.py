"""What goes in comes out: times, sound, colours, shapes; and nothing that was not asked for."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamer.config import VideoSettings
from streamer.encoders import plan_output
from streamer.errors import ExitCode, OutputError
from streamer.messages import AudioPacket
from streamer.pictures import ColorTags
from streamer.probe import probe
from streamer.reading import DecodedFrame, VideoReader
from streamer.writing import VideoWriter
from tests.media import (
    CORNERS,
    Clip,
    Sound,
    copy_clip,
    corner_colors,
    decoded_pictures,
    most_like,
    picture_times,
    sound_packets,
    write_clip,
)

IRREGULAR = [0, 1, 700, 701, 2000, 2900, 9000, 9001, 12800, 50000]
PQ = {"color_range": 1, "color_primaries": 9, "color_trc": 16, "colorspace": 9}
MASTERING = "log-level=error:master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,50):max-cll=1000,400"


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_irregular_times_survive_exactly(tmp_path: Path, suffix: str, codec: Any) -> None:
    if (suffix, codec) == ("mov", "av1"):
        pytest.skip("QuickTime holds no AV1")
    base = Fraction(1, 1000 if suffix == "mkv" else 12800)
    source = write_clip(tmp_path / f"in.{suffix}", Clip(pts=IRREGULAR, time_base=base))
    copy = copy_clip(source, tmp_path / "out", VideoSettings(codec=codec))
    assert picture_times(copy.path) == picture_times(source) == [pts * base for pts in IRREGULAR]


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_shortest_clips_are_written(tmp_path: Path, count: int, codec: Any) -> None:
    source = write_clip(tmp_path / "in.mp4", Clip(pts=range(0, count * 512, 512)))
    for attempt in range(5):
        copy = copy_clip(source, tmp_path / f"out{attempt}", VideoSettings(codec=codec))
        assert picture_times(copy.path) == picture_times(source)


def test_a_late_start_survives(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", Clip(pts=[6400 + 512 * number for number in range(10)], sounds=(Sound(),)))
    assert picture_times(copy_clip(source, tmp_path / "out").path) == picture_times(source)


def test_times_of_mp4_are_off_by_half_a_millisecond_at_most_in_mkv(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", Clip(pts=IRREGULAR, sounds=(Sound(),)))
    copy = copy_clip(source, tmp_path / "out.mkv")
    assert max(abs(a - b) for a, b in zip(picture_times(source), picture_times(copy.path), strict=True)) <= Fraction(1, 2000)


@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
def test_the_last_frame_keeps_its_duration_with_and_without_b_frames(tmp_path: Path, preset: str) -> None:
    source = write_clip(tmp_path / "in.mp4", Clip(last_duration=4000, options={"bf": "0"}))
    copy = copy_clip(source, tmp_path / "out", VideoSettings(preset=preset))
    info = probe(copy.path)
    assert info.duration_s == pytest.approx((9 * 512 + 4000) / 12800, abs=0.001)
    assert copy_clip(copy.path, tmp_path / "again").frames[-1].duration == pytest.approx(4000, abs=12)


@pytest.mark.parametrize(
    ("codec", "source", "target"),
    [
        ("aac", "mp4", "mp4"),
        ("aac", "mp4", "mkv"),
        ("aac", "mkv", "mp4"),
        ("libmp3lame", "mp4", "mp4"),
        ("ac3", "mp4", "mp4"),
        ("eac3", "mkv", "mov"),
        ("flac", "mkv", "mp4"),
        ("alac", "mov", "mov"),
        ("libopus", "mkv", "mp4"),
        ("libopus", "mp4", "mkv"),
        ("pcm_s16le", "mov", "mov"),
        ("pcm_s24be", "mov", "mkv"),
    ],
)
def test_sound_is_copied_bit_for_bit_and_in_step(tmp_path: Path, codec: str, source: str, target: str) -> None:
    path = write_clip(
        tmp_path / f"in.{source}", Clip(sounds=(Sound(codec=codec),), time_base=Fraction(1, 1000), pts=range(0, 1000, 40))
    )
    copy = copy_clip(path, tmp_path / f"out.{target}")
    before, after = sound_packets(path), sound_packets(copy.path)
    if codec == "aac" and target == "mkv":
        # What the edit list of MP4 hides at the beginning has no place in Matroska.
        before = before[len(before) - len(after) :]
    assert b"".join(after) == b"".join(before)
    assert _first_audible_s(copy.path) == pytest.approx(_first_audible_s(path), abs=0.025)


def _first_audible_s(path: Path) -> float:
    """When the tone of a test clip begins, relative to its first picture."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(float)).max(axis=0)
            loud = np.flatnonzero(samples > 0.2 * samples.max())
            if samples.max() > 0.01 and len(loud) and frame.time is not None:
                channels = 1 if frame.format.is_planar else frame.layout.nb_channels
                return float(frame.time) + int(loud[0]) / channels / frame.sample_rate - float(picture_times(path)[0])
    raise AssertionError("no sound")


def test_several_tracks_keep_their_order_and_language(tmp_path: Path) -> None:
    sounds = (Sound(language="deu"), Sound(codec="ac3", language="fra"), Sound(codec="libopus", language="eng"))
    source = write_clip(tmp_path / "in.mkv", Clip(sounds=sounds))
    copy = copy_clip(source, tmp_path / "out.mp4")
    assert [(track.codec, track.language) for track in probe(copy.path).audio] == [("aac", "deu"), ("ac3", "fra"), ("opus", "eng")]
    for track in range(3):
        assert sound_packets(copy.path, track) == sound_packets(source, track)


@pytest.mark.parametrize("target", ["mkv", "mp4"])
def test_sound_of_mpeg_streams_is_copied_without_its_packet_headers(tmp_path: Path, target: str) -> None:
    clip = Clip(time_base=Fraction(1, 90000), pts=range(0, 90000, 3600), sounds=(Sound(), Sound(codec="ac3")))
    source = write_clip(tmp_path / "in.ts", clip)
    copy = copy_clip(source, tmp_path / f"out.{target}")
    assert sound_packets(copy.path, 0) == [packet[7:] for packet in sound_packets(source, 0)]
    assert sound_packets(copy.path, 1) == sound_packets(source, 1)
    assert _first_audible_s(copy.path) == pytest.approx(_first_audible_s(source), abs=0.025)


def test_sound_that_fits_nowhere_sounds_the_same_as_flac(tmp_path: Path) -> None:
    clip = Clip(codec="mpeg4", time_base=Fraction(1, 25), pts=range(50), sounds=(Sound(codec="adpcm_ms"),))
    source = write_clip(tmp_path / "in.avi", clip)
    copy = copy_clip(source, tmp_path / "out")

    def samples(path: Path) -> Any:
        with av.open(str(path)) as container:
            return np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])

    assert probe(copy.path).audio[0].codec == "flac"
    assert np.array_equal(samples(copy.path), samples(source))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize(
    "color",
    [
        ColorTags(range=1, primaries=1, transfer=1, matrix=1),
        ColorTags(range=2, primaries=1, transfer=13, matrix=5),
        ColorTags(range=1, primaries=9, transfer=18, matrix=9),
    ],
)
def test_color_tags_survive(tmp_path: Path, suffix: str, codec: Any, color: ColorTags) -> None:
    tags = {"color_range": color.range, "color_primaries": color.primaries, "color_trc": color.transfer, "colorspace": color.matrix}
    source = write_clip(tmp_path / f"in.{suffix}", Clip(attributes=tags))
    assert probe(copy_clip(source, tmp_path / "out", VideoSettings(codec=codec)).path).layout.color == color


@pytest.mark.parametrize(("codec", "tolerance"), [("auto", 0), ("av1", 1e-4), ("h264", 0)])
def test_hdr_and_ten_bits_survive(tmp_path: Path, codec: Any, tolerance: float) -> None:
    clip = Clip(codec="libx265", pixel_format="yuv420p10le", attributes=PQ, options={"x265-params": MASTERING})
    source = write_clip(tmp_path / "in.mp4", clip)
    before, after = probe(source), probe(copy_clip(source, tmp_path / "out", VideoSettings(codec=codec)).path)
    assert after.layout == before.layout
    assert before.hdr is not None
    assert after.hdr is not None
    assert after.hdr.light_level == before.hdr.light_level
    assert after.hdr.luminance == pytest.approx(before.hdr.luminance, abs=tolerance)
    assert np.allclose(after.hdr.primaries, before.hdr.primaries, atol=tolerance)


@pytest.mark.parametrize("pixel_format", ["yuv422p", "yuv444p", "yuv422p10le", "yuv444p10le"])
def test_the_chroma_resolution_survives(tmp_path: Path, pixel_format: str) -> None:
    source = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", pixel_format=pixel_format))
    assert probe(copy_clip(source, tmp_path / "out").path).layout.pixel_format == pixel_format


@pytest.mark.parametrize(
    ("codec", "pixel_format"), [("ffv1", "yuv420p"), ("ffv1", "gray"), ("mjpeg", "yuvj420p"), ("ffv1", "bgr0")]
)
@pytest.mark.parametrize("encoder", ["h264", "hevc", "av1"])
def test_the_picture_looks_the_same(tmp_path: Path, codec: str, pixel_format: str, encoder: Any) -> None:
    attributes: dict[str, Any] = {"color_range": 2, "colorspace": 5} if pixel_format == "yuvj420p" else {}
    source = write_clip(
        tmp_path / "in.mkv", Clip(codec=codec, pixel_format=pixel_format, width=128, height=96, attributes=attributes)
    )
    copy = copy_clip(source, tmp_path / "out", VideoSettings(codec=encoder))
    # Both are read by FFmpeg's own colour conversion, which goes by the tags.
    for before, after in zip(decoded_pictures(source), decoded_pictures(copy.path), strict=True):
        assert np.abs(before.astype(int) - after.astype(int)).mean() < 4


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turned_video_is_upright_without_any_turn(tmp_path: Path, degrees: int) -> None:
    clip = Clip(turn=(degrees, False, False), attributes={"sample_aspect_ratio": Fraction(4, 3)})
    source = write_clip(tmp_path / "in.mp4", clip)
    expected = {name: most_like(color) for name, color in corner_colors(decoded_pictures(source)[0]).items()}
    copy = copy_clip(source, tmp_path / "out")
    assert probe(copy.path).rotation == 0
    assert {name: most_like(color) for name, color in corner_colors(decoded_pictures(copy.path)[0]).items()} == expected
    assert sorted(expected) == sorted(CORNERS)
    assert probe(copy.path).sample_aspect_ratio == (Fraction(4, 3) if degrees == 180 else Fraction(3, 4))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_the_pixel_aspect_ratio_survives(tmp_path: Path, suffix: str) -> None:
    source = write_clip(tmp_path / f"in.{suffix}", Clip(attributes={"sample_aspect_ratio": Fraction(16, 11)}))
    assert probe(copy_clip(source, tmp_path / "out").path).sample_aspect_ratio == Fraction(16, 11)


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_interlaced_video_stays_interlaced(tmp_path: Path, suffix: str, order: str) -> None:
    attributes = {"flags": 1 << 18 | 1 << 22, "field_order": 2 if order == "tff" else 3}
    source = write_clip(tmp_path / f"in.{suffix}", Clip(frame_filter=("setfield", order), attributes=attributes))
    copy = copy_clip(source, tmp_path / "out")
    assert probe(copy.path).field_order == probe(source).field_order == order


def test_nothing_of_the_metadata_reaches_the_output_unless_it_is_kept(tmp_path: Path) -> None:
    tags = {
        "title": "SecretTitle",
        "location": "+52.5200+013.4050/",
        "artist": "SecretArtist",
        "creation_time": "2020-02-02T02:02:02Z",
    }
    chapter = {"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "SecretChapter"}}
    for suffix in ("mp4", "mov", "mkv"):
        source = write_clip(tmp_path / f"in.{suffix}", Clip(metadata=tags, chapters=[chapter], sounds=(Sound(),)))
        assert b"SecretTitle" in source.read_bytes()
        content = copy_clip(source, tmp_path / "out").path.read_bytes()
        assert not any(word in content for word in (b"Secret", b"+52.5200", b"+52.52", b"SubtitleHandler"))
        kept = copy_clip(source, tmp_path / "kept", keep=("all",)).path
        assert b"SecretTitle" in kept.read_bytes()
        assert [c["metadata"]["title"] for c in probe(kept).chapters] == ["SecretChapter"]
        assert probe(kept).made_by_veil


def test_mp4_can_be_played_while_it_is_loaded(tmp_path: Path) -> None:
    content = copy_clip(write_clip(tmp_path / "in.mp4"), tmp_path / "out").path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_hevc_in_mp4_carries_the_mark_that_apple_players_want(tmp_path: Path) -> None:
    copy = copy_clip(write_clip(tmp_path / "in.mp4"), tmp_path / "out", VideoSettings(codec="hevc"))
    assert b"hvc1" in copy.path.read_bytes()


def test_the_quality_setting_reaches_the_encoder(tmp_path: Path) -> None:
    pictures = [np.random.default_rng(number).integers(0, 255, (96, 128, 3), np.uint8) for number in range(5)]
    source = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", width=128, height=96, pictures=pictures, pts=range(0, 2560, 512)))
    sizes = [copy_clip(source, tmp_path / f"out{q}", VideoSettings(quality=q)).path.stat().st_size for q in (10, 25, 40)]
    assert sizes[0] > 1.5 * sizes[1] > 3 * sizes[2]


def test_subtitles_are_dropped_or_kept_as_asked(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    text = tmp_path / "words.srt"
    text.write_text("1\n00:00:00,000 --> 00:00:00,300\nSecretWords\n\n")
    plain_path = write_clip(tmp_path / "plain.mkv")
    with av.open(str(plain_path)) as plain, av.open(str(text)) as words, av.open(str(source), "w") as output:
        pictures = output.add_stream_from_template(plain.streams.video[0])
        subtitles = output.add_stream_from_template(words.streams.subtitles[0])
        for packet in plain.demux(video=0):
            if packet.size:
                packet.stream = pictures
                output.mux(packet)
        for line in words.demux(subtitles=0):
            if line.size:
                line.stream = subtitles
                output.mux(line)
    dropped = copy_clip(source, tmp_path / "out")
    assert b"SecretWords" not in dropped.path.read_bytes()
    assert any("subtitles" in sentence for sentence in dropped.plan.dropped)
    kept = copy_clip(source, tmp_path / "kept", keep=("subtitles",))
    assert b"SecretWords" in kept.path.read_bytes()
    lost = copy_clip(source, tmp_path / "lost.mp4", keep=("subtitles",))
    assert any("cannot hold" in warning for warning in lost.plan.warnings)


def _fill(writer: VideoWriter, reader: VideoReader) -> None:
    planes = reader.info.layout.planes(np.zeros(reader.info.layout.nbytes, np.uint8))
    for item in reader:
        if isinstance(item, DecodedFrame):
            item.write_into(planes)
            writer.write(planes, item.pts, item.duration)
        else:
            assert isinstance(item, AudioPacket)
            writer.write_audio(item)
    writer.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_gives_one_line(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mkv", Clip(sounds=(Sound(),)))
    plan = plan_output(probe(source), VideoSettings(), (), tmp_path / "out.mkv")
    reader = VideoReader(source, plan)
    with pytest.raises(OutputError, match="no space left on the disk") as caught:
        _fill(VideoWriter(Path("/dev/full"), reader.opened(1), plan), reader)
    assert str(caught.value).startswith(plan.path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == ExitCode.OUTPUT


def test_a_folder_that_does_not_exist_gives_one_line(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4")
    plan = plan_output(probe(source), VideoSettings(), (), tmp_path / "missing" / "out.mp4")
    reader = VideoReader(source, plan)
    with pytest.raises(OutputError, match="cannot be written"):
        VideoWriter(tmp_path / "missing" / "part", reader.opened(1), plan)


def test_giving_up_midway_is_quiet(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4")
    plan = plan_output(probe(source), VideoSettings(), (), tmp_path / "out.mp4")
    reader = VideoReader(source, plan)
    writer = VideoWriter(tmp_path / "part", reader.opened(1), plan)
    planes = reader.info.layout.planes(np.zeros(reader.info.layout.nbytes, np.uint8))
    writer.write(planes, 0, 512)
    writer.abort()
    writer.abort()

"""A file is described as it is, and refused with one line where it cannot be used."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streamer.errors import ExitCode, InputError
from streamer.pictures import ColorTags
from streamer.probe import MADE_BY_VEIL, MEDIA_SUFFIXES, probe
from tests.media import Clip, Sound, picture, write_clip

PQ = {"color_range": 1, "color_primaries": 9, "color_trc": 16, "colorspace": 9}


def _refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        probe(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert caught.value.exit_code == ExitCode.INPUT
    return message


def test_files_that_hold_no_video_are_refused_each_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("This is no video.\n" * 200)
    (tmp_path / "noise.mkv").write_bytes(np.random.default_rng(1).bytes(5000))
    (tmp_path / "folder.mp4").mkdir()
    assert "no such file" in _refusal(tmp_path / "missing.mp4")
    assert "empty" in _refusal(tmp_path / "empty.mp4")
    assert "not a media file" in _refusal(tmp_path / "text.mp4")
    assert "not a media file" in _refusal(tmp_path / "noise.mkv")
    assert "folder" in _refusal(tmp_path / "folder.mp4")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    path.chmod(0)
    assert "permission" in _refusal(path)


def _sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=48000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def test_sound_without_video_is_refused(tmp_path: Path) -> None:
    assert "sound but no video" in _refusal(_sound_only(tmp_path / "a.mp4"))


def test_a_video_track_without_a_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.start_encoding()
    assert _refusal(path)


def test_a_video_whose_pictures_are_noise_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    content = path.read_bytes()
    start = content.index(b"mdat") + 4
    end = content.index(b"moov")
    path.write_bytes(content[:start] + bytes(end - 4 - start) + content[end - 4 :])
    assert "no picture can be decoded" in _refusal(path)


@pytest.mark.parametrize(("name", "codec", "pixel_format"), [("a.mkv", "ffv1", "bgra"), ("a.mov", "prores_ks", "yuva444p10le")])
def test_transparent_video_is_refused_and_opaque_video_with_alpha_is_not(
    tmp_path: Path, name: str, codec: str, pixel_format: str
) -> None:
    def clip(alpha: int) -> Clip:
        layers = [np.dstack((picture(number, 64, 48), np.full((48, 64), alpha, np.uint8))) for number in range(3)]
        return Clip(codec=codec, pixel_format=pixel_format, pictures=layers, pts=(0, 512, 1024))

    assert "alpha" in _refusal(write_clip(tmp_path / name, clip(120)))
    assert probe(write_clip(tmp_path / name, clip(255))).layout.pixel_format.startswith("yuv444p")


def test_a_name_with_a_colon_is_a_file_and_not_an_address(tmp_path: Path) -> None:
    path = tmp_path / "http:a.mp4"
    write_clip(tmp_path / "b.mp4").rename(path)
    assert probe(path).codec == "h264"


def test_a_playlist_cannot_make_the_program_open_other_files_or_addresses(tmp_path: Path) -> None:
    inner = write_clip(tmp_path / "inner.ts", Clip(time_base=Fraction(1, 90000), pts=range(0, 36000, 3600)))
    playlist = tmp_path / "list.m3u8"
    for target in (f"http://127.0.0.1:9/{inner.name}", f"tcp://127.0.0.1:9/{inner.name}"):
        playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n")
        assert _refusal(playlist)


def test_a_plain_clip_is_described(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "a.mp4", Clip(sounds=(Sound(language="deu"), Sound(codec="ac3")))))
    assert (info.layout.width, info.layout.height, info.layout.pixel_format) == (64, 48, "yuv420p")
    assert (info.time_base, info.average_rate, info.frames_estimated) == (Fraction(1, 12800), Fraction(25), 10)
    assert (info.rotation, info.is_interlaced, info.hdr, info.made_by_veil) == (0, False, None, False)
    assert [(track.codec, track.channels, track.rate, track.language) for track in info.audio] == [
        ("aac", 2, 48000, "deu"),
        ("ac3", 2, 48000, "und"),
    ]
    assert info.duration_s == pytest.approx(0.4)


STEADY, BURST = range(0, 20 * 90000, 90000), range(20 * 90000, 21 * 90000, 3000)


@pytest.mark.parametrize(
    ("pts", "peak"),
    [
        ([*STEADY, *BURST], 30),
        ([*STEADY, *(time + time % 7 for time in BURST)], 30),
        ([*STEADY, *(time + time % 7 for time in range(20 * 90000, 21 * 90000, 900))], 100),
    ],
    ids=["even", "uneven", "uneven and fast"],
)
def test_a_variable_rate_is_known_by_its_fastest_part(tmp_path: Path, pts: list[int], peak: int) -> None:
    info = probe(write_clip(tmp_path / "a.mp4", Clip(time_base=Fraction(1, 90000), pts=pts)))
    assert info.average_rate is not None
    assert info.average_rate < 7
    assert info.peak_rate == pytest.approx(peak, rel=0.02)


@pytest.mark.parametrize(("degrees", "rotation"), [(0, 0), (90, 90), (180, 180), (-90, 270)])
def test_rotation_swaps_the_size_and_the_pixel_aspect(tmp_path: Path, degrees: int, rotation: int) -> None:
    clip = Clip(turn=(degrees, False, False), attributes={"sample_aspect_ratio": Fraction(4, 3)})
    info = probe(write_clip(tmp_path / "a.mp4", clip))
    turned = degrees % 180 != 0
    assert info.rotation == rotation
    assert (info.layout.width, info.layout.height) == ((48, 64) if turned else (64, 48))
    assert info.sample_aspect_ratio == (Fraction(3, 4) if turned else Fraction(4, 3))


def test_color_tags_and_hdr_metadata_are_read(tmp_path: Path) -> None:
    described = (
        "log-level=error:master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    )
    clip = Clip(codec="libx265", pixel_format="yuv420p10le", attributes=PQ, options={"x265-params": described})
    info = probe(write_clip(tmp_path / "a.mp4", clip))
    assert info.layout.color == ColorTags(range=1, primaries=9, transfer=16, matrix=9)
    assert info.hdr is not None
    assert info.hdr.primaries == ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046), (0.3127, 0.329))
    assert info.hdr.luminance == (0.005, 1000.0)
    assert info.hdr.light_level == (1000, 400)


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_interlaced_video_is_recognized(tmp_path: Path, order: str) -> None:
    flags = av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.global_header
    clip = Clip(frame_filter=("setfield", order), attributes={"flags": int(flags), "field_order": 2 if order == "tff" else 3})
    assert probe(write_clip(tmp_path / "a.mkv", clip)).field_order == order


def test_what_will_be_dropped_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(write_clip(tmp_path / "plain.mp4"))) as plain, av.open(str(path), "w") as output:
        copy = output.add_stream_from_template(plain.streams.video[0])
        output.add_attachment("secret.txt", "text/plain", b"note")
        for packet in plain.demux(video=0):
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    assert any("attached file" in sentence for sentence in probe(path).dropped)


def test_own_outputs_are_recognized_in_every_container(tmp_path: Path) -> None:
    for suffix in ("mp4", "mov", "mkv"):
        path = write_clip(tmp_path / f"a.{suffix}", Clip(metadata={"comment": MADE_BY_VEIL}))
        assert probe(path).made_by_veil


def test_a_folder_walk_takes_videos_and_pictures_by_suffix() -> None:
    assert MEDIA_SUFFIXES[".mp4"] == MEDIA_SUFFIXES[".gif"] == "video"
    assert MEDIA_SUFFIXES[".jpg"] == MEDIA_SUFFIXES[".webp"] == "image"
    assert ".txt" not in MEDIA_SUFFIXES

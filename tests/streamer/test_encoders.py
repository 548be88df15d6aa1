"""Everything about an output is decided, and what will be lost is said, before anything is written."""

from __future__ import annotations

from base64 import b64encode, encodebytes
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamer.config import VideoSettings
from streamer.encoders import ENCODERS, OutputPlan, available_encoders, default_suffix, plan_output, why_not_open
from streamer.errors import ExitCode, OutputError, UsageError
from streamer.probe import probe
from tests.media import Clip, Sound, write_clip

TEN_BITS = Clip(codec="libx265", pixel_format="yuv420p10le", options={"x265-params": "log-level=error"})
AVI = Clip(codec="mpeg4", time_base=Fraction(1, 25), pts=range(10))


def _plan(source: Path, target: str = "out", **settings: Any) -> OutputPlan:
    return plan_output(probe(source), VideoSettings(**settings), (), source.parent / target)


@pytest.mark.parametrize(
    ("name", "clip", "encoder"),
    [
        ("a.mp4", Clip(), "libx264"),
        ("a.mp4", TEN_BITS, "libx265"),
        ("a.webm", Clip(codec="libvpx-vp9", time_base=Fraction(1, 1000), pts=range(0, 400, 40)), "libsvtav1"),
        ("a.mov", Clip(codec="prores_ks", pixel_format="yuv422p10le"), "libx265"),
    ],
)
def test_the_encoder_is_chosen_by_bits_and_container(tmp_path: Path, name: str, clip: Clip, encoder: str) -> None:
    plan = _plan(write_clip(tmp_path / name, clip))
    assert plan.encoder == encoder
    assert plan.pixel_format == clip.pixel_format
    assert plan.path == str(tmp_path / f"out{Path(name).suffix}")


def test_a_plan_travels_unchanged(tmp_path: Path) -> None:
    plan = _plan(write_clip(tmp_path / "a.mp4", Clip(sounds=(Sound(),))))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(plan), type=OutputPlan) == plan


def test_containers_that_cannot_be_written_become_mkv(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.avi", AVI)
    assert _plan(source).path.endswith("out.mkv")
    assert _plan(source, "out.avi").path.endswith("out.mkv")
    assert _plan(source, "out.mp4").path.endswith("out.mp4")
    assert default_suffix(probe(source), VideoSettings()) == ".mkv"


def test_the_suffix_of_the_input_is_kept_as_it_is_spelt(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "plain.mp4")
    for name in ("a.MP4", "a.m4v", "a.MOV"):
        source = source.rename(tmp_path / name)
        assert default_suffix(probe(source), VideoSettings()) == Path(name).suffix


def test_sound_that_the_container_cannot_hold_changes_the_container_and_the_user_is_told(tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "a.avi",
        Clip(sounds=(Sound(codec="pcm_mulaw", rate=8000),), codec="mpeg4", time_base=Fraction(1, 25), pts=range(10)),
    )
    plan = _plan(source)
    assert plan.container == "mov"
    assert "pcm_mulaw" in plan.warnings[0]
    with pytest.raises(UsageError, match="use mov for the output"):
        _plan(source, container="mp4")


def test_sound_that_fits_nowhere_is_encoded_without_loss_and_the_user_is_told(tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "a.avi", Clip(sounds=(Sound(codec="adpcm_ms"),), codec="mpeg4", time_base=Fraction(1, 25), pts=range(10))
    )
    plan = _plan(source)
    assert plan.reencoded == plan.tracks == (1,)
    assert "FLAC" in plan.warnings[0]
    with pytest.raises(UsageError, match="use mkv"):
        _plan(source, container="webm")


def test_settings_that_contradict_each_other_are_usage_errors(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4")
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("ends in .mkv", "out.mkv", {"container": "mp4"}),
        ("cannot be put into webm", "out.webm", {"codec": "h264"}),
        ("cannot be put into mov", "out.mov", {"codec": "av1"}),
        ("must be at most 51", "out.mp4", {"quality": 60}),
    ]
    for message, target, settings in cases:
        with pytest.raises(UsageError, match=message) as caught:
            _plan(source, target, **settings)
        assert caught.value.exit_code == ExitCode.USAGE
    assert not list(tmp_path.glob("out*"))


def test_an_encoder_that_does_not_open_is_an_output_error_before_anything_is_written(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4")
    with pytest.raises(OutputError, match="encoder libx264 cannot be used") as caught:
        _plan(source, preset="no-such-preset")
    assert caught.value.exit_code == ExitCode.OUTPUT
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_every_software_encoder_opens_and_every_row_is_reported() -> None:
    found = available_encoders()
    assert set(found) == set(ENCODERS)
    assert {name: reason for name, reason in found.items() if not name.endswith("_nvenc")} == {"h264": "", "hevc": "", "av1": ""}
    assert why_not_open("no_such_encoder", size=(64, 64), pixel_format="yuv420p", options={})


def test_losses_are_said_beforehand(tmp_path: Path) -> None:
    deep = write_clip(tmp_path / "deep.mkv", Clip(codec="ffv1", pixel_format="yuv422p12le"))
    assert any("12 bits" in warning for warning in _plan(deep).warnings)
    assert any("4:2:0" in warning for warning in _plan(deep, codec="av1").warnings)
    fine = write_clip(tmp_path / "fine.mp4")
    assert _plan(fine).warnings == ()
    assert any("millisecond" in warning for warning in _plan(fine, container="mkv").warnings)


def test_interlaced_video_is_never_encoded_as_progressive(tmp_path: Path) -> None:
    clip = Clip(frame_filter=("setfield", "tff"), attributes={"flags": 1 << 18 | 1 << 22, "field_order": 2})
    source = write_clip(tmp_path / "a.mkv", clip)
    assert _plan(source).field_order == "tff"
    with pytest.raises(UsageError, match="interlaced"):
        _plan(source, codec="hevc")


def test_metadata_is_dropped_and_named_unless_it_is_kept(tmp_path: Path) -> None:
    chapter = {"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}}
    source = write_clip(tmp_path / "a.mkv", Clip(metadata={"title": "t", "comment": "c"}, chapters=[chapter]))
    info = probe(source)
    plain = plan_output(info, VideoSettings(), (), tmp_path / "out")
    assert plain.metadata == {"comment": "Anonymized by Veil"}
    assert plain.chapters == ()
    assert "title" in " ".join(plain.dropped)
    assert "1 chapter" in " ".join(plain.dropped)
    kept = plan_output(info, VideoSettings(), ("tags", "chapters"), tmp_path / "out")
    assert kept.metadata == {"title": "t", "comment": "Anonymized by Veil. c"}
    assert [chapter.title for chapter in kept.chapters] == ["one"]
    assert kept.dropped == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("METADATA_BLOCK_PICTURE", "aGVsbG8="),
        ("CoverArt", "x"),
        ("thumbnail_base64", "x"),
        ("com.apple.photo", "x"),
        ("synopsis", "word " * 201),
        ("synopsis", b64encode(bytes(range(256))).decode()),
        ("synopsis", encodebytes(bytes(range(250))).decode()),
        ("comment", b64encode(bytes(range(256))).decode()),
        ("k" * 61, "x"),
    ],
)
def test_tags_that_may_hold_a_picture_are_never_kept(tmp_path: Path, key: str, value: str) -> None:
    chapter = {"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": value}}
    source = write_clip(
        tmp_path / "a.mkv", Clip(metadata={"title": "A day at the sea, " + "all day " * 50, key: value}, chapters=[chapter])
    )
    plan = plan_output(probe(source), VideoSettings(), ("all",), tmp_path / "out")
    assert set(plan.metadata) == {"title", "comment"}
    assert plan.metadata["comment"] == "Anonymized by Veil"
    assert any(sentence.startswith("Tags are dropped, because they may hold a picture: ") for sentence in plan.dropped)
    assert [chapter.title for chapter in plan.chapters] == ["" if len(value) > 10 else value]

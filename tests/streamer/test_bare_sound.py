"""Nothing but sound is copied: tags with pictures and places stay behind, in packets and in parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.bare_sound import BareSound, bare_parameters, without_adts_header
from tests.media import Clip, Sound, copy_clip, sound_packets, write_clip
from tests.streamer.tagged import (
    EXPERIMENTAL,
    PICTURE,
    adts,
    ape,
    encoded,
    id3,
    id3v1,
    parameters_of,
    pieces_in,
    samples,
    tagged_clip,
    vorbis_comments,
    xiph,
)

CODECS = ["aac", "mp1", "mp2", "mp3", "ac3", "eac3", "vorbis", "opus", "flac", "alac", "dts", "pcm_s16le", "wmav2", ""]
TAG_STARTS = [b"ID3\3\0\0\0\0\1\2", b"APETAGEX", id3v1(), b"\xff\xfb\x90\x64", adts(b"")[:7], b"\x0b\x77", b"\0", b"OpusHead"]


def cleaned(codec: str, packets: list[bytes], *, has_parameters: bool = True) -> list[bytes]:
    bare = BareSound(codec, has_parameters=has_parameters)
    return [sound for packet in packets if (sound := bare.clean(packet))]


REAL: list[tuple[str, str, dict[str, Any]]] = [
    *(("mp3", "libmp3lame", {"rate": rate, "bit_rate": bits}) for rate in (48000, 44100, 22050, 11025) for bits in (32000, 64000)),
    *(("mp2", "mp2", {"rate": rate, "bit_rate": bits}) for rate in (48000, 44100, 22050) for bits in (64000, 128000)),
    *(("ac3", "ac3", {"rate": rate, "bit_rate": bits}) for rate in (48000, 44100, 32000) for bits in (96000, 448000)),
    ("eac3", "eac3", {}),
    ("eac3", "eac3", {"rate": 44100, "layout": "5.1"}),
    ("aac", "aac", {}),
    ("opus", "libopus", {}),
    ("flac", "flac", {}),
    ("alac", "alac", {}),
    ("vorbis", "vorbis", {"frames": 120}),
]


@pytest.mark.parametrize(("codec", "encoder", "settings"), REAL)
def test_plain_sound_stays_as_it_is_and_tagged_sound_becomes_plain(codec: str, encoder: str, settings: dict[str, Any]) -> None:
    packets = encoded(encoder, **settings)
    assert len(packets) > 5
    assert cleaned(codec, packets) == packets
    for tag in (id3(), ape(), id3() + id3(b"x"), id3v1()):
        assert cleaned(codec, [tag + packets[0], *packets[1:4], tag + packets[4], *packets[5:]]) == packets
        assert cleaned(codec, [packets[0] + tag, *packets[1:4], packets[4] + tag, *packets[5:]]) == packets
    assert cleaned(codec, [packet + ape(has_header=False) for packet in packets]) == packets


@pytest.mark.parametrize("codec", ["mp3", "ac3"])
def test_what_else_stands_around_frames_is_cut_off_or_left_out_with_them(codec: str) -> None:
    frames = encoded("libmp3lame" if codec == "mp3" else codec)[1:5]
    assert cleaned(codec, [b"\0" * 40 + frames[0] + frames[1] + PICTURE]) == [frames[0] + frames[1]]
    bare = BareSound(codec, has_parameters=False)
    assert bare.clean(PICTURE + frames[0]) == b""
    assert bare.clean(frames[0][:-1]) == b""
    assert bare.unknown_packets == 2
    assert "2 packets of track 3 are dropped" in bare.losses(3)[0]


@pytest.mark.parametrize("size", [1, 100, 1000, 4096, 30000])
@pytest.mark.parametrize("codec", ["mp3", "aac", "opus"])
def test_a_tag_may_go_on_over_several_packets(codec: str, size: int) -> None:
    packets = encoded({"mp3": "libmp3lame", "opus": "libopus"}.get(codec, codec))
    tag = id3()
    pieces = [tag[:20], *(tag[at : at + size] for at in range(20, len(tag), size))]
    assert cleaned(codec, [packets[0], *pieces, *packets[1:]]) == packets
    assert cleaned(codec, [packets[0] + pieces[0], *pieces[1:-1], pieces[-1] + packets[1], *packets[2:]]) == packets


@pytest.mark.parametrize("has_parameters", [False, True])
def test_adts_headers_are_found_behind_tags_and_tags_behind_adts_headers(has_parameters: bool) -> None:
    bare = encoded("aac")
    packets = [adts(packet) for packet in bare]
    small = id3(PICTURE[:2000])
    for wrapped in (small + packets[1], packets[1] + small, adts(small + packets[1]), adts(small + bare[1])):
        found = cleaned("aac", [packets[0], wrapped, *packets[2:]], has_parameters=has_parameters)
        assert [without_adts_header(packet) for packet in found] == bare
    assert cleaned("aac", [adts(id3()[:6000]), id3()[6000:] + packets[0], packets[1]], has_parameters=has_parameters) == packets[:2]


def test_aac_with_neither_headers_nor_parameters_is_left_out() -> None:
    assert cleaned("aac", encoded("aac"), has_parameters=False) == []


@pytest.mark.parametrize(
    ("codec", "header"),
    [("vorbis", vorbis_comments(PICTURE)), ("opus", b"OpusTags" + PICTURE), ("flac", b"\x06\0\x4e\x20" + PICTURE)],
)
def test_the_headers_of_a_further_file_within_are_left_out(codec: str, header: bytes) -> None:
    packets = encoded({"opus": "libopus"}.get(codec, codec))
    assert cleaned(codec, [*packets, header, *packets]) == packets + packets


@given(
    st.sampled_from(CODECS),
    st.booleans(),
    st.lists(st.lists(st.binary(max_size=60) | st.sampled_from(TAG_STARTS)).map(b"".join), max_size=5),
)
def test_of_any_bytes_one_slice_at_most_is_left(codec: str, has_parameters: bool, packets: list[bytes]) -> None:
    bare = BareSound(codec, has_parameters=has_parameters)
    left = [bare.clean(packet) for packet in packets]
    assert all(sound in packet for sound, packet in zip(left, packets, strict=True))
    again = BareSound(codec, has_parameters=has_parameters)
    assert [again.clean(sound) for sound in left if sound] == [sound for sound in left if sound]


@given(
    st.sampled_from(CODECS),
    st.sampled_from([b"", b"\x02", b"\x02\x1e", b"\0\x1e", b"fLaC", b"OpusHead", b"\0\0\0\x24alac"]),
    st.binary(),
)
def test_of_any_parameters_a_few_bytes_or_nothing_is_left(codec: str, start: bytes, rest: bytes) -> None:
    try:
        bare = bare_parameters(codec, start + rest)
    except ValueError:
        return
    assert bare_parameters(codec, bare) == bare
    assert len(bare) <= max(len(start + rest), 128)


@pytest.mark.parametrize("codec", ["mp3", "ac3", "aac", "opus", "flac", "alac", "wmav2", "pcm_s16le", "vorbis"])
def test_no_parameters_have_room_for_a_picture(codec: str) -> None:
    for start in (b"", b"\0\0\0\x24alac" + bytes(28), b"fLaC\0\0\0\x22" + bytes(34), b"OpusHead\1\2" + bytes(9)):
        try:
            bare = bare_parameters(codec, start + PICTURE)
        except ValueError:
            continue
        assert pieces_in(bare) <= 2
        assert len(bare) < 50


def test_what_the_decoder_needs_of_flac_is_found_in_both_forms() -> None:
    info = bytes(range(34))
    assert bare_parameters("flac", info) == info
    assert bare_parameters("flac", b"fLaC\x00\x00\x00\x22" + info + b"\x86\x00\x4e\x26" + PICTURE) == info


COMMENTS = vorbis_comments(b"LOCATION=51.5007N", b"METADATA_BLOCK_PICTURE=" + PICTURE)


def _vorbis(folder: Path) -> tuple[bytes, bytes]:
    """Parameters of a file as FFmpeg packs them: the first header and the last."""
    path = write_clip(folder / "vorbis.mkv", Clip(sounds=(Sound(codec="vorbis", options=EXPERIMENTAL),)))
    whole = parameters_of(path)
    first, second = 3 + whole[1], 3 + whole[1] + whole[2]
    assert whole == xiph(whole[3:first], whole[first:second], whole[second:])
    return whole[3:first], whole[second:]


@pytest.mark.parametrize("target", ["mkv", "mp4"])
def test_comments_of_vorbis_stay_behind(tmp_path: Path, target: str) -> None:
    identification, setup = _vorbis(tmp_path)
    source = tagged_clip(tmp_path / "in.mkv", "vorbis", parameters=xiph(identification, COMMENTS, setup))
    assert pieces_in(source.read_bytes()) > 100
    copy = copy_clip(source, tmp_path / f"out.{target}")
    content = copy.path.read_bytes()
    assert copy.plan.reencoded == ()
    assert (pieces_in(content), b"LOCATION" in content, b"PICTURE" in content) == (0, False, False)
    before, after = samples(source), samples(copy.path)
    assert np.array_equal(after[:, : before.shape[1]], before)


def test_headers_of_vorbis_are_found_in_both_forms(tmp_path: Path) -> None:
    identification, setup = _vorbis(tmp_path)
    counted = b"".join(len(header).to_bytes(2, "big") + header for header in (identification, COMMENTS, setup))
    assert bare_parameters("vorbis", counted) == bare_parameters("vorbis", xiph(identification, COMMENTS, setup))
    assert len(bare_parameters("vorbis", counted)) == 3 + len(identification) + 16 + len(setup)


@pytest.mark.parametrize("suffix", ["mkv", "avi", "ts"])
@pytest.mark.parametrize("codec", ["libmp3lame", "ac3"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_tags_between_packets_stay_behind(tmp_path: Path, suffix: str, codec: str, side: str) -> None:
    before, after = (id3(), b"") if side == "before" else (b"", id3())
    source = tagged_clip(tmp_path / f"in.{suffix}", codec, before=before, after=after)
    assert pieces_in(b"".join(sound_packets(source))) > 100
    copy = copy_clip(source, tmp_path / "out.mkv")
    assert pieces_in(copy.path.read_bytes()) == 0
    assert sound_packets(copy.path) == sound_packets(tmp_path / "plain.mkv")
    assert any("Tags inside the sound of track 1" in note for note in copy.reader.notes)
    assert not copy.reader.is_damaged


@pytest.mark.parametrize("target", ["mkv", "mp4"])
def test_tags_inside_adts_frames_stay_behind(tmp_path: Path, target: str) -> None:
    source = tagged_clip(tmp_path / "in.ts", "aac", before=id3(PICTURE[:3000]), at=(3, 7))
    assert pieces_in(b"".join(sound_packets(source)), PICTURE[:3000]) > 100
    copy = copy_clip(source, tmp_path / f"out.{target}")
    assert pieces_in(copy.path.read_bytes(), PICTURE[:3000]) == 0
    plain = sound_packets(tmp_path / "plain.mp4")
    assert sound_packets(copy.path)[-10:] == plain[-10:]


def test_sound_with_parameters_that_are_not_understood_is_encoded_again(tmp_path: Path) -> None:
    plain = write_clip(tmp_path / "a.mp4", Clip(sounds=(Sound(),)))
    source = tagged_clip(tmp_path / "in.mkv", "aac", parameters=parameters_of(plain) + PICTURE)
    copy = copy_clip(source, tmp_path / "out.mkv")
    assert copy.plan.reencoded == (1,)
    assert pieces_in(copy.path.read_bytes()) == 0
    assert samples(copy.path).shape[1] > 30000

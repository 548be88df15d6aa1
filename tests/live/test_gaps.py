"""Lost pictures of which the decoder says nothing."""

from __future__ import annotations

import functools
import re
from fractions import Fraction

import av
import pytest

from streamer.live.gaps import Gaps
from tests.media import picture

KINDS = {
    "camera": {"profile": "baseline", "tune": "zerolatency"},
    "main": {"profile": "main", "bf": "2"},
    "high": {"profile": "high", "bf": "3", "x264-params": "b-pyramid=normal:cqm=jvt"},
    "444": {"profile": "high444", "bf": "0"},
    "slices": {"profile": "high", "x264-params": "slices=4:sliced-threads=0"},
    "interlaced": {"profile": "high", "flags": "+ildct+ilme"},
}


@functools.cache
def encoded(kind: str) -> tuple[tuple[bytes, bool, bool], ...]:
    """120 pictures, a key one every 40: each with whether it is one, and whether others build on it."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "yuv444p" if kind == "444" else "yuv420p"
    encoder.time_base, encoder.framerate, encoder.thread_count, encoder.gop_size = Fraction(1, 25), Fraction(25), 1, 40
    encoder.options = {"preset": "veryfast", "sc_threshold": "0", **KINDS[kind]}
    packets = []
    for number in range(120):
        frame = av.VideoFrame.from_ndarray(picture(number, 64, 48), "rgb24").reformat(format=encoder.pix_fmt)
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return tuple((bytes(packet), packet.is_keyframe, is_built_on(bytes(packet))) for packet in packets)


def is_built_on(data: bytes) -> bool:
    """By the first byte of its first slice: bits 5 and 6 are nal_ref_idc."""
    found = re.search(rb"\x00\x00\x01([\x01\x21\x41\x61\x05\x25\x45\x65])", data)
    assert found is not None
    return bool(found[1][0] & 0x60)


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_stream_has_no_gaps(kind: str) -> None:
    gaps = Gaps(None)
    assert not any(gaps.precede(data) for data, _, _ in encoded(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_picture_is_noticed_at_the_next_one_unless_nothing_builds_on_it(kind: str) -> None:
    packets = encoded(kind)
    needed = 0
    for lost in (*range(1, 35), *range(41, 75)):
        gaps = Gaps(None)
        found = [gaps.precede(data) for number, (data, _, _) in enumerate(packets[:79]) if number != lost]
        is_needed = packets[lost][2]
        needed += is_needed
        assert any(found) == is_needed
        assert not any(found[:lost])
        assert not is_needed or found[lost], "it was noticed too late"
    assert needed >= 15


def test_a_key_picture_that_is_lost_is_noticed_and_the_next_one_ends_it() -> None:
    packets = encoded("camera")
    gaps = Gaps(None)
    found = [gaps.precede(data) for number, (data, _, _) in enumerate(packets) if number != 40]
    assert found.index(True) == 40
    assert not any(found[41:])


def test_parameters_may_come_beforehand() -> None:
    data = encoded("camera")[0][0]
    first_slice = data.index(b"\x00\x00\x01\x65")
    gaps = Gaps(data[:first_slice])
    assert not gaps.precede(data[first_slice:])
    assert gaps.precede(encoded("camera")[3][0])


@pytest.mark.parametrize(
    "data", [b"", b"\x00\x00\x01", b"\x00\x00\x01\x67", b"\x00\x00\x00\x05\x65abcd", b"\x01\x64\x00\x1f", bytes(99)]
)
def test_nothing_is_found_in_what_has_no_start_codes_or_is_cut_short(data: bytes) -> None:
    gaps = Gaps(data)
    assert not gaps.precede(data)
    assert not gaps.precede(data)


def test_a_slice_that_is_cut_short_is_as_good_as_lost() -> None:
    gaps = Gaps(encoded("camera")[0][0])
    assert gaps.precede(b"\x00\x00\x01\x61")

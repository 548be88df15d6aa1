"""Encoding live: times as they are, keyframes when they are due, safe pictures only, slates while there are none."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from typing import Any

import av
import cv2
import numpy as np
import pytest

from streamer.live.messages import (
    CLOCK,
    EncodedPacket,
    EncodingOpened,
    KeyframeWanted,
    LiveFrameWritten,
    Preview,
    PreviewWanted,
    Slate,
    SlateWritten,
)
from streamer.live.slates import FIRST_LAYOUT
from streamer.messages import AnonymizedFrame
from streamer.pictures import PIXEL_FORMATS, ColorTags, PictureLayout
from streamer.rings import SlotState
from tests.live.encoded import LAYOUT, TICKS, number_of
from tests.live.sink_bench import SLOTS, Stream, decoded, luma


def test_every_frame_leaves_at_once_at_its_own_time() -> None:
    stream = Stream()
    stream.begin(3)
    times = [0, 3600, 7300, 7301, 20_000, 500_000, 503_003]
    for number, pts in enumerate(times):
        stream.put(number)
        given = stream.promise(number, pts)
        assert [type(message) for message in given[-2:]] == [EncodedPacket, LiveFrameWritten]
        assert given[-1] == LiveFrameWritten(session=3, number=number, slot=number % SLOTS)
    assert [packet.pts for packet in stream.packets] == times
    assert [packet.dts for packet in stream.packets] == times
    assert {packet.duration for packet in stream.packets} == {TICKS}
    assert [number_of(luma(frame)) for frame in decoded(stream.said)] == list(range(len(times)))


def test_keyframes_come_by_time_and_when_they_are_wanted() -> None:
    stream = Stream(keyframe_s=1.0)
    stream.begin(1)
    stream.frames(*range(30))
    stream.give(KeyframeWanted())
    stream.frames(*range(30, 70))
    keyframes = [packet.pts // TICKS for packet in stream.packets if packet.is_keyframe]
    assert keyframes == [0, 25, 30, 55]


def test_a_keyframe_can_be_decoded_by_who_knows_nothing_else() -> None:
    stream = Stream(keyframe_s=0.4)
    stream.begin(1)
    stream.frames(*range(25))
    for packet in stream.packets:
        if packet.is_keyframe:
            decoder = av.CodecContext.create("h264", "r")
            assert isinstance(decoder, av.VideoCodecContext)
            seen = [*decoder.decode(av.Packet(packet.data)), *decoder.decode(None)]
            assert [number_of(luma(frame)) for frame in seen] == [packet.pts // TICKS]


def test_times_never_go_back() -> None:
    stream = Stream()
    stream.give(Slate(text="starting", pts=100_000))
    stream.begin(1, FIRST_LAYOUT)
    for number, pts in enumerate([90_000, 95_000, 100_000, 100_001, 140_000]):
        stream.put(number)
        stream.promise(number, pts)
    stream.give(Slate(text="no signal", pts=10), Slate(text="no signal", pts=150_000))
    times = [packet.pts for packet in stream.packets]
    assert times == [100_000, 100_001, 100_002, 100_003, 100_004, 140_000, 140_001, 150_000]
    assert len(decoded(stream.said)) == len(times)


@pytest.mark.parametrize("what", ["raw", "other generation", "other number", "old session", "no such slot"])
def test_a_slot_that_holds_anything_else_is_left_out(what: str) -> None:
    stream = Stream()
    stream.begin(1)
    stream.frames(0)
    stream.put(5 if what == "other number" else 1, SlotState.RAW if what == "raw" else SlotState.SAFE)
    if what == "old session":
        stream.begin(2)
        stream.session = 1
    if what == "no such slot":
        frame = AnonymizedFrame(stream=1, number=1, slot=SLOTS, generation=1, pts=TICKS, duration=TICKS)
        given = stream.give(frame)
    else:
        given = stream.promise(1, generation=2 if what == "other generation" else 1)
    assert [type(message) for message in given] == [LiveFrameWritten], "the slot is given back and nothing goes out"
    if what == "old session":
        stream.session = 2
    stream.frames(2)
    assert [number_of(luma(frame)) for frame in decoded(stream.said)] == [0, 2]


def test_a_slot_that_changes_while_it_is_copied_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream()
    stream.begin(1)
    stream.frames(0)
    stream.put(1)
    ring = stream.worker._ring
    looks = iter(range(10))
    honest = ring.planes

    def planes(frame: AnonymizedFrame) -> Any:
        if next(looks) == 1:  # when it is looked at again
            with stream.rings.writer(LAYOUT, SLOTS, SlotState.SAFE).writing(stream=1, number=5, slot=1, generation=2):
                return honest(frame)
        return honest(frame)

    monkeypatch.setattr(ring, "planes", planes)
    assert [type(message) for message in stream.promise(1)] == [LiveFrameWritten]


def test_the_encoder_is_opened_again_only_for_pictures_of_another_shape() -> None:
    larger = PictureLayout(width=320, height=192, pixel_format="yuv420p")
    stream = Stream()
    stream.begin(1)
    stream.frames(0, 1)
    stream.begin(2)
    stream.frames(2, 3)
    assert len(stream.openings) == 1
    assert [packet.is_keyframe for packet in stream.packets] == [True, False, True, False], "a session begins with a keyframe"
    stream.begin(3, larger)
    assert len(stream.openings) == 1, "not before there is a picture"
    stream.frames(4, 5)
    stream.begin(4, larger, aspect=(4, 3))
    stream.frames(6)
    stream.begin(5, larger)
    stream.begin(6, PictureLayout(width=320, height=192, pixel_format="yuv420p", color=ColorTags(range=2)))
    stream.frames(7)
    assert [(opened.width, opened.height) for opened in stream.openings] == [(160, 96), (320, 192), (320, 192), (320, 192)]
    assert all(later.pts > earlier.pts for earlier, later in pairwise(stream.packets))
    assert [number_of(luma(frame)) for frame in decoded(stream.said)] == list(range(8))


def test_the_parameters_say_what_the_pictures_are() -> None:
    stream = Stream()
    color = ColorTags(range=1, primaries=9, transfer=16, matrix=9)
    stream.begin(1, PictureLayout(width=160, height=96, pixel_format="yuv420p", color=color), aspect=(4, 3))
    stream.frames(0)
    with av.open(BytesIO(stream.openings[0].video)) as small:
        track = small.streams.video[0]
        context = track.codec_context
        assert track.sample_aspect_ratio == Fraction(4, 3)
        assert (context.color_range, context.color_primaries, context.color_trc, context.colorspace) == (1, 9, 16, 9)
        assert context.pix_fmt == "yuv420p"


@pytest.mark.parametrize("pixel_format", [name for name, form in PIXEL_FORMATS.items() if form.has_chroma])
def test_all_layouts_become_what_every_player_shows(pixel_format: str) -> None:
    odd = pixel_format.startswith("yuv444")
    layout = PictureLayout(width=321 if odd else 320, height=193 if odd else 192, pixel_format=pixel_format)
    stream = Stream(quality=10)
    stream.begin(1, layout)
    stream.frames(44_003)
    (frame,) = decoded(stream.said)
    assert (frame.format.name, frame.width, frame.height) == ("yuv420p", 320, 192)
    assert number_of(luma(frame)) == 44_003
    assert abs(frame.to_ndarray()[192:].astype(int) - 128).max() <= 4


@pytest.mark.parametrize(("rate", "max_fps"), [(25, None), (50, 50.0), (5, 5.0), (12.5, 12.5)])
def test_no_more_than_the_wished_bits_go_out_and_not_much_less(rate: float, max_fps: float | None) -> None:
    noise = np.random.default_rng(1)
    layout = PictureLayout(width=320, height=192, pixel_format="yuv420p")
    seconds = 8
    sizes = {}
    for limit in (None, 1000):
        stream = Stream(max_kilobits=limit, max_fps=max_fps, keyframe_s=4.0)
        stream.begin(1, layout)
        for number in range(round(seconds * rate)):
            writer = stream.rings.writer(layout, SLOTS, SlotState.SAFE)
            with writer.writing(stream=1, number=number, slot=number % SLOTS, generation=1) as planes:
                for plane in planes:
                    plane[...] = noise.integers(0, 255, plane.shape)
            stream.promise(number, pts=round(number * CLOCK / rate))
        sizes[limit] = sum(len(packet.data) for packet in stream.packets) * 8 / seconds / 1000
    assert sizes[None] > 1500
    assert 700 < sizes[1000] < 1200


def test_a_slate_shows_before_anything_is_known_and_has_the_cameras_size_later() -> None:
    stream = Stream()
    given = stream.give(Slate(text="starting", pts=0))
    assert [type(message) for message in given] == [EncodingOpened, EncodedPacket, SlateWritten]
    stream.give(Slate(text="starting", pts=CLOCK), Slate(text="no signal", pts=2 * CLOCK))
    assert [packet.is_keyframe for packet in stream.packets] == [True, False, True]
    stream.begin(1)
    stream.frames(75)
    stream.give(Slate(text="no signal", pts=4 * CLOCK))
    assert [(opened.width, opened.height) for opened in stream.openings] == [(640, 360), (160, 96)]
    seen = decoded(stream.said)
    assert [frame.width for frame in seen] == [640, 640, 640, 160, 160]
    assert number_of(luma(seen[3])) == 75
    assert luma(seen[4]).max() > 100, "there is writing on it"
    assert np.median(luma(seen[4])) < 60


@pytest.mark.parametrize(("aspect", "shape"), [((1, 1), (180, 320)), ((2, 1), (90, 320))])
def test_a_preview_shows_the_next_picture_small(aspect: tuple[int, int], shape: tuple[int, int]) -> None:
    layout = PictureLayout(width=1280, height=720, pixel_format="yuv420p")
    stream = Stream()
    stream.begin(1, layout, aspect)
    assert stream.give(PreviewWanted(name="front-door")) == []
    stream.frames(12_345, 12_346)
    (preview,) = [message for message in stream.said if isinstance(message, Preview)]
    assert preview.name == "front-door"
    picture = cv2.imdecode(np.frombuffer(preview.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    assert picture.shape == shape
    assert number_of(np.asarray(picture, np.uint8)) == 12_345


def test_a_preview_of_a_refused_picture_is_of_the_next_one() -> None:
    stream = Stream()
    stream.give(PreviewWanted(name="front-door"))
    stream.begin(1)
    stream.promise(1)
    assert not any(isinstance(message, Preview) for message in stream.said)
    stream.give(Slate(text="no signal", pts=CLOCK))
    assert any(isinstance(message, Preview) for message in stream.said)


def test_an_encoder_that_is_not_there_is_replaced() -> None:
    stream = Stream(encoder="h264_nvenc")
    stream.begin(1)
    stream.frames(0, 1)
    assert [number_of(luma(frame)) for frame in decoded(stream.said)] == [0, 1]

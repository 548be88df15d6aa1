"""The clock in the picture: what is read is what was written, or nothing."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from tests.live import time_code
from tests.live.beeps import BEEP_S, BeepFinder, beeps
from tests.live.time_code import TimeCode
from tests.media import picture

CODES = [
    TimeCode(camera=number % 16, clock_ms=number * 12_345_679 % 2**22, media_ms=number * 7_654_321 % 2**22) for number in range(12)
]


def coded_picture(code: TimeCode, width: int = 640, height: int = 360) -> VideoFrame:
    frame = VideoFrame.from_ndarray(picture(3, width, height), "rgb24").reformat(format="yuv420p")
    time_code.burn_in(frame, code)
    return frame


def encoded(frames: list[VideoFrame], codec: str, options: dict[str, str]) -> list[VideoFrame]:
    """The frames after an encoder and a decoder."""
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.options, encoder.thread_count = Fraction(1, 25), Fraction(25), options, 1
    decoder = av.CodecContext.create("h264" if codec == "libx264" else "hevc", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number, Fraction(1, 25)
    packets = [packet for frame in [*frames, None] for packet in encoder.encode(frame)]
    return [frame for packet in [*packets, None] for frame in decoder.decode(packet)]


@pytest.mark.parametrize(("width", "height"), [(640, 360), (320, 180), (1280, 720), (1920, 1080), (642, 358)])
def test_a_code_is_read_as_it_was_written(width: int, height: int) -> None:
    assert [time_code.read(coded_picture(code, width, height)) for code in CODES] == CODES


@pytest.mark.parametrize("crf", ["23", "38"])
@pytest.mark.parametrize("width", [320, 640, 1280])
def test_a_code_survives_encoding_and_scaling(crf: str, width: int) -> None:
    frames = encoded([coded_picture(code) for code in CODES], "libx264", {"preset": "ultrafast", "crf": crf})
    scaled = [frame.reformat(width, width * 9 // 16) for frame in frames]
    again = encoded(scaled, "libx264", {"preset": "ultrafast", "crf": crf})
    assert [time_code.read(frame) for frame in again] == CODES


def test_a_code_is_read_from_other_formats() -> None:
    for pixel_format in ("rgb24", "gray", "nv12", "yuv420p10le"):
        assert time_code.read(coded_picture(CODES[5]).reformat(format=pixel_format)) == CODES[5]


@pytest.mark.parametrize("where", [slice(0, 80), slice(300, 360), slice(600, 640), slice(0, 640)])
def test_a_covered_code_is_none_and_not_a_wrong_one(where: slice) -> None:
    random = np.random.default_rng(3)
    for code in CODES:
        luma = np.asarray(coded_picture(code).to_ndarray(format="gray"), np.uint8)
        luma[330:, where] = 128
        assert time_code.read_luma(luma) is None
        luma[330:, where] = random.choice(np.array([24, 228], np.uint8), (1, len(luma[0, where])))
        assert time_code.read_luma(luma) in (None, code)


def test_a_picture_without_a_code_has_none() -> None:
    assert time_code.read(VideoFrame.from_ndarray(picture(3, 640, 360), "rgb24")) is None
    assert time_code.read(VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")) is None


def test_the_age_of_a_code_is_right_over_the_turn_of_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ms = time_code.now_ms()
    assert 0 <= time_code.age_s(now_ms) < 5
    monkeypatch.setattr(time_code, "now_ms", lambda: 40)
    assert time_code.age_s(2**22 - 60) == pytest.approx(0.1)


@pytest.mark.parametrize(("sample_format", "rate_hz"), [("s16", 8000), ("fltp", 16000)])
def test_beeps_are_heard_at_full_seconds(sample_format: str, rate_hz: int) -> None:
    finder, found = BeepFinder(), []
    for first in range(rate_hz // 2, 4 * rate_hz - rate_hz // 10, rate_hz // 25):
        wave = beeps(first, rate_hz // 25, rate_hz)[None]
        frame = av.AudioFrame.from_ndarray(
            (wave * 32767).astype("int16") if sample_format == "s16" else wave, sample_format, "mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, first, Fraction(1, rate_hz)
        found += finder.hear(frame)
    assert found == pytest.approx([1, 2, 3], abs=0.003)


def test_half_a_beep_at_the_beginning_is_not_counted() -> None:
    rate_hz, first = 8000, round(8000 * BEEP_S / 2)
    frame = av.AudioFrame.from_ndarray(beeps(first, 8000, rate_hz)[None], "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = rate_hz, first, Fraction(1, rate_hz)
    assert BeepFinder().hear(frame) == pytest.approx([1], abs=0.003)

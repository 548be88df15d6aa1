"""Slots for a look-ahead within a bound on memory."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.budget import RingPlan, plan_live_rings, plan_rings
from streamer.errors import UsageError
from streamer.messages import StreamOpened
from streamer.pictures import PictureLayout
from streamer.rings import slot_bytes

OPENED = StreamOpened(
    stream=0,
    layout=PictureLayout(width=1280, height=720, pixel_format="yuv420p"),
    time_base=(1, 25),
    average_rate=(25, 1),
    peak_rate=(25, 1),
    sample_aspect_ratio=(1, 1),
    audio=b"",
    frames_estimated=None,
    duration_s=None,
)


def opened(width: int, height: int, rate: tuple[int, int], pixel_format: str = "yuv420p") -> StreamOpened:
    layout = PictureLayout(width=width, height=height, pixel_format=pixel_format)
    return msgspec.structs.replace(OPENED, layout=layout, average_rate=rate, peak_rate=rate)


@given(
    size=st.sampled_from([(64, 36), (1280, 720), (1920, 1080), (3840, 2160), (7680, 4320)]),
    rate=st.sampled_from([(0, 1), (1, 1), (25, 1), (30000, 1001), (240, 1)]),
    look_ahead_s=st.floats(0, 5),
    detectors=st.integers(1, 64),
    mebibytes=st.integers(16, 4096),
)
def test_rings_fit_into_the_memory_and_a_frame_can_always_move(
    size: tuple[int, int], rate: tuple[int, int], look_ahead_s: float, detectors: int, mebibytes: int
) -> None:
    stream = opened(*size, rate)
    try:
        plan = plan_rings(stream, look_ahead_s=look_ahead_s, detectors=detectors, ring_mebibytes=mebibytes)
    except UsageError:
        assert (detectors + 5) * slot_bytes(stream.layout) > mebibytes << 20, "the least would have fitted"
        return
    assert (plan.raw_slots + plan.safe_slots) * slot_bytes(stream.layout) <= mebibytes << 20
    assert plan.raw_slots >= plan.window_frames + detectors + 1
    if plan.interval_frames is not None:
        assert plan.raw_slots >= plan.window_frames + plan.interval_frames, "the next thorough frame would never come"
    assert plan.safe_slots >= 2
    assert plan.window_frames >= 1


@pytest.mark.parametrize(("rate", "frames"), [((25, 1), 13), ((60, 1), 30), ((30000, 1001), 15), ((0, 1), 15)])
def test_the_look_ahead_fits_into_the_window(rate: tuple[int, int], frames: int) -> None:
    plan = plan_rings(opened(1280, 720, rate), look_ahead_s=0.5, detectors=2, ring_mebibytes=512)
    assert plan.window_frames > frames
    assert plan.look_ahead_s is None


def test_the_window_holds_the_look_ahead_where_frames_come_fastest() -> None:
    steady, bursts = OPENED, msgspec.structs.replace(OPENED, average_rate=(5, 1))
    plans = [plan_rings(each, look_ahead_s=0.5, detectors=1, ring_mebibytes=512) for each in (steady, bursts)]
    assert plans[0].window_frames == plans[1].window_frames > 0.5 * 25


def test_a_look_ahead_that_does_not_fit_is_shortened_and_said() -> None:
    plan = plan_rings(opened(3840, 2160, (60, 1)), look_ahead_s=2.0, detectors=2, ring_mebibytes=256)
    assert plan.look_ahead_s is not None
    assert 0 < plan.look_ahead_s < 2.0
    assert plan.window_frames == pytest.approx(plan.look_ahead_s * 60)


def test_too_little_memory_is_refused_with_what_is_needed() -> None:
    with pytest.raises(UsageError, match=r"ring_mebibytes: pictures of 7680x4320 .* at least 333, is 64"):
        plan_rings(opened(7680, 4320, (25, 1)), look_ahead_s=0.5, detectors=2, ring_mebibytes=64)


@pytest.mark.parametrize(("mebibytes", "may_wait"), [(512, True), (256, False)])
def test_frames_wait_for_the_next_thorough_one_where_the_memory_allows(mebibytes: int, may_wait: bool) -> None:
    plan = plan_rings(opened(3840, 2160, (30, 1)), look_ahead_s=0.5, detectors=2, ring_mebibytes=mebibytes)
    assert (plan.interval_frames is not None) == may_wait


def test_1080p_at_60_frames_a_second_stays_below_220_mebibytes() -> None:
    plan = plan_rings(opened(1920, 1080, (60, 1)), look_ahead_s=0.5, detectors=2, ring_mebibytes=512)
    assert isinstance(plan, RingPlan)
    assert (plan.raw_slots + plan.safe_slots) * slot_bytes(opened(1920, 1080, (60, 1)).layout) < 220 << 20


@given(
    size=st.sampled_from([(64, 36), (640, 360), (1280, 720), (3840, 2160)]),
    rate=st.sampled_from([0.0, 0.1, 15.0, 25.0, 240.0, 90000.0]),
    look_ahead_s=st.floats(0, 5),
    detectors=st.integers(1, 64),
    mebibytes=st.integers(16, 1024),
)
def test_rings_of_a_camera_fit_into_the_memory_and_a_frame_can_always_move(
    size: tuple[int, int], rate: float, look_ahead_s: float, detectors: int, mebibytes: int
) -> None:
    layout = PictureLayout(width=size[0], height=size[1], pixel_format="yuv420p")
    plan = plan_live_rings(layout, rate, look_ahead_s=look_ahead_s, detectors=detectors, ring_mebibytes=mebibytes)
    if plan is None:
        assert (detectors + 11) * slot_bytes(layout) > mebibytes << 20, "the least would have fitted"
        return
    assert (plan.raw_slots + plan.safe_slots) * slot_bytes(layout) <= mebibytes << 20
    assert plan.window_frames >= 1
    assert plan.raw_slots > plan.window_frames + detectors, "the camera would have nowhere to write"
    assert plan.safe_slots >= 2
    if plan.look_ahead_s is None and 0 < rate <= 240:
        assert plan.window_frames > look_ahead_s * rate
    elif plan.look_ahead_s is not None:
        assert plan.look_ahead_s <= look_ahead_s


@pytest.mark.parametrize("rate", [0.0, 90000.0, 1e9])
def test_a_camera_whose_rate_is_not_to_be_believed_counts_as_a_usual_one(rate: float) -> None:
    layout = PictureLayout(width=640, height=360, pixel_format="yuv420p")
    unknown, usual = (plan_live_rings(layout, one, look_ahead_s=0.3, detectors=2, ring_mebibytes=256) for one in (rate, 30.0))
    assert unknown == usual

"""Messages survive the wire."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.faces import KEYPOINT_NAMES, Faces
from streamer.channel import Decoder, encode
from streamer.messages import (
    AudioPacket,
    BackendReplaced,
    Cover,
    DetectedFrame,
    FacesRecord,
    FrameReport,
    Message,
    RawFrame,
    SourceEnded,
    StreamOpened,
    StreamReady,
)
from streamer.pictures import ColorTags, PictureLayout

RAW = RawFrame(
    stream=0, number=1, slot=2, generation=3, pts=-4, duration=5, time_s=0.5, is_corrupt=False, is_cut=True, effort="quick"
)
OPENED = StreamOpened(
    stream=0,
    layout=PictureLayout(width=64, height=36, pixel_format="yuv420p10le", color=ColorTags(range=1, transfer=16)),
    time_base=(1, 90000),
    average_rate=(30000, 1001),
    peak_rate=(30000, 1001),
    sample_aspect_ratio=(4, 3),
    audio=b"\x00\xff",
    frames_estimated=None,
    duration_s=1.5,
)
EXAMPLES: list[Message] = [
    RAW,
    OPENED,
    StreamReady(opened=OPENED, raw_slots=20, safe_slots=6, window_frames=14, interval_frames=10),
    DetectedFrame(frame=RAW, faces=None),
    FrameReport(
        stream=0,
        number=1,
        pts=2,
        time_s=0.1,
        raw_slot=3,
        covers=[Cover(track=1, box=(0.5, 1.0, 2.0, 3.0), reason="held", score=0.0)],
        covered_whole=None,
    ),
    AudioPacket(stream=0, track=1, pts=None, dts=-3, duration=1, time_base=(1, 48000), is_keyframe=True, data=b"abc"),
    SourceEnded(stream=0, frames=3, notes=["Cut short."], is_damaged=True),
    BackendReplaced(network="generator.onnx", backend="openvino", replaced_by="cpu", reason="out of memory"),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    decoder = Decoder(tuple({type(example) for example in EXAMPLES}))
    assert decoder.decode(encode(message)) == message


@given(count=st.integers(0, 40), seed=st.integers(0, 1000))
def test_faces_arrive_bit_for_bit(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.normal(0, 500, (count, 2)).astype(np.float32)
    faces = Faces(
        boxes=np.hstack([corners, corners + random.uniform(1, 90, (count, 2)).astype(np.float32)]),
        scores=random.random(count, np.float32),
        keypoints=random.normal(0, 500, (count, len(KEYPOINT_NAMES), 2)).astype(np.float32),
        keypoint_scores=random.random((count, len(KEYPOINT_NAMES)), np.float32),
    )
    found = FacesRecord.pack(faces).unpack()
    for name in ("boxes", "scores", "keypoints", "keypoint_scores"):
        assert getattr(found, name).tobytes() == getattr(faces, name).tobytes()


def test_bytes_that_are_no_faces_are_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        FacesRecord(b"\x00" * 8, b"\x00" * 4, b"", b"").unpack()


def test_a_message_with_a_field_of_the_wrong_type_is_refused() -> None:
    broken = msgspec.msgpack.encode(["RawFrame", "zero", 1, 2, 3, 4, 5, 0.5, False, True, False])
    with pytest.raises(msgspec.ValidationError):
        Decoder((RawFrame,)).decode(broken)

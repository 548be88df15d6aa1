"""Frames, layouts and rings for the tests of the parts of live streams."""

from __future__ import annotations

from typing import Any

import msgspec

from streamer.config import StreamDetectorSettings
from streamer.live.config import ZoneSettings
from streamer.live.messages import CameraOpened, SessionReady
from streamer.messages import AnonymizedFrame, RawFrame
from streamer.pictures import PictureLayout

SESSION = 4
LAYOUT = PictureLayout(width=64, height=48, pixel_format="yuv420p")


def raw_frame(number: int = 0, **changes: Any) -> RawFrame:
    plain = RawFrame(
        stream=SESSION,
        number=number,
        slot=0,
        generation=1,
        pts=3600 * number,
        duration=3600,
        time_s=number / 25,
        is_corrupt=False,
        is_cut=False,
        effort="quick",
        captured_s=1000 + number / 25,
    )
    return msgspec.structs.replace(plain, **changes)


def anonymized(frame: RawFrame, slot: int, generation: int) -> AnonymizedFrame:
    return AnonymizedFrame(
        stream=frame.stream, number=frame.number, slot=slot, generation=generation, pts=frame.pts, duration=frame.duration
    )


def opened(**changes: Any) -> CameraOpened:
    plain = CameraOpened(
        session=SESSION,
        layout=LAYOUT,
        codec="h264",
        average_rate=(25, 1),
        sample_aspect_ratio=(1, 1),
        audio=b"",
        audio_codec="",
    )
    return msgspec.structs.replace(plain, **changes)


def ready(**changes: Any) -> SessionReady:
    plain = SessionReady(
        session=SESSION,
        layout=LAYOUT,
        sample_aspect_ratio=(1, 1),
        raw_slots=8,
        safe_slots=4,
        window_frames=3,
        first_number=0,
        detector=StreamDetectorSettings(),
        needs_keypoints=False,
    )
    return msgspec.structs.replace(plain, **changes)


def box_zone(x1: float, y1: float, x2: float, y2: float, **changes: Any) -> ZoneSettings:
    return msgspec.structs.replace(ZoneSettings(points=((x1, y1), (x2, y1), (x2, y2), (x1, y2))), **changes)

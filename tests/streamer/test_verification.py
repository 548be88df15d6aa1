"""A finished file that lacks anything is not accepted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from streamer.config import VideoSettings
from streamer.encoders import OutputPlan, plan_output
from streamer.errors import ExitCode, OutputError
from streamer.messages import AudioPacket, StreamOpened
from streamer.probe import probe
from streamer.reading import DecodedFrame, VideoReader
from streamer.verification import verify_output
from streamer.writing import VideoWriter, Written
from tests.media import Clip, Sound, write_clip


@dataclass(frozen=True, kw_only=True)
class Finished:
    path: Path
    plan: OutputPlan
    opened: StreamOpened
    written: Written

    def verify(self, **changes: object) -> list[str]:
        written = msgspec.structs.replace(self.written, **changes)
        return verify_output(self.path, frames=written.frames, opened=self.opened, plan=self.plan, written=written)


@pytest.fixture(params=["mp4", "mkv"])
def finished(tmp_path: Path, request: pytest.FixtureRequest) -> Finished:
    source = write_clip(tmp_path / f"in.{request.param}", Clip(sounds=(Sound(),)))
    plan = plan_output(probe(source), VideoSettings(), (), tmp_path / "out")
    reader = VideoReader(source, plan)
    opened = reader.opened(1)
    path = tmp_path / "part"
    writer = VideoWriter(path, opened, plan)
    planes = opened.layout.planes(np.zeros(opened.layout.nbytes, np.uint8))
    for item in reader:
        if isinstance(item, DecodedFrame):
            item.write_into(planes)
            writer.write(planes, item.pts, item.duration)
        elif isinstance(item, AudioPacket):
            writer.write_audio(item)
    return Finished(path=path, plan=plan, opened=opened, written=writer.close())


def _complaint(finished: Finished, **changes: object) -> str:
    with pytest.raises(OutputError) as caught:
        finished.verify(**changes)
    assert str(caught.value).startswith(f"{finished.plan.path}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == ExitCode.OUTPUT
    return str(caught.value)


def test_a_complete_file_is_accepted(finished: Finished) -> None:
    assert finished.verify() == []


def test_missing_frames_packets_and_seconds_are_noticed(finished: Finished) -> None:
    assert "10 frames instead of 11" in _complaint(finished, frames=11)
    assert "packets instead of" in _complaint(finished, packets=(finished.written.packets[0] + 1,))
    assert finished.written.last_pts is not None
    assert "lasts" in _complaint(finished, last_pts=finished.written.last_pts * 2)


def test_a_missing_track_is_noticed(finished: Finished) -> None:
    plan = msgspec.structs.replace(finished.plan, tracks=(1, 2))
    with pytest.raises(OutputError, match="1 further tracks instead of 2"):
        verify_output(finished.path, frames=10, opened=finished.opened, plan=plan)


def test_pictures_of_another_size_are_noticed(finished: Finished) -> None:
    layout = msgspec.structs.replace(finished.opened.layout, width=66)
    opened = msgspec.structs.replace(finished.opened, layout=layout)
    with pytest.raises(OutputError, match="64x48 instead of 66x48"):
        verify_output(finished.path, frames=10, opened=opened, plan=finished.plan)


def test_a_truncated_or_foreign_file_is_noticed(finished: Finished) -> None:
    whole = finished.path.read_bytes()
    finished.path.write_bytes(whole[: len(whole) // 2])
    assert _complaint(finished)
    finished.path.write_bytes(b"")
    assert "cannot be read back" in _complaint(finished)
    write_clip(finished.path, Clip(format=finished.plan.muxer, sounds=(Sound(),)))
    assert "mark" in _complaint(finished)

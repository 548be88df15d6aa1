"""A batch as a whole: what becomes of the others when one file fails."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from streamer.anonymize import anonymize
from streamer.batch import plan_batch
from streamer.config import AnonymizeSettings, FilterSettings
from streamer.errors import ExitCode
from streamer.forkserver import ForkServer
from streamer.messages import FrameReport
from streamer.progress import Silence
from streamer.supervisor import StopRequest
from tests.streamer.running import write_clip


class FullDisk(Silence):
    """Fails while the first file is worked on; satisfies ProgressView."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def start_file(self, name: str, frames_estimated: int | None) -> None:
        self.started.append(name)

    def frame(self, report: FrameReport) -> None:
        if len(self.started) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_an_error_of_the_system_fails_its_video_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.mp4"):
        write_clip(Path(name), frames=5)
    settings = AnonymizeSettings(filter=FilterSettings(name="blackout"))
    plan = plan_batch(["a.mp4", "b.mp4"], "safe", settings)

    with ForkServer() as fork_server:
        outcome = anonymize(plan, settings, view=FullDisk(), stop=StopRequest(), fork_server=fork_server)

    assert [str(path) for path in outcome.done] == ["safe/b.mp4"]
    assert [str(failure.error) for failure in outcome.failures] == ["a.mp4: [Errno 28] No space left on device"]
    assert outcome.exit_code == ExitCode.PARTLY_FAILED
    assert [path.name for path in Path("safe").iterdir()] == ["b.mp4"]

"""Whole jobs with real processes: results, refusals, images."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import msgspec
import numpy as np
import psutil
import pytest

from streamer.anonymize import facts_of_video, line_of_video
from streamer.batch import PlannedVideo
from streamer.config import AnonymizeSettings, DetectorSettings, FilterSettings
from streamer.encoders import plan_output
from streamer.errors import ExitCode, InputError, Interrupted, OutputError, UsageError
from streamer.forkserver import ForkServer
from streamer.image_job import ImageJob, run_image_jobs
from streamer.job import VideoJob, run_video_job
from streamer.messages import FrameReport, ImageDone
from streamer.pipeline import IMAGE_PIPELINE
from streamer.probe import probe
from streamer.supervisor import StopRequest
from tests.streamer.running import FRAMES, REPOSITORY, SIZE, SQUARE, nothing_left_behind, run, table_with, write_clip

BLACKOUT = AnonymizeSettings(detector=DetectorSettings(processes=1), filter=FilterSettings(name="blackout", soft_edge=0.0))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path)
    return path


def frames_of(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(frame.pts * frame.time_base, frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]


def packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_a_video_comes_out_with_every_face_covered_and_the_rest_intact(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nothing_left_behind(monkeypatch, tmp_path):
        finished = run(clip, tmp_path / "out.mp4", table=table_with(), settings=BLACKOUT)
    before, after = frames_of(clip), frames_of(finished.output)
    assert [time for time, _ in after] == [time for time, _ in before]
    for number, ((_, raw), (_, safe)) in enumerate(zip(before, after, strict=True)):
        x, y = (3 * number) % (SIZE[0] - SQUARE), number % (SIZE[1] - SQUARE)
        assert safe[y : y + SQUARE, x : x + SQUARE].max() < 60, f"frame {number} shows the face"
        far = slice(SIZE[1] - 16, None) if y < SIZE[1] / 2 else slice(0, 16)
        assert np.abs(raw[far].astype(int) - safe[far]).mean() < 6
    assert packets_of(finished.output) == packets_of(clip)


def test_the_result_adds_up(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nothing_left_behind(monkeypatch, tmp_path):
        finished = run(clip, tmp_path / "out.mp4", table=table_with())
    result = finished.result
    assert [report.number for report in finished.reports] == list(range(FRAMES))
    assert result.frames == FRAMES
    assert result.covered_faces == sum(len(report.covers) for report in finished.reports) == sum(result.covers_by_reason.values())
    assert result.tracks == len({cover.track for report in finished.reports for cover in report.covers}) >= 1
    assert (result.covered_whole, result.is_damaged, result.notes, result.restarts) == (0, False, [], {})
    assert set(result.cpu_s) == {"source", "detector", "anonymizer", "sink", "supervisor"}
    assert all(spent > 0 for spent in result.cpu_s.values())
    assert result.wall_s > 0


def test_nobody_learns_of_the_job_from_the_list_of_processes(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def on_frame(report: FrameReport) -> None:
        if report.number == 10:
            for process in psutil.Process().children():
                seen.extend([*process.cmdline(), *(set(process.environ().values()) - set(os.environ.values()))])

    with nothing_left_behind(monkeypatch, tmp_path):
        run(clip, tmp_path / "out.mp4", table=table_with(), on_frame=on_frame)
    assert seen
    assert not [text for text in seen if "clip" in text or "out.mp4" in text]


def test_a_file_that_came_meanwhile_is_not_replaced(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out.mp4"

    def on_frame(report: FrameReport) -> None:
        output.write_bytes(b"somebody else's")

    with nothing_left_behind(monkeypatch, tmp_path), pytest.raises(OutputError, match=r"out\.mp4: exists by now"):
        run(clip, output, table=table_with(), on_frame=on_frame)
    assert output.read_bytes() == b"somebody else's"


def test_an_old_output_stays_until_the_new_one_is_complete(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"old")
    contents: set[bytes] = set()
    with nothing_left_behind(monkeypatch, tmp_path):
        run(
            clip,
            output,
            table=table_with(),
            settings=AnonymizeSettings(overwrite=True),
            on_frame=lambda _: contents.add(output.read_bytes()),
        )
    assert contents == {b"old"}
    assert len(frames_of(output)) == FRAMES


def test_an_error_in_the_callback_leaves_nothing(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_frame(report: FrameReport) -> None:
        raise RuntimeError("the report cannot be written")

    with nothing_left_behind(monkeypatch, tmp_path), pytest.raises(RuntimeError, match="the report"):
        run(clip, tmp_path / "out.mp4", table=table_with(), on_frame=on_frame)
    assert list(tmp_path.iterdir()) == []


def test_an_input_that_disappears_is_an_input_error(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_output(probe(clip), AnonymizeSettings().video, (), tmp_path / "out.mp4")
    job = VideoJob(source=tmp_path / "gone.mp4", output=tmp_path / "out.mp4", plan=plan)
    stop = StopRequest()
    with nothing_left_behind(monkeypatch, tmp_path), ForkServer() as server, pytest.raises(InputError, match=r"gone\.mp4"):
        run_video_job(job, AnonymizeSettings(), on_frame=lambda _: None, stop=stop, fork_server=server, table=table_with())
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_does_not_exist_is_an_output_error(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="none: cannot be written"):
        run(clip, tmp_path / "none" / "out.mp4", table=table_with())


def test_damage_of_the_input_is_in_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole.mkv"
    write_clip(whole, has_sound=False)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with nothing_left_behind(monkeypatch, tmp_path):
        finished = run(cut, tmp_path / "out.mkv", table=table_with())
    assert 0 < finished.result.frames < FRAMES
    assert finished.result.is_damaged
    assert finished.result.notes


def test_little_memory_shortens_the_look_ahead_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tmp_path / "large.mp4"
    write_clip(clip, 30, size=(1280, 720), has_sound=False)
    settings = msgspec.structs.replace(BLACKOUT, ring_mebibytes=16)
    with nothing_left_behind(monkeypatch, tmp_path):
        finished = run(clip, tmp_path / "out.mp4", table=table_with(), settings=settings)
    assert finished.result.frames == 30
    assert [note for note in finished.result.notes if "look-ahead" in note]


def test_too_little_memory_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tmp_path / "large.mp4"
    write_clip(clip, 5, size=(1920, 1080), has_sound=False)
    settings = AnonymizeSettings(detector=DetectorSettings(processes=8), ring_mebibytes=16)
    with nothing_left_behind(monkeypatch, tmp_path), pytest.raises(UsageError, match="ring_mebibytes"):
        run(clip, tmp_path / "out.mp4", table=table_with(), settings=settings)
    assert [path.name for path in tmp_path.iterdir()] == ["large.mp4"]


FACES = sorted((REPOSITORY / "streamer" / "demo_faces").glob("*.jpg"))[:4]
IMAGE_TABLE = (replace(IMAGE_PIPELINE[0], worker="tests.streamer.faulty_workers:FaultyImageWorker"),)


def images(tmp_path: Path, *names: str) -> list[ImageJob]:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    jobs = []
    for name, face in zip(names, FACES * len(names), strict=False):
        shutil.copy(face, tmp_path / "in" / name)
        jobs.append(ImageJob(source=tmp_path / "in" / name, output=tmp_path / "out" / name))
    return jobs


def test_images_are_done_by_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = images(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")
    done: list[ImageDone] = []
    with nothing_left_behind(monkeypatch, tmp_path / "out"), ForkServer() as server:
        run_image_jobs(jobs, AnonymizeSettings(), fork_server=server, on_done=done.append, stop=StopRequest(), log_level="ERROR")
    assert sorted(one.number for one in done) == [0, 1, 2, 3, 4]
    assert all(one.error is None and len(one.covers) == 1 for one in done)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [job.output.name for job in jobs]


def test_an_image_that_kills_its_processes_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = images(tmp_path, "a.jpg", "poison.jpg", "c.jpg")
    done: list[ImageDone] = []
    with nothing_left_behind(monkeypatch, tmp_path / "out"), ForkServer() as server:
        run_image_jobs(
            jobs,
            AnonymizeSettings(),
            fork_server=server,
            on_done=done.append,
            stop=StopRequest(),
            table=IMAGE_TABLE,
            log_level="ERROR",
        )
    errors = {Path(one.source).name: one.error for one in done}
    assert errors["a.jpg"] is errors["c.jpg"] is None
    assert errors["poison.jpg"] is not None
    assert "SIGKILL" in errors["poison.jpg"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "c.jpg"]


def test_images_that_cannot_be_read_or_written_fail_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = images(tmp_path, "a.jpg", "text.jpg", "taken.jpg", "d.jpg")
    jobs[1].source.write_text("no picture")
    jobs[2].output.write_text("somebody else's")
    jobs[3] = replace(jobs[3], output=tmp_path / "none" / "d.jpg")
    done: list[ImageDone] = []
    with nothing_left_behind(monkeypatch, tmp_path / "out"), ForkServer() as server:
        run_image_jobs(jobs, AnonymizeSettings(), fork_server=server, on_done=done.append, stop=StopRequest(), log_level="ERROR")
    codes = {Path(one.source).name: one.exit_code for one in done}
    assert codes == {"a.jpg": 0, "text.jpg": ExitCode.INPUT, "taken.jpg": ExitCode.OUTPUT, "d.jpg": ExitCode.OUTPUT}
    assert jobs[2].output.read_text() == "somebody else's"


def test_images_stop_when_asked_and_keep_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = images(tmp_path, *(f"{number}.jpg" for number in range(12)))
    stop = StopRequest()
    done: list[ImageDone] = []

    def on_done(one: ImageDone) -> None:
        done.append(one)
        stop.request()

    with nothing_left_behind(monkeypatch, tmp_path / "out"), ForkServer() as server, pytest.raises(Interrupted):
        run_image_jobs(jobs, AnonymizeSettings(), fork_server=server, on_done=on_done, stop=stop, log_level="ERROR")
    assert 1 <= len(done) < 12
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(Path(one.output).name for one in done)


def test_a_signal_handler_may_request_the_stop(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopRequest()
    before = signal.signal(signal.SIGTERM, lambda *_: stop.request())
    try:
        with nothing_left_behind(monkeypatch, tmp_path), pytest.raises(Interrupted):
            run(
                clip,
                tmp_path / "out.mp4",
                table=table_with(),
                stop=stop,
                on_frame=lambda report: os.kill(os.getpid(), signal.SIGTERM) if report.number == 5 else None,
            )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_fails_during_a_job_is_in_the_result_the_line_and_the_report(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nothing_left_behind(monkeypatch, tmp_path):
        finished = run(
            clip, tmp_path / "out.mp4", table=table_with(detector="BrokenBackendDetectorWorker"), settings=BLACKOUT, processes=1
        )
    ((replaced, processes),) = finished.result.replaced_backends.items()
    assert (replaced.network, replaced.backend, replaced.replaced_by, processes) == ("squares.onnx", "openvino", "cpu", 1)
    assert "no device" in replaced.reason
    assert "secret" not in replaced.reason
    info = probe(clip)
    video = PlannedVideo(
        source=clip, output=finished.output, info=info, plan=plan_output(info, BLACKOUT.video, (), finished.output)
    )
    assert line_of_video(video, finished.result).endswith("squares.onnx on cpu, openvino failed")
    (said,) = facts_of_video(video, finished.result)["backends"]
    assert said == {
        "network": "squares.onnx",
        "failed": "openvino",
        "replaced_by": "cpu",
        "reason": replaced.reason,
        "processes": 1,
    }


def test_a_job_whose_backends_work_says_nothing_of_them(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nothing_left_behind(monkeypatch, tmp_path):
        finished = run(clip, tmp_path / "out.mp4", table=table_with(), settings=BLACKOUT)
    assert finished.result.replaced_backends == {}

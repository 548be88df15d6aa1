"""The proof beside an output: complete or not there, the same in every place that reads it, without pixels."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import resource
import tracemalloc
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from streamer.config import AnonymizeSettings
from streamer.errors import ExitCode, OutputError
from streamer.messages import Cover, FrameReport
from streamer.report import SCHEMA, ReportWriter, report_path


def frame(number: int, covers: list[Cover]) -> FrameReport:
    return FrameReport(
        stream=0,
        number=number,
        pts=number * 512,
        time_s=number / 25,
        raw_slot=3,
        covers=covers,
        covered_whole=None if covers else "corrupt",
    )


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    source, output = tmp_path / "in.mp4", tmp_path / "out.mp4"
    source.write_bytes(b"before")
    output.write_bytes(b"after")
    return source, output


def test_a_report_names_both_files_the_settings_the_weights_and_every_cover(files: tuple[Path, Path]) -> None:
    source, output = files
    with closing(ReportWriter(output, AnonymizeSettings())) as report:
        report.frame(
            frame(0, [Cover(4, (1.04, 2.0, 30.0, 40.0), "reached_back", 0.0), Cover(5, (0, 0, 9, 9), "detected", 0.87654)])
        )
        report.frame(frame(1, []))
        report.finish(source=source, output=output, facts={"kind": "video", "notes": ["The tags title are dropped."]})

    facts = json.loads(report_path(output).read_text())
    assert facts["schema"] == SCHEMA
    assert msgspec.convert(facts["settings"], AnonymizeSettings) == AnonymizeSettings()
    assert {"veil", "av", "ffmpeg", "onnxruntime", "numpy", "opencv"} <= facts["versions"].keys()
    assert ("openvino" in facts["versions"]) == (importlib.util.find_spec("openvino") is not None)
    assert all(len(digest) == 64 for digest in facts["weights"].values())
    assert facts["weights"]
    assert facts["frames"] == [
        {
            "number": 0,
            "pts": 0,
            "time_s": 0.0,
            "covered_whole": None,
            "faces": [
                {"track": 4, "box": [1.0, 2.0, 30.0, 40.0], "reason": "reached_back", "score": 0.0},
                {"track": 5, "box": [0.0, 0.0, 9.0, 9.0], "reason": "detected", "score": 0.877},
            ],
        },
        {"number": 1, "pts": 512, "time_s": 0.04, "covered_whole": "corrupt", "faces": []},
    ]
    assert facts["input"] == {"path": str(source), "bytes": 6, "sha256": hashlib.sha256(b"before").hexdigest()}
    assert facts["output"] == {"path": str(output), "bytes": 5, "sha256": hashlib.sha256(b"after").hexdigest()}
    assert facts["notes"] == ["The tags title are dropped."]


def test_a_report_without_frames_is_json_all_the_same(files: tuple[Path, Path]) -> None:
    source, output = files
    with closing(ReportWriter(output, AnonymizeSettings())) as report:
        report.finish(source=source, output=output, facts={})

    assert json.loads(report_path(output).read_text())["frames"] == []


def test_a_report_that_is_not_finished_leaves_nothing(files: tuple[Path, Path]) -> None:
    source, output = files
    with closing(ReportWriter(output, AnonymizeSettings())) as report:
        report.frame(frame(0, []))

    assert sorted(source.parent.iterdir()) == [source, output]


def test_an_older_report_stays_until_the_new_one_is_finished(files: tuple[Path, Path]) -> None:
    source, output = files
    report_path(output).write_text("old")
    with closing(ReportWriter(output, AnonymizeSettings(overwrite=True))) as report:
        assert report_path(output).read_text() == "old"
        report.finish(source=source, output=output, facts={})

    assert json.loads(report_path(output).read_text())["schema"] == SCHEMA


def test_a_report_that_came_meanwhile_is_not_replaced_unasked(files: tuple[Path, Path]) -> None:
    source, output = files
    with closing(ReportWriter(output, AnonymizeSettings())) as report:
        report_path(output).write_text("somebody else's")
        with pytest.raises(OutputError, match="exists by now"):
            report.finish(source=source, output=output, facts={})
    assert report_path(output).read_text() == "somebody else's"


def test_a_long_video_needs_no_more_memory_than_a_short_one(files: tuple[Path, Path]) -> None:
    covers = [Cover(track, (0.0, 0.0, 9.0, 9.0), "detected", 0.9) for track in range(5)]
    source, output = files
    with closing(ReportWriter(output, AnonymizeSettings())) as report:
        report.frame(frame(0, covers))
        tracemalloc.start()
        for number in range(1, 3000):
            report.frame(frame(number, covers))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        report.finish(source=source, output=output, facts={})

    assert report_path(output).stat().st_size > 900_000
    assert most < 100_000


def fill(report: ReportWriter) -> None:
    for number in range(1000):
        report.frame(frame(number, []))


def test_a_disk_without_room_is_an_error_of_the_output(files: tuple[Path, Path]) -> None:
    """The limit on the size of files stands in for the full disk: both make writes fail."""
    _, output = files
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(ReportWriter(output, AnonymizeSettings())) as report:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            with pytest.raises(OutputError, match=r"report\.json: cannot be written") as caught:
                fill(report)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert caught.value.exit_code == ExitCode.OUTPUT
    assert not report_path(output).exists()


def test_a_folder_that_is_not_there_is_an_error_of_the_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        ReportWriter(tmp_path / "nowhere" / "out.mp4", AnonymizeSettings())

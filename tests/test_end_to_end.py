"""`veil anonymize` as a user runs it: on a clip with faces, on folders, twice, and interrupted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.detectors import image_render, open_detector
from streamer.errors import ExitCode
from tests.command import RATE, SECONDS, SIZE, TIMEOUT_S, VEIL, Content, content, veil


@dataclass(frozen=True, kw_only=True)
class Anonymized:
    """The clip before and after."""

    before: Content
    after: Content
    source: Path
    output: Path
    stderr: str


@pytest.fixture(scope="module")
def anonymized(face_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Anonymized:
    folder = tmp_path_factory.mktemp("done")
    source = folder / "clip.mp4"
    shutil.copy(face_clip, source)
    run = veil("anonymize", "clip.mp4", "--report", "--identity-seed", "1", cwd=folder)
    assert run.returncode == ExitCode.DONE, run.stderr
    output = folder / "clip_anonymized.mp4"
    assert sorted(folder.iterdir()) == [source, output, folder / "clip_anonymized.mp4.report.json"]
    return Anonymized(before=content(source), after=content(output), source=source, output=output, stderr=run.stderr)


def likeness(before: NDArray[np.uint8], after: NDArray[np.uint8], box: NDArray[np.float32]) -> float:
    """How much of the fine structure in the middle of a face is still there: the correlation of both Laplacians."""
    width, height = box[2] - box[0], box[3] - box[1]
    x1, x2 = int(max(0, box[0] + width / 6)), int(min(before.shape[1], box[2] - width / 6))
    y1, y2 = int(max(0, box[1] + height / 6)), int(min(before.shape[0], box[3] - height / 6))
    fine = [
        cv2.Laplacian(cv2.cvtColor(picture[y1:y2, x1:x2], cv2.COLOR_RGB2GRAY), cv2.CV_64F, ksize=3).ravel()
        for picture in (before, after)
    ]
    return float(np.corrcoef(fine)[0, 1]) if min(map(np.std, fine)) > 0 else 0.0


@pytest.mark.parametrize("name", ["gan", "heavy-blur"])
def test_no_face_keeps_its_detail_in_any_frame(name: str, anonymized: Anonymized, here: Path) -> None:
    after = anonymized.after.pictures
    if name != "gan":
        run = veil("anonymize", anonymized.source, "-o", "other.mp4", "--filter", name, cwd=here)
        assert run.returncode == ExitCode.DONE, run.stderr
        after = content(here / "other.mp4").pictures
    detector = open_detector("centerface", "full", 0.5)
    found = [
        likeness(before, hidden, box)
        for before, hidden in zip(anonymized.before.pictures, after, strict=True)
        for box in detector.detect(image_render(before), SIZE).boxes
    ]
    assert len(found) >= 2 * len(anonymized.before.pictures)
    assert max(found) < 0.6
    assert np.mean(found) < 0.15


def test_every_frame_keeps_its_time_and_the_sound_its_bytes(anonymized: Anonymized) -> None:
    assert len(anonymized.after.pictures) == round(SECONDS * RATE)
    assert anonymized.after.times == anonymized.before.times
    assert anonymized.after.audio == anonymized.before.audio
    assert len(anonymized.after.audio) > 50


def test_what_is_no_face_stays_as_it_was(anonymized: Anonymized) -> None:
    report = json.loads(anonymized.output.with_name("clip_anonymized.mp4.report.json").read_text())
    compared = 0
    for frame, before, after in zip(report["frames"], anonymized.before.pictures, anonymized.after.pictures, strict=True):
        outside = np.ones(before.shape[:2], bool)
        for face in frame["faces"]:
            # An ellipse around the box and its soft edge reach less than half a box beyond it.
            x1, y1, x2, y2 = face["box"]
            across, down = (x2 - x1) / 2, (y2 - y1) / 2
            outside[int(max(0, y1 - down)) : int(max(0, y2 + down)), int(max(0, x1 - across)) : int(max(0, x2 + across))] = False
        if outside.mean() > 0.2:
            compared += 1
            assert np.abs(before.astype(int) - after)[outside].mean() < 3
    assert compared >= 10


def test_the_report_tells_what_was_done(anonymized: Anonymized) -> None:
    report = json.loads(anonymized.output.with_name("clip_anonymized.mp4.report.json").read_text())

    assert [frame["number"] for frame in report["frames"]] == list(range(len(anonymized.before.pictures)))
    assert [frame["time_s"] for frame in report["frames"]] == pytest.approx(anonymized.before.times, abs=1e-6)
    assert {face["reason"] for frame in report["frames"] for face in frame["faces"]} <= {
        "detected",
        "reached_back",
        "bridged",
        "held",
    }
    assert report["counts"]["frames"] == len(report["frames"])
    assert report["counts"]["covered_faces"] == sum(len(frame["faces"]) for frame in report["frames"])
    for side, path in (("input", anonymized.source), ("output", anonymized.output)):
        assert report[side]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report["encoder"]["name"] == "libx264"
    assert (report["kind"], report["is_damaged"]) == ("video", False)
    assert {"source", "detector", "anonymizer", "sink"} <= report["timings"]["cpu_s"].keys()


def test_progress_comes_as_lines_where_there_is_no_terminal(anonymized: Anonymized) -> None:
    assert f"clip.mp4: 1/{len(anonymized.before.pictures)} frames" in anonymized.stderr
    assert "\x1b" not in anonymized.stderr


@pytest.fixture
def trip(face_clip: Path, here: Path) -> Path:
    """A folder with a video, two photos below, and what is no media."""
    folder = here / "trip"
    (folder / "day").mkdir(parents=True)
    shutil.copy(face_clip, folder / "clip.mp4")
    for number in (100000, 100001):
        (folder / "day" / f"{number}.jpg").write_bytes((files("streamer") / "demo_faces" / f"{number}.jpg").read_bytes())
    (folder / "notes.txt").write_text("no media")
    return folder


def test_a_folder_is_mirrored_and_a_second_run_does_only_what_is_missing(trip: Path, here: Path) -> None:
    first = veil("anonymize", "trip", "--report", cwd=here)
    assert first.returncode == ExitCode.DONE, first.stderr
    done = here / "trip_anonymized"
    expected = {"clip.mp4", "day/100000.jpg", "day/100001.jpg"}
    made = {str(path.relative_to(done)) for path in done.rglob("*") if path.is_file()}
    assert made == expected | {f"{name}.report.json" for name in expected}
    assert "3 files done" in first.stderr
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in done.rglob("*") if path.is_file()}
    missing = done / "day" / "100001.jpg"
    missing.unlink()
    before.pop(missing)

    second = veil("anonymize", "trip", cwd=here)

    assert second.returncode == ExitCode.DONE, second.stderr
    assert "1 file done, 2 files skipped" in second.stderr
    assert missing.exists()
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in before} == before


def test_copies_of_the_originals_are_not_taken_for_outputs(trip: Path, here: Path) -> None:
    shutil.copytree(trip, here / "safe")
    (here / "safe" / "day" / "100001.jpg").unlink()

    run = veil("anonymize", "trip", "-o", "safe", "--filter", "blackout", cwd=here)

    assert run.returncode == ExitCode.PARTLY_FAILED, run.stderr
    for name in ("clip.mp4", "day/100000.jpg"):
        assert f"failed: safe/{name} exists and was not made by Veil; --overwrite replaces it" in run.stderr
    assert run.stderr.endswith("1 file done, 2 files failed\n")
    (trip / "day" / "100001.jpg").unlink()
    shutil.rmtree(here / "safe")
    shutil.copytree(trip, here / "safe")
    assert veil("anonymize", "trip", "-o", "safe", cwd=here).returncode == ExitCode.USAGE


def test_a_photo_comes_back_without_its_face(trip: Path, here: Path) -> None:
    source, output = trip / "day" / "100000.jpg", here / "out.jpg"

    assert veil("anonymize", source, "-o", output, "--filter", "blackout", cwd=here).returncode == ExitCode.DONE

    with Image.open(source) as before, Image.open(output) as after:
        assert after.size == before.size
        # The nose is in the middle of every portrait.
        assert max(after.getpixel((256, 290))) < 12
        assert max(before.getpixel((256, 290))) > 100


def test_in_a_batch_the_others_go_on_and_what_failed_is_listed(trip: Path, here: Path) -> None:
    (trip / "clip.mp4").write_text("this is no video")

    run = veil("anonymize", "trip", "missing.mp4", "-o", "safe", cwd=here)

    assert run.returncode == ExitCode.PARTLY_FAILED, run.stderr
    assert {path.name for path in (here / "safe" / "trip" / "day").iterdir()} == {"100000.jpg", "100001.jpg"}
    assert "failed: trip/clip.mp4: is not a media file" in run.stderr
    assert "failed: missing.mp4: there is no such file" in run.stderr
    assert run.stderr.endswith("2 files done, 2 files failed\n")


def test_two_inputs_for_one_output_are_refused_before_work_starts(trip: Path, here: Path) -> None:
    shutil.copytree(trip, here / "again")

    run = veil("anonymize", "trip/day/100000.jpg", "again/day/100000.jpg", "-o", "safe", cwd=here)

    assert run.returncode == ExitCode.USAGE
    assert "would both be written to safe/100000.jpg" in run.stderr
    assert not (here / "safe").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(number: signal.Signals, face_clip: Path, here: Path) -> None:
    shutil.copy(face_clip, here / "clip.mp4")
    process = subprocess.Popen(
        [*VEIL, "anonymize", "clip.mp4", "--report"], cwd=here, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    with contextlib.closing(process.stderr):
        line = process.stderr.readline()
        assert "frames" in line, line
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 4
        # Ctrl-C reaches the whole group, as from a terminal; SIGTERM only the parent.
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(TIMEOUT_S) == ExitCode.INTERRUPTED, rest

    assert "interrupted; the file at work was not written" in rest
    assert "Traceback" not in rest
    assert [path.name for path in here.iterdir()] == ["clip.mp4"]
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


def test_the_preview_is_drawn_on_an_anonymized_copy(anonymized: Anonymized, here: Path) -> None:
    output = here / "check.mp4"

    run = veil("anonymize", anonymized.source, "-o", output, "--preview-detections", "--identity-seed", "1", cwd=here)

    assert run.returncode == ExitCode.DONE, run.stderr
    plain, drawn = anonymized.after.pictures[40].astype(int), content(output).pictures[40].astype(int)
    differing = (np.abs(plain - drawn).max(axis=2) > 60).mean()
    assert 0.001 < differing < 0.2


def test_a_truncated_video_is_written_as_far_as_it_goes_and_exit_code_6_says_so(face_clip: Path, here: Path) -> None:
    whole = here / "whole.mkv"
    with av.open(str(face_clip)) as source, av.open(str(whole), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    (here / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size * 35 // 100])
    whole.unlink()

    run = veil("anonymize", "cut.mkv", "--report", cwd=here)

    assert run.returncode == ExitCode.DAMAGED, run.stderr
    assert "input damaged" in run.stderr
    report = json.loads((here / "cut_anonymized.mkv.report.json").read_text())
    assert report["is_damaged"] is True
    assert report["notes"]
    assert 5 < len(content(here / "cut_anonymized.mkv").pictures) == len(report["frames"]) < round(SECONDS * RATE)

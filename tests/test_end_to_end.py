"""`veil anonymize` as a user runs it: on a clip with faces, on bad input, twice, and interrupted."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
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

import models
import streamer
from models.detectors import image_render, open_detector
from streamer.demo import make_demo_clip
from streamer.errors import ExitCode

SIZE = (640, 360)
SECONDS, RATE = 2.0, 25
VEIL = (sys.executable, "-c", "from streamer.cli import main; main()")
TIMEOUT_S = 300.0

_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2


def veil(
    *arguments: str | Path, cwd: Path, before: Callable[[], None] | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `veil`; before: called in the new process ahead of it."""
    return subprocess.run(
        [*VEIL, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        preexec_fn=before,
        env={**os.environ, **(environment or {})},
    )


def obey_permissions() -> None:
    """Even as root, a file without permissions cannot be read from here on."""
    libc = ctypes.CDLL(None)
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a clip holds."""

    pictures: list[NDArray[np.uint8]]
    times: list[float]
    audio: list[tuple[bytes, float | None]]


def content(path: Path) -> Content:
    with av.open(str(path)) as container:
        frames = [(frame.to_ndarray(format="rgb24"), frame.time) for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        audio = [(bytes(packet), None if packet.pts is None else float(packet.pts * packet.time_base)) for packet in packets]
    return Content(pictures=[picture for picture, _ in frames], times=[time for _, time in frames], audio=audio)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_demo_clip(path, size=SIZE, duration_s=SECONDS, rate=RATE)
    return path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path


@dataclass(frozen=True, kw_only=True)
class Anonymized:
    """The clip before and after."""

    before: Content
    after: Content
    source: Path
    output: Path
    stderr: str


@pytest.fixture(scope="module")
def anonymized(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Anonymized:
    folder = tmp_path_factory.mktemp("done")
    source = folder / "clip.mp4"
    shutil.copy(clip, source)
    run = veil("anonymize", "clip.mp4", "--report", cwd=folder)
    assert run.returncode == ExitCode.DONE, run.stderr
    output = folder / "clip_anonymized.mp4"
    assert sorted(folder.iterdir()) == [source, output, folder / "clip_anonymized.mp4.report.json"]
    return Anonymized(before=content(source), after=content(output), source=source, output=output, stderr=run.stderr)


def detail(picture: NDArray[np.uint8], box: NDArray[np.float32]) -> float:
    """How much fine structure the middle of a face has: variance of the Laplacian."""
    width, height = box[2] - box[0], box[3] - box[1]
    x1, x2 = int(max(0, box[0] + width / 6)), int(min(picture.shape[1], box[2] - width / 6))
    y1, y2 = int(max(0, box[1] + height / 6)), int(min(picture.shape[0], box[3] - height / 6))
    gray = cv2.cvtColor(picture[y1:y2, x1:x2], cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(gray, cv2.CV_64F).var())


def test_no_face_keeps_its_detail_in_any_frame(anonymized: Anonymized) -> None:
    detector = open_detector("centerface", "full", 0.5)
    checked = 0
    for number, (before, after) in enumerate(zip(anonymized.before.pictures, anonymized.after.pictures, strict=True)):
        faces = detector.detect(image_render(before), SIZE)
        for box in faces.boxes:
            was, now = detail(before, box), detail(after, box)
            assert now < max(0.25 * was, 12.0), f"frame {number}, box {box}: detail {was:.0f} before, {now:.0f} after"
            checked += 1
    assert checked >= 2 * len(anonymized.before.pictures)


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
        "fallback",
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


def write_audio(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_no_frames(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()


def write_unreadable(path: Path) -> None:
    path.write_bytes(b"secret")
    path.chmod(0)


BAD_INPUTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.mp4": (lambda path: None, "there is no such file"),
    "unreadable.mp4": (write_unreadable, "cannot be read"),
    "empty.mp4": (Path.touch, "is empty"),
    "empty.jpg": (Path.touch, "is empty"),
    "text.mp4": (lambda path: path.write_text("this is no video\n" * 50), "is not a media file"),
    "text.jpg": (lambda path: path.write_text("this is no picture\n" * 50), "is not a picture"),
    "sound.m4a": (write_audio, "has sound but no video"),
    "nothing.mp4": (write_no_frames, ""),
    "folder": (Path.mkdir, "there is no picture and no video in this folder"),
    "*.webm": (lambda path: None, "no file matches"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_an_input_that_is_no_use_gives_one_line_and_exit_code_3(here: Path, name: str) -> None:
    make, message = BAD_INPUTS[name]
    make(here / name)
    before = sorted(here.iterdir())

    run = veil("anonymize", name, cwd=here, before=obey_permissions)

    assert run.returncode == ExitCode.INPUT, run.stderr
    assert run.stderr.startswith(f"veil anonymize: {name}: {message}")
    assert run.stderr.count("\n") == 1
    assert run.stdout == ""
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--codec", "divx"], "--codec must be one of"),
        (["--container", "avi"], "--container must be one of"),
        (["-o", "out.avi"], "out.avi: videos are written as"),
        (["--container", "webm", "--codec", "h264"], "clip.mp4: the sound of track 1 (aac) cannot be put into webm"),
        (["--threshold", "0"], "--threshold must be a number above 0"),
        (["--config", "clip.yaml"], "clip.yaml: detector.treshold is not a setting; did you mean threshold?"),
        (["-o", "clip.mp4", "--overwrite"], "clip.mp4: its output clip.mp4 would replace an input"),
        (["-o", "done.mp4"], "done.mp4 exists; --overwrite replaces it"),
    ],
)
def test_settings_that_make_no_sense_give_one_line_and_exit_code_2(
    clip: Path, here: Path, arguments: list[str], message: str
) -> None:
    shutil.copy(clip, here / "clip.mp4")
    (here / "clip.yaml").write_text("detector: {treshold: 0.5}\n")
    (here / "done.mp4").write_text("precious")
    before = {path: path.read_bytes() for path in here.iterdir()}

    run = veil("anonymize", "clip.mp4", *arguments, cwd=here)

    assert run.returncode == ExitCode.USAGE, run.stderr
    assert run.stderr.startswith(f"veil anonymize: {message}")
    assert run.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in here.iterdir()} == before


def test_a_folder_that_cannot_be_written_gives_one_line_and_exit_code_5(clip: Path, here: Path) -> None:
    (here / "locked").mkdir(mode=0o555)

    run = veil("anonymize", clip, "-o", "locked/out.mp4", cwd=here, before=obey_permissions)

    assert run.returncode == ExitCode.OUTPUT, run.stderr
    assert run.stderr == "veil anonymize: locked: the folder for the outputs cannot be written (Permission denied)\n"


_ROOM_BYTES = 4_000_000
"""More than the rings of a small video, which a limit on files concerns too, and less than the noise below needs."""


@pytest.fixture(params=["tmpfs", "limit"])
def small_disk(request: pytest.FixtureRequest, here: Path) -> Iterator[tuple[Path, Callable[[], None] | None]]:
    """A folder in which writing fails after _ROOM_BYTES, and what the process must do for that.

    tmpfs: a real disk that is full, where mounting one is allowed; limit: a limit on the size of files, which every user can set.
    """
    folder = here / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_ROOM_BYTES}", "veil-test", str(folder)]
    if request.param == "limit":
        yield folder, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (_ROOM_BYTES, _ROOM_BYTES))
    elif subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here; the limit on the size of files stands in for it")
    else:
        yield folder, None
        subprocess.run(["umount", str(folder)], check=True)


def write_noise(path: Path) -> None:
    """A video or a photo of noise, which no encoder makes small."""
    rng = np.random.default_rng(1)
    if path.suffix == ".png":
        Image.fromarray(rng.integers(0, 255, (1300, 1300, 3), np.uint8)).save(path, compress_level=1)
        return
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for _ in range(120):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rng.integers(0, 255, (180, 320, 3), np.uint8), "rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("name", ["noise.mp4", "noise.png"])
def test_a_full_disk_gives_one_line_and_exit_code_5_and_leaves_nothing(
    name: str, here: Path, small_disk: tuple[Path, Callable[[], None] | None]
) -> None:
    folder, before = small_disk
    write_noise(here / name)
    assert (here / name).stat().st_size > _ROOM_BYTES

    run = veil("anonymize", name, "-o", folder / name, "--quality", "0", "-q", cwd=here, before=before)

    assert run.returncode == ExitCode.OUTPUT, run.stderr
    assert run.stderr.startswith(f"veil anonymize: {folder}")
    assert run.stderr.count("\n") == 1
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", ["damaged", "missing"])
def test_weights_that_cannot_be_used_give_one_line_and_exit_code_1(kind: str, clip: Path, here: Path) -> None:
    """The package is copied, so that its weights can be harmed."""
    package = here / "package"
    for module in (models, streamer):
        place = Path(next(iter(module.__path__)))
        shutil.copytree(place, package / place.name, ignore=shutil.ignore_patterns("__pycache__"))
    weights = package / "models" / "pretrained" / "centerface.onnx"
    if kind == "damaged":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        weights.unlink()

    run = veil("anonymize", clip, "-o", here / "out.mp4", cwd=here, environment={"PYTHONPATH": str(package)})

    assert run.returncode == ExitCode.INTERNAL, run.stderr
    assert run.stderr.startswith(f"veil anonymize: {weights}: the weights")
    assert run.stderr.count("\n") == 1
    assert not (here / "out.mp4").exists()


@pytest.fixture
def trip(clip: Path, here: Path) -> Path:
    """A folder with a video, two photos below, and what is no media."""
    folder = here / "trip"
    (folder / "day").mkdir(parents=True)
    shutil.copy(clip, folder / "clip.mp4")
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
def test_an_interrupted_run_leaves_nothing(number: signal.Signals, clip: Path, here: Path) -> None:
    shutil.copy(clip, here / "clip.mp4")
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

    run = veil("anonymize", anonymized.source, "-o", output, "--preview-detections", cwd=here)

    assert run.returncode == ExitCode.DONE, run.stderr
    plain, drawn = anonymized.after.pictures[40].astype(int), content(output).pictures[40].astype(int)
    differing = (np.abs(plain - drawn).max(axis=2) > 60).mean()
    assert 0.001 < differing < 0.2


def test_a_truncated_video_is_written_as_far_as_it_goes_and_exit_code_6_says_so(clip: Path, here: Path) -> None:
    whole = here / "whole.mkv"
    with av.open(str(clip)) as source, av.open(str(whole), "w") as target:
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

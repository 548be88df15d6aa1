"""Bad input, bad settings and full disks: one clear line, the documented exit code, and nothing left behind."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import models
import streamer
from models.backends import obstacle_to
from streamer.errors import ExitCode
from tests.command import obey_permissions, veil


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
    face_clip: Path, here: Path, arguments: list[str], message: str
) -> None:
    shutil.copy(face_clip, here / "clip.mp4")
    (here / "clip.yaml").write_text("detector: {treshold: 0.5}\n")
    (here / "done.mp4").write_text("precious")
    before = {path: path.read_bytes() for path in here.iterdir()}

    run = veil("anonymize", "clip.mp4", *arguments, cwd=here)

    assert run.returncode == ExitCode.USAGE, run.stderr
    assert run.stderr.startswith(f"veil anonymize: {message}")
    assert run.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in here.iterdir()} == before


def test_a_folder_that_cannot_be_written_gives_one_line_and_exit_code_5(face_clip: Path, here: Path) -> None:
    (here / "locked").mkdir(mode=0o555)

    run = veil("anonymize", face_clip, "-o", "locked/out.mp4", cwd=here, before=obey_permissions)

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
def test_weights_that_cannot_be_used_give_one_line_and_exit_code_1(kind: str, face_clip: Path, here: Path) -> None:
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

    run = veil("anonymize", face_clip, "-o", here / "out.mp4", cwd=here, environment={"PYTHONPATH": str(package)})

    assert run.returncode == ExitCode.INTERNAL, run.stderr
    assert run.stderr.startswith(f"veil anonymize: {weights}: the weights")
    assert run.stderr.count("\n") == 1
    assert not (here / "out.mp4").exists()


def test_a_backend_that_this_machine_lacks_is_refused_in_one_line(here: Path) -> None:
    obstacle = obstacle_to("tensorrt")
    if obstacle is None:
        pytest.skip("TensorRT is usable on this machine")
    (here / "clip.mp4").touch()
    done = veil("anonymize", "clip.mp4", "--backend", "tensorrt", cwd=here)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr == f"veil anonymize: --backend: tensorrt cannot be used here: {obstacle}; use auto\n"

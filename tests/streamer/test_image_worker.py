"""The worker of photos alone: tasks in, files and answers out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from models.backends import BACKENDS, InferenceBackend, fallback
from streamer.config import AnonymizeSettings, DetectorSettings, FilterSettings
from streamer.images import read_image
from streamer.messages import (
    ImageDone,
    ImageSetup,
    ImageTask,
)
from streamer.workers.image import ImageWorker
from tests.streamer.running import REPOSITORY
from tests.workers import answers

FACE = REPOSITORY / "streamer" / "demo_faces" / "100001.jpg"


def test_an_image_is_written_without_its_face(tmp_path: Path) -> None:
    worker = ImageWorker({})
    answers(worker, ImageSetup(settings=AnonymizeSettings(filter=FilterSettings(name="blackout"))))
    task = ImageTask(number=4, source=str(FACE), temporary=str(tmp_path / "part.jpg"), output=str(tmp_path / "out.jpg"))
    (done,) = answers(worker, task)
    assert isinstance(done, ImageDone)
    assert (done.number, done.error, len(done.covers), done.covers[0].reason) == (4, None, 1, "detected")
    before, after = (read_image(path).rgb for path in (FACE, tmp_path / "part.jpg"))
    x1, y1, x2, y2 = (int(value) for value in done.covers[0].box)
    assert before[y1:y2, x1:x2].mean() > 60
    assert after[(y1 + y2) // 2 - 20 : (y1 + y2) // 2 + 20, (x1 + x2) // 2 - 20 : (x1 + x2) // 2 + 20].max() < 12
    assert np.abs(before[:16, :16].astype(int) - after[:16, :16]).mean() < 3, "the background changed"


@pytest.mark.parametrize(("size", "count"), [("default", 6), ("full", 6), (640, 0)])
def test_small_faces_in_a_large_photo_are_covered_unless_a_working_size_is_asked_for(
    tmp_path: Path, size: Literal["default", "full"] | int, count: int
) -> None:
    photo, source = np.full((600, 1600, 3), 120, np.uint8), tmp_path / "in.png"
    with Image.open(FACE) as face:
        small = np.asarray(face.convert("RGB").resize((34, 34), Image.Resampling.BOX))
    for x in range(6):
        photo[200 + 40 * x : 234 + 40 * x, 100 + 230 * x : 134 + 230 * x] = small
    Image.fromarray(photo).save(source)
    worker = ImageWorker({})
    settings = AnonymizeSettings(filter=FilterSettings(name="blackout"), detector=DetectorSettings(size=size))
    answers(worker, ImageSetup(settings=settings))
    (done,) = answers(worker, ImageTask(number=0, source=str(source), temporary=str(tmp_path / "out.png"), output="out.png"))
    assert isinstance(done, ImageDone)
    assert (done.error, len(done.covers)) == (None, count)


@pytest.mark.parametrize("what", ["missing", "unwritable"])
def test_an_image_that_cannot_be_done_is_an_answer(what: str, tmp_path: Path) -> None:
    worker = ImageWorker({})
    answers(worker, ImageSetup(settings=AnonymizeSettings()))
    source = FACE if what == "unwritable" else tmp_path / "none.jpg"
    temporary = tmp_path / "part.jpg" if what == "missing" else tmp_path / "no folder" / "part.jpg"
    (done,) = answers(worker, ImageTask(number=0, source=str(source), temporary=str(temporary), output=str(tmp_path / "out.jpg")))
    assert isinstance(done, ImageDone)
    assert done.error is not None
    assert done.error.startswith(str(source if what == "missing" else tmp_path / "out.jpg"))
    assert done.exit_code == (3 if what == "missing" else 5)


def no_device(network: bytes, *, threads: int, precision: str) -> InferenceBackend:
    raise RuntimeError("no such device")


def test_an_image_says_which_backend_had_to_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "_replacements", [])
    row = BACKENDS["openvino"]._replace(factory=f"{__name__}:no_device", packages=())
    monkeypatch.setitem(BACKENDS, "openvino", row)
    worker = ImageWorker({})
    answers(worker, ImageSetup(settings=AnonymizeSettings(filter=FilterSettings(name="blackout"), backend="openvino")))
    for number in range(2):
        part = tmp_path / f"part{number}.jpg"
        (done,) = answers(worker, ImageTask(number=number, source=str(FACE), temporary=str(part), output=str(tmp_path / "out.jpg")))
        assert isinstance(done, ImageDone)
        assert (done.error, len(done.covers)) == (None, 1)
        assert "centerface.onnx on openvino failed and is replaced by cpu: no such device." in done.notes

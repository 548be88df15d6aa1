"""`veil engines`: what it would build, what it shows, and what it says where there is no GPU."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.backends import obstacle_to
from models.backends.engine_cache import EngineCache, EngineKey, Forms, default_folder
from models.backends.engine_runtime import EngineError
from models.backends.tensorrt import forms_of
from models.detectors import CenterFaceDetector, image_render
from models.face_generator import FaceGenerator, open_generator
from models.weights import read_manifest
from streamer.cli import main
from streamer.commands import engines
from streamer.engines import wanted_engines
from streamer.errors import ExitCode

PLATFORM = {"tensorrt": "11.1", "gpu": "NVIDIA L4"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineCache:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return EngineCache(default_folder())


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["engines", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def key_of(weights: str, forms: Forms) -> EngineKey:
    return EngineKey(network=read_manifest()[weights], forms=forms, settings={}, platform=PLATFORM)


class Recorder:
    """A network that only notes what it is given."""

    def __init__(self, network: Any) -> None:
        self.network, self.forms = network, set[Forms]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def run(self, inputs: list[NDArray[Any]]) -> Any:
        self.forms.add(forms_of(inputs))
        return self.network.run(inputs)


@pytest.mark.parametrize("size", ["default", "full"])
@pytest.mark.parametrize("frame_size", [(1280, 720), (720, 1280), (200, 160)])
def test_engines_are_wanted_for_all_that_the_detector_runs(frame_size: tuple[int, int], size: Any) -> None:
    detector = CenterFaceDetector(size=size)
    detector._network = recorder = Recorder(detector._network)  # type: ignore[assignment]
    frame = np.zeros((frame_size[1], frame_size[0], 3), np.uint8)
    for effort in ("thorough", "careful", "quick"):
        detector.detect(image_render(frame), frame_size, effort=effort)  # type: ignore[arg-type]
    wanted = {one.forms for one in wanted_engines([frame_size], size) if one.weights == "centerface.onnx"}
    assert wanted == recorder.forms


def test_engines_are_wanted_for_what_the_generator_is_given() -> None:
    generator: FaceGenerator = open_generator()
    generator._backend = recorder = Recorder(generator._backend)  # type: ignore[assignment]
    for batch in (1, 2, 4, 8):
        shape = (batch, generator.resolution, generator.resolution)
        generator.paint(np.zeros((*shape, 3), np.uint8), np.ones(shape, bool), np.zeros((batch, 14), np.float32))
    wanted = {one.forms for one in wanted_engines([(640, 360)], "default") if one.weights == "generator.onnx"}
    assert wanted == recorder.forms


def test_nothing_is_built_where_nothing_can_run_it(capsys: pytest.CaptureFixture[str]) -> None:
    obstacle = obstacle_to("tensorrt")
    if obstacle is None:
        pytest.skip("TensorRT is usable on this machine")
    assert run("build") == ExitCode.USAGE
    assert capsys.readouterr().err == f"veil engines: tensorrt cannot be used here: {obstacle}; use auto\n"


def test_what_is_built_is_listed_and_cleared(cache: EngineCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == ExitCode.DONE
    assert capsys.readouterr().out == ""
    detector, *_, generator = wanted_engines([(640, 360)], "default")
    cache.store(key_of(detector.weights, detector.forms), b"x" * 2_500_000)
    cache.store_refusal(key_of(generator.weights, generator.forms), "answers that are not finite")
    assert run("list") == ExitCode.DONE
    first, second = capsys.readouterr().out.splitlines()
    assert re.search(r"centerface\.onnx +1x\d+x\d+x3 +NVIDIA L4, TensorRT 11\.1, 2\.5 MB$", first)
    assert re.search(r"generator\.onnx +8x3x128x128 +NVIDIA L4, TensorRT 11\.1, REFUSED: answers that are not finite$", second)
    assert run("clear") == ExitCode.DONE
    assert capsys.readouterr().out == "2 removed\n"
    assert cache.entries() == []


def test_a_folder_that_others_can_enter_is_named_in_one_line(cache: EngineCache, capsys: pytest.CaptureFixture[str]) -> None:
    default_folder().mkdir(parents=True)
    default_folder().chmod(0o755)
    assert run("list") == ExitCode.OUTPUT
    assert re.fullmatch(r"veil engines: .*veil/engines: must be a folder of your own .*\n", capsys.readouterr().err)


OUTCOMES: list[tuple[Any, ExitCode, str]] = [
    (None, ExitCode.DONE, "ready"),
    ("wrong", ExitCode.INTERNAL, "REFUSED: wrong"),
    (EngineError("no"), ExitCode.INTERNAL, "FAILED: no"),
]


@pytest.mark.parametrize(("outcome", "code", "said"), OUTCOMES)
def test_a_build_says_how_each_engine_went(
    outcome: Any, code: ExitCode, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(network: bytes, forms: Forms) -> str | None:
        if isinstance(outcome, Exception) and forms[0].shape[0] == 8:
            raise outcome
        return outcome if isinstance(outcome, str) and forms[0].shape[0] == 8 else None

    monkeypatch.setattr(engines, "choose_backend", lambda name: name)
    monkeypatch.setattr(engines, "build_apart", build)
    assert run("build", "--frame-size", "640x360") == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(wanted_engines([(640, 360)], "default"))
    assert [line for line in lines if line.endswith("  ready")] == lines or outcome is not None
    assert lines[-1].endswith(f"8x3x128x128  {said}")


def test_a_size_that_is_none_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("build", "--frame-size", "720p") == ExitCode.USAGE
    assert "must be WIDTHxHEIGHT in pixels, as in 1280x720, is 720p" in capsys.readouterr().err

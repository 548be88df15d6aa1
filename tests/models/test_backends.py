"""A backend runs only weights that are what the manifest says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.backends import (
    AUTO,
    BACKENDS,
    BackendError,
    InferenceBackend,
    choose_backend,
    fallback,
    obstacle_to,
    open_backend,
    open_network,
)
from models.backends.fallback import FallbackBackend, Replacement, replacements
from models.backends.openvino import has_fast_bfloat16
from models.weights import MANIFEST, PRETRAINED, WeightsError, read_manifest, read_weights

WEIGHTS = "centerface.onnx"
ROWS = [
    pytest.param(name, marks=pytest.mark.skipif(obstacle is not None, reason=f"{name}: {obstacle}"))
    for name in BACKENDS
    if name != "tensorrt"  # tests/models/test_tensorrt.py
    for obstacle in [obstacle_to(name)]
]
needs_openvino = pytest.mark.skipif(obstacle_to("openvino") is not None, reason=str(obstacle_to("openvino")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped weights that a test may damage."""
    for name in (WEIGHTS, MANIFEST):
        shutil.copy(PRETRAINED / name, tmp_path / name)
    return tmp_path


def assert_one_line(error: WeightsError, path: Path) -> None:
    message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_every_shipped_file_is_what_the_manifest_says() -> None:
    manifest = read_manifest()
    assert set(manifest) == {path.name for path in PRETRAINED.iterdir() if path.suffix not in {".md", ".json", ".jpg"}}
    for name in manifest:
        assert read_weights(name)


def test_one_changed_byte_is_noticed(folder: Path) -> None:
    path = folder / WEIGHTS
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged") as caught:
        read_weights(WEIGHTS, folder)
    assert_one_line(caught.value, path)


def test_truncated_weights_are_noticed(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="install the package again"):
        read_weights(WEIGHTS, folder)


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(WeightsError, match="cannot be read") as caught:
        read_weights(WEIGHTS, folder)
    assert_one_line(caught.value, folder / WEIGHTS)


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_manifest_is_named(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content)
    with pytest.raises(WeightsError) as caught:
        read_weights(WEIGHTS, folder)
    assert_one_line(caught.value, folder / MANIFEST)


def test_weights_that_nobody_vouches_for_are_refused(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps({}))
    with pytest.raises(WeightsError, match="not in manifest"):
        read_weights(WEIGHTS, folder)


def test_an_unknown_backend_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown backend 'abacus', use one of: auto, tensorrt, cpu, "):
        open_backend("abacus", WEIGHTS)


@pytest.mark.parametrize("name", ROWS)
def test_a_backend_takes_any_batch_and_any_multiple_of_32(name: str) -> None:
    backend = open_backend(name, WEIGHTS)
    assert backend.name == name
    assert backend.providers
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    (maps,) = backend.run([pictures])
    assert maps.shape == (3, 15, 16, 24)
    for picture, expected in zip(pictures, maps, strict=True):
        np.testing.assert_allclose(backend.run([picture[None]])[0][0], expected, atol=1e-4)
    assert backend.run([np.zeros((1, 32, 160, 3), np.uint8)])[0].shape == (1, 15, 8, 40)


def test_detection_needs_no_torch() -> None:
    code = "import sys, models.detectors, models.keypoints as k; k.open_keypoint_estimator('detector'); \
models.detectors.open_detector('centerface'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def inputs_of(weights: str, batch: int = 2) -> list[NDArray[Any]]:
    random = np.random.default_rng(0)
    if weights != "generator.onnx":
        size = (64, 64) if weights == "keypoints.onnx" else (64, 96)
        return [random.integers(0, 256, (batch, *size, 3), dtype=np.uint8)]
    mask = np.zeros((batch, 1, 128, 128), np.float32)
    mask[:, :, 20:100, 28:104] = 1
    image = random.uniform(-1, 1, (batch, 3, 128, 128)).astype(np.float32) * (1 - mask)
    keypoints = ((random.integers(-8, 72, (batch, 14)) + 0.5) / 64).astype(np.float32)
    return [image, keypoints, random.standard_normal((batch, 32, 4, 4), np.float32), mask]


NETWORKS = ("centerface.onnx", "keypoints.onnx", "generator.onnx")


def test_every_exported_network_is_compared() -> None:
    assert {name for name in read_manifest() if name.endswith(".onnx")} == set(NETWORKS)


@pytest.mark.parametrize("weights", NETWORKS)
@pytest.mark.parametrize("name", ROWS)
def test_all_backends_answer_as_the_processor_does(name: str, weights: str) -> None:
    backend, reference = (open_network(row, read_weights(weights)) for row in (name, "cpu"))
    assert backend.name == name
    assert dict(backend.metadata) == dict(reference.metadata)
    inputs = inputs_of(weights)
    answers, expected = backend.run(inputs), reference.run(inputs)
    assert [answer.dtype for answer in answers] == [np.float32]
    np.testing.assert_allclose(answers[0], expected[0], atol=1e-3)
    kept = answers[0].copy()
    backend.run([value[::-1] for value in inputs])
    np.testing.assert_array_equal(answers[0], kept)


@pytest.mark.parametrize("name", ROWS)
def test_a_generator_given_nothing_answers_with_numbers(name: str) -> None:
    nothing = [np.zeros_like(value) for value in inputs_of("generator.onnx")]
    assert np.isfinite(open_network(name, read_weights("generator.onnx")).run(nothing)[0]).all()


@needs_openvino
def test_where_bfloat16_is_enough_openvino_paints_nearly_the_same() -> None:
    network, inputs = read_weights("generator.onnx"), inputs_of("generator.onnx")
    painted = open_network("openvino", network, precision="bfloat16").run(inputs)[0]
    difference = np.abs(painted - open_network("cpu", network).run(inputs)[0])
    assert difference.max() < 0.1
    assert difference.mean() < 0.01


@needs_openvino
def test_openvino_computes_in_bfloat16_only_where_that_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left alone it takes bfloat16 wherever the processor has it, AVX-512's too, which is slower than single precision."""
    assert has_fast_bfloat16({"avx512f", "amx_bf16"})
    assert not has_fast_bfloat16({"avx512f", "avx512_bf16"})
    monkeypatch.setattr("models.backends.openvino._processor_flags", lambda: frozenset({"avx512_bf16"}))
    opened = open_network("openvino", read_weights("generator.onnx"), precision="bfloat16")
    assert opened.providers == ("CPU f32",)


SILENT_IMPORT = """
import builtins, os, socket, sys

def refuse(*arguments, **options):
    raise AssertionError("the network was asked for")

socket.socket = socket.create_connection = socket.getaddrinfo = refuse
import numpy as np
from models.backends import open_network
from models.weights import read_weights

open_network("openvino", read_weights("keypoints.onnx")).run([np.zeros((1, 64, 64, 3), np.uint8)])
assert "openvino" in sys.modules
loaded = [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module is not None]
assert not loaded, loaded
assert os.listdir(os.environ["HOME"]) == [], os.listdir(os.environ["HOME"])
"""


@needs_openvino
def test_openvino_tells_nobody_that_it_runs(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(PRETRAINED.parents[1]), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", SILENT_IMPORT], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class FailingBackend:
    """Adds one to its input, until it is called too often."""

    name, providers, metadata = "failing", ("none",), {"format": "first"}

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        self.calls -= 1
        if self.calls < 0:
            raise RuntimeError("out of memory\nat length")
        return [inputs[0] + 1]


class AddsTwo(FailingBackend):
    name = "second"

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return [inputs[0] + 2]


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has been replaced yet."""
    monkeypatch.setattr(fallback, "_replacements", [])


@pytest.mark.parametrize("works", [0, 1, 3])
def test_a_backend_that_fails_is_replaced_for_good_with_one_warning(works: int, caplog: pytest.LogCaptureFixture) -> None:
    first = FailingBackend(works)
    backend: InferenceBackend = FallbackBackend(lambda: first, lambda: AddsTwo(0), network="faces.onnx", backend="failing")
    answers = [int(backend.run([np.array(0)])[0]) for _ in range(5)]
    assert answers == [1] * works + [2] * (5 - works)
    assert first.calls == -1
    assert backend.name == "second"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "faces.onnx on failing failed and is replaced by second: out of memory"
    assert replacements() == (Replacement(network="faces.onnx", backend="failing", replaced_by="second", reason="out of memory"),)


def test_a_backend_that_does_not_open_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> InferenceBackend:
        raise OSError("libcuda is of another version")

    backend = FallbackBackend(broken, lambda: AddsTwo(0), network="faces.onnx", backend="failing")
    assert int(backend.run([np.array(0)])[0]) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "faces.onnx on failing failed and is replaced by second: libcuda is of another version"
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_that_is_not_finite_is_a_failure(value: float) -> None:
    backend = FallbackBackend(lambda: FailingBackend(9), lambda: AddsTwo(0), network="faces.onnx", backend="failing")
    assert backend.run([np.array([1.0, 0.0])])[0].tolist() == [2.0, 1.0]
    assert backend.run([np.array([1.0, value])])[0][0] == 3.0
    assert [replacement.reason for replacement in replacements()] == ["its answer is not finite"]


def test_what_the_second_backend_cannot_do_is_the_callers() -> None:
    backend = FallbackBackend(lambda: FailingBackend(0), lambda: FailingBackend(0), network="faces.onnx", backend="failing")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            backend.run([np.array(0)])
    assert len(replacements()) == 1


def test_a_backend_that_works_is_not_among_the_replaced() -> None:
    FallbackBackend(lambda: FailingBackend(1), lambda: AddsTwo(0), network="faces.onnx", backend="failing").run([np.array(0)])
    assert replacements() == ()


def test_a_shipped_network_survives_the_failure_of_its_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    row = BACKENDS["openvino"]._replace(factory=f"{__name__}:unusable", packages=())
    monkeypatch.setitem(BACKENDS, "openvino", row)
    backend = open_backend("openvino", "keypoints.onnx")
    assert backend.name == "cpu"
    inputs = inputs_of("keypoints.onnx")
    np.testing.assert_array_equal(backend.run(inputs)[0], open_backend("cpu", "keypoints.onnx").run(inputs)[0])


def unusable(network: bytes, *, threads: int, precision: str) -> InferenceBackend:
    raise RuntimeError("no such device")


def test_a_backend_whose_package_is_missing_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "openvino", BACKENDS["openvino"]._replace(packages=("no_such_package",)))
    with pytest.raises(BackendError, match=r"openvino cannot be used here: no_such_package not installed .*veilstream\[openvino\]"):
        open_backend("openvino", WEIGHTS)
    assert choose_backend("auto", "bfloat16") in ("tensorrt", "cpu")


def test_auto_always_ends_with_the_processor() -> None:
    for rows in AUTO.values():
        assert rows[-1] == "cpu"
        assert set(rows) <= set(BACKENDS)
    assert BACKENDS["cpu"].packages == ()

"""Engines serve once they are built and found right; until then, and whenever anything fails, the processor does."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.backends import InferenceBackend, gpu_obstacle, obstacle_to, open_backend, open_network
from models.backends.acceptance import objection_to, probe
from models.backends.cpu import CpuBackend
from models.backends.engine_build import build_apart, forms_from_json, forms_to_json, make_engine
from models.backends.engine_cache import EngineCache, Forms
from models.backends.engine_runtime import EngineError
from models.backends.fallback import FallbackBackend
from models.backends.tensorrt import BATCHES, CALLS_BEFORE_BUILD, EngineShelf, TensorRtBackend, batch_of, forms_of, padded
from models.weights import read_weights
from tests.models.fake_engines import FakeRuntime

NETWORK = read_weights("keypoints.onnx")
REFERENCE = CpuBackend(NETWORK)
needs_gpu = pytest.mark.skipif(obstacle_to("tensorrt") is not None, reason=f"tensorrt: {obstacle_to('tensorrt')}")


def crops(count: int, seed: int = 0) -> list[NDArray[Any]]:
    return [np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)]


class Bench:
    """A backend on the fake runtime, and what is around it."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.runtime = FakeRuntime(REFERENCE, **changes)
        self.cache = EngineCache(folder / "engines")
        self.may_build = threading.Event()
        self.may_build.set()
        self.builds: list[Forms] = []
        self.failure: Exception | None = None
        self.shelf = EngineShelf(NETWORK, self.runtime, self.cache, self._build)
        self.backend = TensorRtBackend(REFERENCE, self.shelf, ("fake",))

    def _build(self, network: bytes, forms: Forms) -> None:
        assert self.may_build.wait(60)
        self.builds.append(forms)
        if self.failure is not None:
            raise self.failure
        make_engine(network, forms, self.runtime, self.cache, REFERENCE)

    def run(self, count: int, times: int = 1, seed: int = 0) -> None:
        """Whatever serves, the answers are right."""
        for _ in range(times):
            inputs = crops(count, seed)
            (answers,) = self.backend.run(inputs)
            np.testing.assert_allclose(answers, REFERENCE.run(inputs)[0], atol=1e-4)

    def warm_up(self, count: int) -> None:
        self.run(count, CALLS_BEFORE_BUILD)
        self.shelf.wait()
        self.run(count)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(("count", "batch"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8)])
def test_rows_run_in_the_smallest_batch_that_holds_them(bench: Bench, count: int, batch: int) -> None:
    assert batch_of(count) == batch
    bench.warm_up(count)
    assert bench.runtime.runs[-1] == batch
    (whole,) = (padded(value, batch) for value in crops(count))
    assert whole.shape[0] == batch
    assert not whole[count:].any()


@pytest.mark.parametrize(("count", "batches"), [(9, [8, 1]), (16, [8, 8]), (21, [8, 8, 8])])
def test_more_rows_than_the_largest_batch_run_one_batch_after_the_other(bench: Bench, count: int, batches: list[int]) -> None:
    for batch in set(batches):
        bench.warm_up(batch)
    bench.runtime.runs.clear()
    bench.run(count)
    assert bench.runtime.runs == batches


def test_the_processor_serves_while_the_engine_is_built_and_the_engine_from_then_on(bench: Bench) -> None:
    bench.may_build.clear()
    bench.run(1, CALLS_BEFORE_BUILD + 20)
    assert bench.runtime.runs == []
    bench.may_build.set()
    bench.shelf.wait()
    checks = len(bench.runtime.runs)
    bench.run(1, 3)
    assert len(bench.runtime.runs) == checks + 3
    assert len(bench.builds) == 1


def test_a_shape_that_is_seldom_asked_for_is_not_built(bench: Bench) -> None:
    bench.run(1, CALLS_BEFORE_BUILD - 1)
    bench.shelf.wait()
    assert bench.builds == []


def test_one_engine_is_built_at_a_time(bench: Bench) -> None:
    bench.may_build.clear()
    bench.run(1, CALLS_BEFORE_BUILD)
    bench.run(2, CALLS_BEFORE_BUILD)
    bench.may_build.set()
    bench.shelf.wait()
    assert [forms[0].shape[0] for forms in bench.builds] == [1]
    bench.run(2)
    bench.shelf.wait()
    assert [forms[0].shape[0] for forms in bench.builds] == [1, 2]


def test_the_next_process_finds_the_engine_and_builds_none(bench: Bench, tmp_path: Path) -> None:
    bench.warm_up(1)
    second = Bench(tmp_path)
    second.run(1)
    assert (second.builds, second.runtime.loads, second.runtime.runs) == ([], 1, [1])


@pytest.mark.parametrize("fact", ["tensorrt", "gpu", "driver"])
def test_another_machine_or_version_builds_anew(bench: Bench, tmp_path: Path, fact: str) -> None:
    bench.warm_up(1)
    second = Bench(tmp_path)
    second.runtime.versions[fact] = "another"
    second.run(1)
    assert second.runtime.runs == []
    second.warm_up(1)
    assert len(second.builds) == 1


def test_a_damaged_engine_is_built_anew(bench: Bench, tmp_path: Path) -> None:
    bench.warm_up(1)
    for plan in (tmp_path / "engines").glob("*/engine.plan"):
        plan.write_bytes(b"damaged")
    second = Bench(tmp_path)
    second.warm_up(1)
    assert len(second.builds) == 1
    assert second.runtime.runs[-1] == 1


@pytest.mark.parametrize("error", [0.2, float("nan")])
def test_an_engine_that_answers_otherwise_is_refused_once_and_for_all(
    tmp_path: Path, error: float, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, error=error)
    bench.warm_up(1)
    bench.run(1, 2 * CALLS_BEFORE_BUILD)
    assert len(bench.runtime.runs) == 1  # the comparison
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "no TensorRT engine for (1, 64, 64, 3), the processor goes on: refused: answers" in record.getMessage()
    second = Bench(tmp_path)
    second.run(1, 2 * CALLS_BEFORE_BUILD)
    assert second.builds == []


def test_a_build_that_fails_is_said_once_and_not_tried_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.failure = EngineError("out of memory\nat length")
    bench.warm_up(1)
    bench.run(1, 2 * CALLS_BEFORE_BUILD)
    assert len(bench.builds) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "no TensorRT engine for (1, 64, 64, 3), the processor goes on: out of memory"
    ]


def test_a_build_that_leaves_nothing_is_not_repeated_for_ever(bench: Bench, tmp_path: Path) -> None:
    shelf = EngineShelf(NETWORK, bench.runtime, bench.cache, lambda network, forms: bench.builds.append(forms))
    backend = TensorRtBackend(REFERENCE, shelf, ("fake",))
    for _ in range(4 * CALLS_BEFORE_BUILD):
        backend.run(crops(1))
        shelf.wait()
    assert len(bench.builds) == 1


def test_an_engine_that_fails_later_is_replaced_by_the_processor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, runs_before_failure=4)
    backend = FallbackBackend(lambda: bench.backend, lambda: REFERENCE, network="keypoints.onnx", backend="tensorrt")
    inputs = crops(1)
    for _ in range(CALLS_BEFORE_BUILD):
        backend.run(inputs)
    bench.shelf.wait()
    for _ in range(10):
        np.testing.assert_array_equal(backend.run(inputs)[0], REFERENCE.run(inputs)[0])
    assert len(bench.runtime.runs) == 5
    assert backend.name == "cpu"
    assert [record.getMessage() for record in caplog.records] == [
        "keypoints.onnx on tensorrt failed and is replaced by cpu: the GPU has fallen off the bus"
    ]


def test_a_folder_that_others_can_enter_ends_in_the_processor(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines").chmod(0o777)
    backend = FallbackBackend(lambda: bench.backend, lambda: REFERENCE, network="keypoints.onnx", backend="tensorrt")
    backend.run(crops(1))
    assert backend.name == "cpu"
    assert "must be a folder of your own" in caplog.text


def test_what_two_processes_build_is_built_once(bench: Bench) -> None:
    forms = forms_of(crops(1))
    threads = [threading.Thread(target=make_engine, args=(NETWORK, forms, bench.runtime, bench.cache, REFERENCE)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.runtime.builds == [forms]


def test_answers_are_compared_by_shape_size_and_mean() -> None:
    right = np.linspace(-1, 1, 2000, dtype=np.float32)
    assert objection_to([right], [right]) is None
    assert "in place of" in str(objection_to([right[:10]], [right]))
    assert "not finite" in str(objection_to([np.where(right > 0.99, np.inf, right)], [right]))
    one = right.copy()
    one[5] += 0.1
    assert "up to 0.05 of their range" in str(objection_to([one], [right]))
    assert "on average" in str(objection_to([right + 0.02], [right]))
    assert objection_to([right + np.float32(0.001)], [right]) is None


def test_half_precision_stays_well_within_what_is_accepted() -> None:
    torch = pytest.importorskip("torch")
    from models.backends.half_precision import HalfPrecision
    from models.backends.torch_networks import read_network

    for weights, inputs in EXAMPLES.items():
        network, reference = read_network(read_weights(weights)), CpuBackend(read_weights(weights))
        assert network.names == reference.input_names
        given = probe(reference.input_names, forms_of(inputs))
        with torch.inference_mode():
            answer = HalfPrecision(network)(*map(torch.from_numpy, given)).float().numpy()
        expected = reference.run(given)[0]
        assert objection_to([answer], [expected]) is None
        twice_as_far = (answer - expected) * 2 + expected
        assert objection_to([twice_as_far], [expected]) is None


EXAMPLES: dict[str, list[NDArray[Any]]] = {
    "centerface.onnx": [np.zeros((1, 96, 128, 3), np.uint8)],
    "keypoints.onnx": [np.zeros((2, 64, 64, 3), np.uint8)],
    "generator.onnx": [np.zeros((1, *shape), np.float32) for shape in ((3, 128, 128), (14,), (32, 4, 4), (1, 128, 128))],
}


def test_forms_cross_to_the_building_process_unchanged() -> None:
    for inputs in EXAMPLES.values():
        assert forms_from_json(forms_to_json(forms_of(inputs))) == forms_of(inputs)
    with pytest.raises((ValueError, KeyError, TypeError)):
        forms_from_json(json.dumps([{"shape": [1]}]))


@pytest.mark.skipif(obstacle_to("tensorrt") is None, reason="TensorRT is usable on this machine")
def test_a_building_process_that_fails_says_why_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(EngineError, match=r"the build ended with 1: .*(Error|Exception)") as caught:
        build_apart(NETWORK, forms_of(crops(1)))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(gpu_obstacle() is None, reason="there is a GPU on this machine")
def test_without_a_gpu_the_row_ends_in_the_processor(caplog: pytest.LogCaptureFixture) -> None:
    backend = FallbackBackend(
        lambda: open_network("tensorrt", NETWORK), lambda: REFERENCE, network="keypoints.onnx", backend="tensorrt"
    )
    assert backend.name == "cpu"
    assert "keypoints.onnx on tensorrt failed and is replaced by cpu" in caplog.text


@pytest.fixture
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.usefixtures("_own_cache")
@pytest.mark.parametrize("weights", EXAMPLES)
@pytest.mark.parametrize("batch", BATCHES)
def test_on_a_gpu_engines_answer_as_the_processor_does(weights: str, batch: int) -> None:
    network, reference = read_weights(weights), CpuBackend(read_weights(weights))
    inputs = probe(reference.input_names, forms_of([np.repeat(value[:1], batch, axis=0) for value in EXAMPLES[weights]]))
    build_apart(network, forms_of(inputs))
    backend = open_backend("tensorrt", weights)
    assert backend.name == "tensorrt"
    for _ in range(3):
        assert objection_to(backend.run(inputs), reference.run(inputs)) is None


@pytest.mark.gpu
@needs_gpu
@pytest.mark.usefixtures("_own_cache")
def test_on_a_gpu_faces_are_painted_faster_than_on_a_core() -> None:
    network, reference = read_weights("generator.onnx"), CpuBackend(read_weights("generator.onnx"))
    inputs = probe(reference.input_names, forms_of([np.repeat(value, 8, axis=0) for value in EXAMPLES["generator.onnx"]]))
    build_apart(network, forms_of(inputs))
    backends: list[InferenceBackend] = [open_network("tensorrt", network), reference]
    least = []
    for backend in backends:
        backend.run(inputs)
        starts = [time.perf_counter() for _ in range(10) if backend.run(inputs)]
        least.append(np.diff(starts).min())
    assert least[0] < least[1] / 2

"""Milliseconds per row of every network on TensorRT, and on ONNX Runtime beside it: a table for BENCHMARKS.md. Needs a GPU.

Engines are built first where they are missing. Latency is the median of many calls one after the other, transfers included.
"""

import statistics
import time

import numpy as np

from models.backends import open_network
from models.backends.acceptance import objection_to, probe
from models.backends.cpu import CpuBackend
from models.backends.engine_build import build_apart
from models.backends.nvidia import NoGpuError, first_gpu
from models.weights import read_weights
from streamer.engines import WantedEngine, wanted_engines

CALLS, WARM_UP = 200, 20


def median_ms(run, calls: int) -> float:
    spent = []
    for _ in range(calls):
        start = time.perf_counter()
        run()
        spent.append(1000 * (time.perf_counter() - start))
    return statistics.median(spent)


def row(wanted: WantedEngine) -> str:
    network = read_weights(wanted.weights)
    reference = CpuBackend(network)
    inputs = probe(reference.input_names, wanted.forms)
    refusal = build_apart(network, wanted.forms)
    if refusal is not None:
        return f"| {wanted} | refused: {refusal} | | | |"
    backend = open_network("tensorrt", network)
    median_ms(lambda: backend.run(inputs), WARM_UP)
    answers, expected = backend.run(inputs), reference.run(inputs)
    on_gpu, on_cpu = median_ms(lambda: backend.run(inputs), CALLS), median_ms(lambda: reference.run(inputs), WARM_UP)
    rows = len(inputs[0])
    worst = float(np.abs(answers[0] - expected[0]).max() / np.ptp(expected[0]))
    verdict = "ok" if objection_to(answers, expected) is None else "WRONG"
    return f"| {wanted} | {on_gpu:.2f} | {1000 * rows / on_gpu:.0f} | {on_cpu / on_gpu:.1f} | {worst:.1e} {verdict} |"


def main() -> None:
    try:
        gpu = first_gpu()
    except NoGpuError as error:
        raise SystemExit(str(error)) from None
    print(f"{gpu.name}, compute capability {gpu.capability}, driver {gpu.driver}\n")
    print("| network and input | ms a call | rows a second | times as fast as one core | largest difference, of the range |")
    print("|---|---|---|---|---|")
    for wanted in wanted_engines([(1280, 720), (720, 1280)], "default") + wanted_engines([(1280, 720)], "full")[:3]:
        print(row(wanted), flush=True)


if __name__ == "__main__":
    main()

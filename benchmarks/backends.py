"""CPU milliseconds of the shipped networks on each backend, one thread, the backends in turn within one process.

Prints a line per network, batch and backend: the least of all rounds, the median over rounds of the ratio to `cpu`, and the largest
difference of any output from `cpu`. `openvino bf16` is the precision that OpenVINO would choose on processors that have it.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

import numpy as np

from models.backends import obstacle_to, open_network
from models.backends.openvino import OpenVinoBackend
from models.weights import read_weights

Inputs = list[np.ndarray]

GENERATOR_PX = 128


def smooth(generator: np.random.Generator, batch: int, rows: int, columns: int) -> np.ndarray:
    """Pictures that have large shapes, uint8 (batch, rows, columns, 3)."""
    coarse = generator.integers(0, 256, (batch, rows // 16, columns // 16, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=1).repeat(16, axis=2)


def generator_inputs(generator: np.random.Generator, batch: int) -> Inputs:
    mask = np.zeros((batch, 1, GENERATOR_PX, GENERATOR_PX), np.float32)
    mask[:, :, 24:104, 28:100] = 1
    picture = smooth(generator, batch, GENERATOR_PX, GENERATOR_PX).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    noise = generator.standard_normal((batch, 32, 4, 4), np.float32)
    keypoints = (generator.integers(6, 58, (batch, 14)) + 0.5) / 64
    return [picture * (1 - mask), keypoints.astype(np.float32), noise, mask]


CASES: dict[str, tuple[str, Callable[[np.random.Generator], Inputs], int]] = {
    "generator, batch 1": ("generator.onnx", lambda g: generator_inputs(g, 1), 1),
    "generator, batch 4": ("generator.onnx", lambda g: generator_inputs(g, 4), 4),
    "keypoints, batch 1": ("keypoints.onnx", lambda g: [smooth(g, 1, 64, 64)], 1),
    "keypoints, batch 4": ("keypoints.onnx", lambda g: [smooth(g, 4, 64, 64)], 4),
    "centerface 640x352": ("centerface.onnx", lambda g: [smooth(g, 1, 352, 640)], 1),
    "centerface 320x192": ("centerface.onnx", lambda g: [smooth(g, 1, 192, 320)], 1),
}


def open_all(weights: str) -> dict[str, object]:
    network = read_weights(weights)
    backends = {name: open_network(name, network) for name in ("cpu", "openvino", "torch") if obstacle_to(name) is None}
    if "openvino" in backends:
        backends["openvino bf16"] = OpenVinoBackend(network, precision="bfloat16")
    return backends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    for case, (weights, make, faces) in CASES.items():
        inputs = make(np.random.default_rng(0))
        backends = open_all(weights)
        answers = {name: backend.run(inputs)[0] for name, backend in backends.items()}
        spent: dict[str, list[float]] = {name: [] for name in backends}
        for _ in range(arguments.rounds):
            for name, backend in backends.items():
                start = time.process_time()
                backend.run(inputs)
                spent[name].append(1000 * (time.process_time() - start) / faces)
        for name in backends:
            ratio = statistics.median(base / own for base, own in zip(spent["cpu"], spent[name], strict=True))
            difference = float(np.abs(answers[name] - answers["cpu"]).max())
            print(f"{case} | {name} | {min(spent[name]):.2f} ms | x{ratio:.2f} | {difference:.1e}", flush=True)


if __name__ == "__main__":
    main()

"""PyTorch on the CPU: the networks as they were trained, to hold the other backends against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.backends import Precision
from models.backends.torch_networks import read_network


class TorchBackend:
    """Runs an exported network as a torch module in single precision."""

    name = "torch"

    def __init__(self, network: bytes, *, threads: int = 1, precision: Precision = "single") -> None:
        """threads: of torch in all of this process. precision: more than is needed is given.

        Raises WeightsError where the network is none of ours.
        """
        torch.set_num_threads(threads)
        self._network = read_network(network)

    @property
    def providers(self) -> tuple[str, ...]:
        return (f"torch {torch.__version__}",)

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._network.metadata

    @torch.inference_mode()
    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        output = self._network.module(*(torch.from_numpy(np.ascontiguousarray(value)) for value in inputs))
        return [output.numpy()]

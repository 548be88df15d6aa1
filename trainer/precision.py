"""The arithmetic of a run: the precision of the networks, and the scales of losses whose gradients would vanish in it."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trainer.config import ConfigError, Precision
from trainer.parallel import World

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

Trained = Literal["discriminator", "features", "generator"]
"""What has a scaler of its own: their losses differ by orders of magnitude."""

TRAINED: tuple[Trained, ...] = ("discriminator", "features", "generator")


class Arithmetic:
    """Mixed precision, and for float16 a dynamic scale of each network's loss: halved when a gradient overflows, doubled after
    2000 steps without overflow (Micikevicius et al. 2018).
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self.dtype = DTYPES[precision]
        self._device = device
        is_scaled = precision == "float16"
        self._scalers = {name: torch.amp.GradScaler(device.type, enabled=is_scaled) for name in TRAINED}

    def autocast(self) -> AbstractContextManager[Any]:
        """Within, networks compute in this precision."""
        return torch.autocast(self._device.type, self.dtype, enabled=self.dtype != torch.float32)

    def scale(self, name: Trained) -> float:
        """What the loss of a network is multiplied with now; 1 where nothing is scaled."""
        return self._scalers[name].get_scale()

    def backward(self, name: Trained, loss: Tensor) -> None:
        """Add the scaled gradients of a loss."""
        self._scalers[name].scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, name: Trained, network: nn.Module, optimizer: torch.optim.Optimizer, world: World) -> bool:
        """Step with the mean gradients of all processes where they are all finite; returns whether they were."""
        scaler = self._scalers[name]
        world.average_gradients(network.parameters())
        scaler.unscale_(optimizer)
        gradients = [value.grad for value in network.parameters() if value.grad is not None]
        is_finite = math.isfinite(float(torch.nn.utils.get_total_norm(gradients)))
        if is_finite:
            scaler.step(optimizer)
        scaler.update()
        return is_finite

    def state(self) -> dict[str, Any]:
        """The scales, for a checkpoint; empty where nothing is scaled."""
        return {name: scaler.state_dict() for name, scaler in self._scalers.items() if scaler.is_enabled()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with the scales of `state`; those that it lacks begin anew."""
        for name, scaler in self._scalers.items():
            if name in state and scaler.is_enabled():
                scaler.load_state_dict(state[name])


def choose_arithmetic(precision: Precision, device: torch.device) -> Arithmetic:
    """Raises ConfigError where the device has no such arithmetic."""
    if precision == "float16" and device.type == "cpu":
        raise ConfigError("run.precision: float16 needs a GPU; use bfloat16 or float32 here")
    return Arithmetic(precision, device)


def choose_device(wanted: str, threads: int) -> torch.device:
    """Where a run computes: "auto" is a GPU if there is one. threads: on the CPU, 0 leaves the choice to torch.

    Raises ConfigError for "cuda" without a GPU.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("run.device: cuda, but PyTorch finds no GPU that it can use; auto takes the CPU then")
    if threads:
        torch.set_num_threads(threads)
    return torch.device(wanted)

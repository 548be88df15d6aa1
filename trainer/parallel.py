"""Training on several processes under `torchrun`: each takes a part of every batch, all step with the mean of the gradients."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, distributed


class ParallelError(ValueError):
    """The processes cannot share the work; the message says why."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes of a run: this one is number `rank` of `size`."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes checkpoints, samples and the log."""
        return self.rank == 0

    def positions(self, start: int, batch: int) -> range:
        """This process's part of a batch's positions. Raises ParallelError where the batch cannot be shared evenly."""
        if batch % self.size:
            raise ParallelError(f"a batch of {batch} cannot be shared evenly by {self.size} processes")
        return range(start + self.rank, start + batch, self.size)

    def part(self, values: Tensor) -> Tensor:
        """This process's part of something that was drawn for the whole batch, in the order of `positions`."""
        return values[self.rank :: self.size]

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its mean over all processes."""
        if self.size == 1:
            return
        gradients = [value.grad for value in parameters if value.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        together /= self.size
        start = 0
        for gradient in gradients:
            gradient.copy_(together[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def mean(self, value: float) -> float:
        """The mean over all processes; all must ask."""
        return value if self.size == 1 else self._total(value) / self.size

    def is_any(self, claim: bool) -> bool:
        """Whether the claim holds in any process; all must ask."""
        return claim if self.size == 1 else self._total(float(claim)) > 0

    def _total(self, value: float) -> float:
        values = torch.tensor(value, dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            values = values.cuda()
        distributed.all_reduce(values)
        return float(values)


def join_world(device: Literal["auto", "cpu", "cuda"]) -> World:
    """The world that `torchrun` has made, or a world of one where there is none; each process takes a GPU of its own."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    has_cuda = device != "cpu" and torch.cuda.is_available()
    if has_cuda:
        torch.cuda.set_device(local)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if has_cuda else "gloo")
    return World(rank=rank, size=size)


def leave_world() -> None:
    """End what `join_world` began."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()

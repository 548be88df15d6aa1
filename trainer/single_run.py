"""What the runs of small networks have in common: one process, one loop, a rate that falls, a running average, a log."""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Self

import msgspec
import torch
from loguru import logger
from torch import Tensor, nn

from trainer.config import Count, Positive, Settings
from trainer.schedule import crosses, rate_at


class SingleRunSettings(Settings, frozen=True, kw_only=True):
    """How a run behaves."""

    total_images: Count
    """The run ends when the network has seen so many faces."""
    batch: Count = 16
    learning_rate: Positive = 0.002
    """The highest; it rises over the first hundredth of the run and falls to nought along half a cosine."""
    average_half_life_images: Positive = 2000.0
    """The running average of the weights forgets half of its past in so many faces."""
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    bfloat16: bool = True
    """Mixed precision."""
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    """CPU threads; 0 leaves the choice to torch."""
    checkpoint_every_s: Positive = 120.0
    """Seconds between checkpoints."""
    checkpoints_kept: Count = 2
    log_every_images: Count = 1000
    terms: str = "unknown"
    """What the trained weights may be used for; stored with them."""


class SingleRun(ABC):
    """A run in a folder with log.jsonl and checkpoints/; what it trains is its subclass's."""

    def __init__(self, pace: SingleRunSettings, folder: Path) -> None:
        self._pace = pace
        self.folder = folder
        self.images_seen = 0
        self._must_stop = False

    @abstractmethod
    def _step(self) -> Mapping[str, Tensor]:
        """Train with a batch; returns values for the log."""

    @abstractmethod
    def _look(self, before: int) -> None:
        """What is done now and then beside training. before: images seen before the last batch."""

    @abstractmethod
    def save(self) -> Path:
        """Write a checkpoint and the weights."""

    def _complete(self) -> None:  # noqa: B027 - most runs need nothing more
        """What is done once at the end of the run, before it is saved."""

    def stop(self) -> None:
        """End `train` after the batch at hand, with a checkpoint."""
        self._must_stop = True

    def train(self, on_batch: Callable[[Self], None] = lambda _: None) -> bool:
        """Train to the end of the run. Returns whether it was reached, or False where `stop` ended it; a checkpoint is written
        either way. Raises CheckpointError, DataError.
        """
        pace = self._pace
        saved_s = logged_s = time.monotonic()
        logged_images, sums = self.images_seen, dict[str, float]()
        while self.images_seen < pace.total_images and not self._must_stop:
            before = self.images_seen
            values = self._step()
            self.images_seen += pace.batch
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value) * pace.batch
            if crosses(before, self.images_seen, pace.log_every_images):
                images, seconds = self.images_seen - logged_images, time.monotonic() - logged_s
                self._log({"images_per_s": images / seconds, **{name: total / images for name, total in sums.items()}})
                logged_s, logged_images, sums = time.monotonic(), self.images_seen, {}
            self._look(before)
            if time.monotonic() - saved_s > pace.checkpoint_every_s:
                self.save()
                saved_s = time.monotonic()
            on_batch(self)
        is_complete = self.images_seen >= pace.total_images
        if is_complete:
            self._complete()
        self.save()
        return is_complete

    @property
    def _rate(self) -> float:
        """The learning rate of now, as a part of the highest."""
        return rate_at(self.images_seen / self._pace.total_images)

    def _descend(self, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, *, rate: float, most: float) -> None:
        """Step where the gradients are finite. rate: for this step. most: the largest norm of the gradients."""
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), most)
        if math.isfinite(float(norm)):
            optimizer.step()
        else:
            logger.warning("gradients are not finite after {} images: step skipped", self.images_seen)

    @torch.no_grad()
    def _follow(self, average: nn.Module, network: nn.Module) -> None:
        """Move the running average towards the network."""
        # A young run has little past worth keeping.
        half_life = min(self._pace.average_half_life_images, 0.05 * self.images_seen + self._pace.batch)
        kept = 0.5 ** (self._pace.batch / half_life)
        state = network.state_dict()
        for name, value in average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(state[name], 1 - kept)
            else:
                value.copy_(state[name])

    def _log(self, values: Mapping[str, float]) -> None:
        line = {"images_seen": self.images_seen, **{name: round(value, 5) for name, value in values.items()}}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        logger.info("{}", line)

"""The training loop: counted in images seen, resumable at any batch, the same numbers whether interrupted or not."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import torch
from loguru import logger
from torch import Tensor, nn

from models.generator import Generator
from models.generator_weights import Provenance, save_generator
from trainer.checkpoint import load_newest, save_checkpoint
from trainer.config import TrainSettings, to_yaml
from trainer.dataset import READERS, ExampleSource
from trainer.losses import Task, discriminator_loss, feature_loss, generator_loss, make_task
from trainer.networks import Networks, random_source
from trainer.parallel import World
from trainer.samples import save_samples
from trainer.schedule import Stage, stage_at

MOST_FAILED_STEPS = 100
"""So many steps in a row without finite gradients end the run."""


class DivergedError(RuntimeError):
    """The gradients have not been finite for many steps; the last checkpoint is from before that."""


class Run:
    """A training run in a folder: checkpoints/, samples/, log.jsonl, generator.safetensors and the configuration as used."""

    def __init__(self, settings: TrainSettings, folder: Path, *, resume: bool = False, world: World | None = None) -> None:
        """resume: continue from the newest checkpoint of the folder. world: the processes that share the work, None for this one.

        Raises DataError, CheckpointError, ArchitectureError or ParallelError where that cannot be.
        """
        self.settings = settings
        self.folder = folder
        self.world = world or World()
        for phase in settings.phases:
            self.world.positions(0, phase.batch)
        self.device = _device(settings)
        self._must_stop = False
        self._mixed = settings.run.precision == "bfloat16"
        data = READERS[settings.data.kind](Path(settings.data.root), settings.data, settings.augment)
        logger.info("{} faces to train on, {} held back", data.training, len(data) - data.training)
        self.source = ExampleSource(data, settings)
        self.images_seen = 0
        self.steps = 0
        self.steps_skipped = 0
        self._failed_in_a_row = 0
        self.seconds = 0.0
        if resume:
            state = load_newest(folder / "checkpoints")
            self.networks = Networks.restored(settings, self.device, state)
            self.images_seen, self.steps = state["images_seen"], state["steps"]
            self.steps_skipped, self.seconds = state["steps_skipped"], state["seconds"]
        else:
            self.networks = Networks(settings, stage_at(settings.phases, 0).resolution, self.device)
        if self.world.is_first:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text(to_yaml(settings), "utf-8")

    def stop(self) -> None:
        """End `train` after the batch at hand, with a checkpoint."""
        self._must_stop = True

    def train(self, on_batch: Callable[[Run], None] = lambda _: None) -> bool:
        """Train to the end of the run. Returns whether it was reached, or False where `stop` ended it; a checkpoint is written
        either way.

        on_batch: called after each batch. Raises DivergedError, CheckpointError, DataError.
        """
        settings = self.settings.run
        log = _Log(self.folder / "log.jsonl")
        saved_s = time.monotonic()
        while self.images_seen < settings.total_images and not self.world.is_any(self._must_stop):
            began_s = time.monotonic()
            stage = stage_at(self.settings.phases, self.images_seen)
            while self.networks.resolution < stage.resolution:
                self.networks.grow()
                logger.info("grown to {} pixels after {} images", self.networks.resolution, self.images_seen)
            before = self.images_seen
            values = self._step(stage)
            self.images_seen += stage.batch
            self.seconds += time.monotonic() - began_s
            log.add(values, stage.batch, time.monotonic() - began_s)
            if self.world.is_first:
                if _crosses(before, self.images_seen, settings.log_every_images):
                    log.write(self, stage)
                if _crosses(before, self.images_seen, settings.samples_every_images):
                    self.save_samples(stage)
                if time.monotonic() - saved_s > settings.checkpoint_every_s:
                    self.save()
                    saved_s = time.monotonic()
            on_batch(self)
        if self.world.is_first:
            self.save()
        if self.source.unreadable:
            logger.warning(
                "{} pictures could not be read:\n{}", len(self.source.unreadable), "\n".join(self.source.unreadable.values())
            )
        return self.images_seen >= settings.total_images

    def _step(self, stage: Stage) -> dict[str, Tensor]:
        """One iteration: discriminator, generator, running average."""
        settings, networks = self.settings, self.networks
        batch = self.source.batch(self.world.positions(self.images_seen, stage.batch), stage)
        task = make_task(batch, stage.alpha, has_mask=settings.network.has_mask, device=self.device, joint_batch=stage.batch)
        with_penalty = settings.loss.penalty > 0 and self.steps % settings.loss.penalty_every == 0
        random = random_source(settings.run.seed, 4, self.images_seen)
        noises = [self.world.part(self._noise(stage.batch, random)) for _ in range(2)]
        share = self.world.part(torch.rand((stage.batch, 1, 1, 1), generator=random)).to(self.device)

        networks.discriminator.requires_grad_(True)
        with torch.no_grad(), self._autocast():
            fake = task.generate(networks.generator, noises[0])
        with self._autocast():
            loss, values = discriminator_loss(settings.loss, networks.discriminator, task, fake, share, with_penalty=with_penalty)
        values["loss_discriminator"] = loss.detach()
        is_finite = self._update(networks.discriminator, networks.discriminator_optimizer, loss)

        if networks.features is not None and networks.features_optimizer is not None:
            networks.features.requires_grad_(True)
            with self._autocast():
                loss, parts = feature_loss(networks.features, task, fake)
            values |= parts
            is_finite &= self._update(networks.features, networks.features_optimizer, loss)
            networks.features.requires_grad_(False)

        networks.discriminator.requires_grad_(False)
        with self._autocast():
            loss, parts = generator_loss(
                settings.loss, networks.generator, networks.discriminator, task, noises[1], networks.features
            )
        values |= parts
        values["loss_generator"] = loss.detach()
        is_finite &= self._update(networks.generator, networks.generator_optimizer, loss)
        networks.update_average(stage.batch, self.images_seen)
        self.steps += 1
        self._count_failure(is_finite)
        return values

    def _noise(self, batch: int, random: torch.Generator) -> Tensor:
        planes = self.networks.generator.architecture.noise_planes
        return torch.randn((batch, planes, 4, 4), generator=random).to(self.device)

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._mixed)

    def _update(self, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> bool:
        """Step where all gradients are finite; returns whether they were."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.world.average_gradients(network.parameters())
        gradients = [value.grad for value in network.parameters() if value.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not math.isfinite(float(norm)):
            return False
        optimizer.step()
        return True

    def _count_failure(self, is_finite: bool) -> None:
        self._failed_in_a_row = 0 if is_finite else self._failed_in_a_row + 1
        self.steps_skipped += not is_finite
        if self._failed_in_a_row == 1:
            logger.warning("gradients are not finite after {} images: step skipped", self.images_seen)
        if self._failed_in_a_row >= MOST_FAILED_STEPS:
            raise DivergedError(
                f"{self.folder}: gradients have not been finite for {MOST_FAILED_STEPS} steps, at {self.images_seen} images"
            )

    def save(self) -> Path:
        """Write a checkpoint and the running average as weights."""
        state = {"steps": self.steps, "steps_skipped": self.steps_skipped, "seconds": self.seconds, **self.networks.state()}
        state["settings"] = msgspec.to_builtins(self.settings)
        path = save_checkpoint(self.folder / "checkpoints", self.images_seen, state, self.settings.run.checkpoints_kept)
        provenance = Provenance(
            training_data=f"{self.settings.data.kind}: {Path(self.settings.data.root).name}, {self.source.training} faces",
            terms=self.settings.run.terms,
            images_seen=self.images_seen,
            expansion=self.source.expansion,
        )
        save_generator(self.folder / "generator.safetensors", self.networks.average, provenance)
        return path

    def save_samples(self, stage: Stage, count: int = 32) -> Path:
        """Write a picture of validation faces painted by the running average: with zeros for noise, and with one noise.

        stage: that of the last batch; the next one may be of a resolution that the networks have yet to grow to.
        """
        batch = self.source.validation(count, stage)
        task = make_task(batch, 1.0, has_mask=self.settings.network.has_mask, device=self.device)
        noise = self._noise(len(batch.pictures), random_source(self.settings.run.seed, 5))
        path = self.folder / "samples" / f"{self.images_seen:09d}.png"
        save_samples(
            path,
            task,
            self._painted(self.networks.average, task, stage, torch.zeros_like(noise)),
            self._painted(self.networks.average, task, stage, noise),
        )
        return path

    @torch.no_grad()
    def _painted(self, generator: Generator, task: Task, stage: Stage, noise: Tensor) -> Tensor:
        painted: Tensor = generator(task.condition, task.keypoints, noise, task.mask, stage.alpha)
        return painted


class _Log:
    """Mean values since the last line, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._images = 0
        self._seconds = 0.0

    def add(self, values: dict[str, Tensor], images: int, seconds: float) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._images += images
        self._seconds += seconds

    def write(self, run: Run, stage: Stage) -> None:
        means = {name: round(float(total) / self._counts[name], 5) for name, total in self._sums.items()}
        speed = self._images / self._seconds if self._seconds else 0.0
        line = {
            "images_seen": run.images_seen,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "resolution": stage.resolution,
            "alpha": round(stage.alpha, 4),
            "images_per_s": round(speed, 3),
            "seconds": round(run.seconds, 1),
            "steps_skipped": run.steps_skipped,
            "unreadable": len(run.source.unreadable),
            **means,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        logger.info(
            "{} images, {} px, alpha {:.2f}, {:.1f} images/s, {}", run.images_seen, stage.resolution, stage.alpha, speed, means
        )
        self._reset()


def stop_on_signals(run: Run) -> None:
    """SIGTERM and SIGINT end the run after the batch at hand, with a checkpoint; a second one is obeyed at once."""

    def note(number: int, frame: FrameType | None) -> None:
        logger.info("signal {}: stopping after this batch", number)
        run.stop()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)


def _crosses(before: int, after: int, every: int) -> bool:
    return before // every != after // every


def _device(settings: TrainSettings) -> torch.device:
    wanted = settings.run.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if settings.run.threads:
        torch.set_num_threads(settings.run.threads)
    return torch.device(wanted)

"""The training loop: counted in images seen, resumable at any batch, the same numbers whether interrupted or not."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import msgspec
import torch
from loguru import logger
from torch import Tensor

from models.generator import Generator
from models.generator_weights import Provenance, save_generator, write_atomically
from trainer.adaptive import AdaptiveProbability, Variation, draw_variation
from trainer.checkpoint import load_newest, save_checkpoint
from trainer.config import ConfigError, TrainSettings, to_yaml
from trainer.dataset import READERS, ExampleSource
from trainer.identity import WOBBLE
from trainer.journal import Journal, Progress
from trainer.networks import Networks, random_source
from trainer.parallel import World
from trainer.precision import choose_arithmetic, choose_device
from trainer.samples import save_samples
from trainer.schedule import Stage, crosses, stage_at
from trainer.step import Chance, Stepper, Values
from trainer.task import Task, make_task

MOST_FAILED_STEPS = 100
"""So many steps in a row without finite gradients end the run."""

ECHO_S = 2.0
"""A signal that follows the first one within this time is an echo of it."""


class DivergedError(RuntimeError):
    """The gradients have not been finite for many steps; the last checkpoint is from before that."""


class Run:
    """A training run in a folder: checkpoints/, samples/, log.jsonl, generator.safetensors and the configuration as used."""

    def __init__(self, settings: TrainSettings, folder: Path, *, resume: bool = False, world: World | None = None) -> None:
        """resume: continue from the newest checkpoint of the folder. world: the processes that share the work, None for this one.

        Raises ConfigError, DataError, WeightsError, CheckpointError, ArchitectureError or ParallelError where that cannot be.
        """
        self.settings = settings
        self.folder = folder
        self.world = world or World()
        for phase in settings.phases:
            positions = self.world.positions(0, phase.batch)
            if len(positions) % settings.optimizer.accumulate:
                raise ConfigError(
                    f"optimizer.accumulate: the {len(positions)} images of a batch of {phase.batch} that each of {self.world.size} "
                    f"processes computes cannot be computed in {settings.optimizer.accumulate} parts"
                )
        self.device = choose_device(settings.run.device, settings.run.threads)
        self.arithmetic = choose_arithmetic(settings.run.precision, self.device)
        self.probability: AdaptiveProbability | None = None
        if settings.loss.adaptive_target is not None:
            self.probability = AdaptiveProbability(settings.loss.adaptive_target, settings.loss.adaptive_images)
        self._must_stop = False
        data = READERS[settings.data.kind](Path(settings.data.root), settings.data, settings.augment)
        logger.info("{} faces to train on, {} held back", data.training, len(data) - data.training)
        self.source = ExampleSource(data, settings.run.seed, settings.data.loader_threads)
        self.images_seen = 0
        self.steps = 0
        self.steps_skipped = 0
        self._failed_in_a_row = 0
        self.seconds = 0.0
        self._origin: Provenance | None = None
        if resume:
            self._restore(load_newest(folder / "checkpoints"))
        else:
            self.networks = Networks(settings, stage_at(settings.phases, 0).resolution, self.device)
            if settings.run.initial_weights is not None:
                self._origin = self.networks.begin_from(Path(settings.run.initial_weights))
        if self.world.is_first:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / "config.yaml", to_yaml(settings).encode())

    def _restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; what an option adds to checkpoints begins anew where it is missing."""
        self.networks = Networks.restored(self.settings, self.device, state)
        self.images_seen, self.steps = state["images_seen"], state["steps"]
        self.steps_skipped, self.seconds = state["steps_skipped"], state["seconds"]
        self.arithmetic.restore(state.get("scalers", {}))
        if self.probability is not None and "adaptive" in state:
            self.probability.restore(state["adaptive"])
        if "origin" in state:
            self._origin = Provenance(**state["origin"])

    def stop(self) -> None:
        """End `train` after the batch at hand, with a checkpoint."""
        self._must_stop = True

    def train(self, on_batch: Callable[[Run], None] = lambda _: None) -> bool:
        """Train to the end of the run. Returns whether it was reached, or False where `stop` ended it; a checkpoint is written
        either way.

        on_batch: called after each batch. Raises DivergedError, CheckpointError, DataError.
        """
        settings = self.settings.run
        with_tensorboard = settings.tensorboard and self.world.is_first
        journal = Journal(self.folder, images_seen=self.images_seen, with_tensorboard=with_tensorboard)
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
            journal.add(values, stage.batch, time.monotonic() - began_s)
            if self.world.is_first:
                if crosses(before, self.images_seen, settings.log_every_images):
                    journal.write(self._progress, stage)
                if crosses(before, self.images_seen, settings.samples_every_images):
                    self.save_samples(stage, journal)
                if time.monotonic() - saved_s > settings.checkpoint_every_s:
                    self.save()
                    saved_s = time.monotonic()
            on_batch(self)
        journal.close()
        if self.world.is_first:
            self.save()
        if self.source.unreadable:
            logger.warning(
                "{} pictures could not be read:\n{}", len(self.source.unreadable), "\n".join(self.source.unreadable.values())
            )
        return self.images_seen >= settings.total_images

    @property
    def _progress(self) -> Progress:
        return Progress(
            images_seen=self.images_seen,
            total_images=self.settings.run.total_images,
            seconds=self.seconds,
            steps_skipped=self.steps_skipped,
            unreadable=len(self.source.unreadable),
        )

    def _step(self, stage: Stage) -> Values:
        """One iteration: a batch, a step of each network, the running average."""
        settings = self.settings
        batch = self.source.batch(self.world.positions(self.images_seen, stage.batch), stage)
        task = make_task(batch, stage.alpha, has_mask=settings.network.has_mask, device=self.device, joint_batch=stage.batch)
        with_penalty = settings.loss.penalty > 0 and self.steps % settings.loss.penalty_every == 0
        stepper = Stepper(settings.loss, self.arithmetic, self.world, accumulate=settings.optimizer.accumulate)
        values, is_finite = stepper.iterate(
            self.networks,
            task,
            self._chance(stage),
            with_penalty=with_penalty,
            with_generator=self.images_seen >= settings.optimizer.head_start_images,
        )
        if self.probability is not None:
            values["adaptive_probability"] = torch.tensor(self.probability.value)
            self.probability.observe(self.world.mean(float(values["sign_real"])), stage.batch)
        self.networks.update_average(stage.batch, self.images_seen)
        self.steps += 1
        self._count_failure(is_finite)
        return values

    def _chance(self, stage: Stage) -> Chance:
        """All that is drawn for a batch; it depends on the seed and the images seen alone."""
        random = random_source(self.settings.run.seed, 4, self.images_seen)
        first, second = (self.world.part(self._noise(stage.batch, random)) for _ in range(2))
        share = self.world.part(torch.rand((stage.batch, 1, 1, 1), generator=random)).to(self.device)
        variations = wobble = None
        if self.probability is not None:
            random = random_source(self.settings.run.seed, 6, self.images_seen)
            variations = (self._variation(stage, random), self._variation(stage, random))
        if self.settings.loss.recognizes:
            random = random_source(self.settings.run.seed, 7, self.images_seen)
            wobble = self.world.part(torch.rand((stage.batch, WOBBLE), generator=random) * 2 - 1).to(self.device)
        return Chance(noises=(first, second), share=share, variations=variations, wobble=wobble)

    def _variation(self, stage: Stage, random: torch.Generator) -> Variation:
        assert self.probability is not None
        whole = draw_variation(stage.batch, stage.resolution, self.probability.value, random)
        return whole.map(lambda values: self.world.part(values).to(self.device))

    def _noise(self, batch: int, random: torch.Generator) -> Tensor:
        planes = self.networks.generator.architecture.noise_planes
        return torch.randn((batch, planes, 4, 4), generator=random).to(self.device)

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
        """Write a checkpoint and the running average as weights; no weights while a resolution is faded in: without the fading
        layers they would paint noise.
        """
        state = {"steps": self.steps, "steps_skipped": self.steps_skipped, "seconds": self.seconds, **self.networks.state()}
        state |= {"settings": msgspec.to_builtins(self.settings), "scalers": self.arithmetic.state()}
        if self.probability is not None:
            state["adaptive"] = self.probability.state()
        if self._origin is not None:
            state["origin"] = asdict(self._origin)
        path = save_checkpoint(self.folder / "checkpoints", self.images_seen, state, self.settings.run.checkpoints_kept)
        stage = stage_at(self.settings.phases, self.images_seen)
        if stage.alpha >= 1.0 or stage.resolution > self.networks.resolution:
            save_generator(self.folder / "generator.safetensors", self.networks.average, self._provenance())
        return path

    def _provenance(self) -> Provenance:
        """Where the trained weights come from; what they began from counts too."""
        data = f"{self.settings.data.kind}: {Path(self.settings.data.root).name}, {self.source.training} faces"
        terms = self.settings.run.terms
        if self._origin is not None:
            data = f"{data}; begun from weights trained on {self._origin.training_data}"
            terms = terms if self._origin.terms == terms else f"{terms}; those of the weights it began from: {self._origin.terms}"
        return Provenance(training_data=data, terms=terms, images_seen=self.images_seen, expansion=self.source.expansion)

    def save_samples(self, stage: Stage, journal: Journal, count: int = 32) -> None:
        """Write a picture of validation faces painted by the running average: with zeros for noise, and with one noise.

        stage: that of the last batch; the next one may be of a resolution that the networks have yet to grow to.
        """
        batch = self.source.validation(count, stage)
        task = make_task(batch, 1.0, has_mask=self.settings.network.has_mask, device=self.device)
        noise = self._noise(len(batch.pictures), random_source(self.settings.run.seed, 5))
        grid = save_samples(
            self.folder / "samples" / f"{self.images_seen:09d}.png",
            task,
            self._painted(self.networks.average, task, stage, torch.zeros_like(noise)),
            self._painted(self.networks.average, task, stage, noise),
        )
        journal.show("samples", grid, self.images_seen)

    @torch.no_grad()
    def _painted(self, generator: Generator, task: Task, stage: Stage, noise: Tensor) -> Tensor:
        painted: Tensor = generator(task.condition, task.keypoints, noise, task.mask, stage.alpha)
        return painted


class Stoppable(Protocol):
    """A run that can be ended early."""

    def stop(self) -> None: ...


def stop_on_signals(run: Stoppable) -> None:
    """SIGTERM and SIGINT end the run after the batch at hand, with a checkpoint; a later second one is obeyed at once.

    `torchrun` passes on what its processes may have been sent already: such an echo counts as the same signal.
    """
    first_s: list[float] = []

    def note(number: int, frame: FrameType | None) -> None:
        first_s.append(time.monotonic())
        if first_s[-1] - first_s[0] > ECHO_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if len(first_s) == 1:
            logger.info("signal {}: stopping after this batch", number)
            run.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)

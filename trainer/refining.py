"""The training of the refiner: real faces made coarse teach it what detail a face has, painted ones what it will be given.

face -> blurred, halved, noise -> Refiner -> like the face;  Generator -> painted -> Refiner -> like itself, with real detail
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from loguru import logger
from torch import Tensor, nn
from torch.nn import functional

from models.generator_weights import Provenance, load_generator
from models.layers import halve
from models.refiner import FACTOR, RefinedGenerator, Refiner, RefinerArchitecture, enlarge, save_refiner
from trainer.checkpoint import CheckpointError, load_newest, save_checkpoint
from trainer.config import ConfigError, to_yaml
from trainer.dataset import READERS, Batch, ExampleSource
from trainer.features import EfficientNetLite0, load_backbone
from trainer.losses import feature_distance, hidden_distance
from trainer.networks import random_source
from trainer.patch_discriminator import PatchDiscriminator, hidden_mean
from trainer.precision import choose_device
from trainer.refiner_config import RefinerTrainSettings
from trainer.samples import save_samples
from trainer.schedule import Stage, rate_at
from trainer.task import Task, make_task

BETAS = (0.0, 0.99)
SAMPLES = 16


@dataclass(frozen=True, kw_only=True)
class Coarse:
    """What the refiner is given of a batch, the painted faces first.

    task: the batch at the refined resolution. faces: (B, 3, R/2, R/2). painted: how many the generator painted.
    """

    task: Task
    faces: Tensor
    painted: int


def blurred(images: Tensor, sigmas: Tensor) -> Tensor:
    """Each picture with a Gaussian blur of its own; (B, 3, R, R), sigmas (B,) in pixels, below 0.1 as it is."""
    reach = max(1, math.ceil(2.5 * float(sigmas.max())))
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32, device=images.device)
    weights = torch.exp(-0.5 * (steps / sigmas.clamp_min(0.1)[:, None]) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None]  # (3 B, 1, taps)
    planes = functional.pad(images, (reach, reach, reach, reach), mode="replicate").flatten(0, 1)[None]
    planes = functional.conv2d(planes, weights[:, :, :, None], groups=len(weights))
    planes = functional.conv2d(planes, weights[:, :, None, :], groups=len(weights))
    return planes.reshape(images.shape)


class RefinerRun:
    """A training run in a folder: checkpoints/, samples/, log.jsonl, refiner.safetensors and the configuration as used."""

    def __init__(self, settings: RefinerTrainSettings, folder: Path, *, resume: bool = False) -> None:
        """resume: continue from the newest checkpoint of the folder.

        Raises ConfigError, DataError, FeatureError, WeightsError or CheckpointError where that cannot be.
        """
        self.settings = settings
        self.folder = folder
        self.device = choose_device(settings.run.device, settings.run.threads)
        generator, self._origin = load_generator(Path(settings.generator))
        if not generator.architecture.has_mask:
            raise ConfigError(f"{settings.generator}: has no mask channel, and only a generator with one can be refined")
        self.resolution = FACTOR * generator.architecture.resolution
        data = READERS[settings.data.kind](Path(settings.data.root), settings.data, settings.augment)
        logger.info("{} faces to train on, {} held back", data.training, len(data) - data.training)
        self.source = ExampleSource(data, settings.run.seed, settings.data.loader_threads)
        torch.manual_seed(settings.run.seed)
        shape = settings.network
        self.refiner = Refiner(RefinerArchitecture(width=shape.width, blocks=shape.blocks))
        self.discriminator = PatchDiscriminator(shape.discriminator_width)
        for network in (self.refiner, self.discriminator, generator):
            network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.refiner).eval().requires_grad_(False)
        self.generator = generator
        self.optimizers = (
            torch.optim.Adam(self.refiner.parameters(), settings.run.learning_rate, BETAS),
            torch.optim.Adam(self.discriminator.parameters(), settings.run.discriminator_learning_rate, BETAS),
        )
        self._features: EfficientNetLite0 | None = None
        if settings.loss.perceptual > 0:
            self._features = load_backbone().to(self.device, torch.bfloat16 if settings.run.bfloat16 else torch.float32)
        self.images_seen = 0
        self._must_stop = False
        if resume:
            self._restore()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(to_yaml(settings), "utf-8")

    @property
    def _stage(self) -> Stage:
        return Stage(resolution=self.resolution, alpha=1.0, batch=self.settings.run.batch, images_into_phase=self.images_seen)

    def _restore(self) -> None:
        state = load_newest(self.folder / "checkpoints")
        try:
            self.refiner.load_state_dict(state["refiner"])
            self.average.load_state_dict(state["average"])
            self.discriminator.load_state_dict(state["discriminator"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
        except (KeyError, RuntimeError, ValueError) as error:
            message = str(error).splitlines()[0]
            raise CheckpointError(f"{self.folder}: the checkpoint is of other networks ({message})") from error
        self.images_seen = int(state["images_seen"])

    def stop(self) -> None:
        """End `train` after the batch at hand, with a checkpoint."""
        self._must_stop = True

    def train(self, on_batch: Callable[[RefinerRun], None] = lambda _: None) -> bool:
        """Train to the end of the run. Returns whether it was reached, or False where `stop` ended it; a checkpoint is written
        either way. Raises CheckpointError, DataError.
        """
        run = self.settings.run
        saved_s = logged_s = time.monotonic()
        logged_images, sums = self.images_seen, dict[str, float]()
        while self.images_seen < run.total_images and not self._must_stop:
            before = self.images_seen
            values = self._step()
            self.images_seen += run.batch
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value) * run.batch
            if before // run.log_every_images != self.images_seen // run.log_every_images:
                images, seconds = self.images_seen - logged_images, time.monotonic() - logged_s
                self._log({"images_per_s": images / seconds, **{name: total / images for name, total in sums.items()}})
                logged_s, logged_images, sums = time.monotonic(), self.images_seen, {}
            if before // run.samples_every_images != self.images_seen // run.samples_every_images:
                self.save_samples()
            if time.monotonic() - saved_s > run.checkpoint_every_s:
                self.save()
                saved_s = time.monotonic()
            on_batch(self)
        self.save()
        return self.images_seen >= run.total_images

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.run.bfloat16)

    def _step(self) -> dict[str, Tensor]:
        """One iteration: a step of the discriminator, one of the refiner, the running average."""
        run = self.settings.run
        batch = self.source.batch(range(self.images_seen, self.images_seen + run.batch), self._stage)
        given = self.coarse(batch, random_source(run.seed, 8, self.images_seen))
        for optimizer, rate in zip(self.optimizers, (run.learning_rate, run.discriminator_learning_rate), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * rate_at(self.images_seen / run.total_images)
        with self._autocast():
            refined = self.refiner(given.faces, given.task.real, given.task.hidden).float()
        self.discriminator.requires_grad_(True)
        with self._autocast():
            loss, values = self._discriminator_loss(given, refined.detach())
        self._descend(1, self.discriminator, loss)
        self.discriminator.requires_grad_(False)
        with self._autocast():
            loss, more = self._refiner_loss(given, refined)
        self._descend(0, self.refiner, loss)
        self._update_average()
        return values | more

    def _descend(self, number: int, network: nn.Module, loss: Tensor) -> None:
        optimizer = self.optimizers[number]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        if math.isfinite(float(norm)):
            optimizer.step()
        else:
            logger.warning("gradients are not finite after {} images: step skipped", self.images_seen)

    @torch.no_grad()
    def coarse(self, batch: Batch, random: torch.Generator) -> Coarse:
        """What the refiner is given of a batch: first faces that the generator paints, then real ones made coarse."""
        settings, painted = self.settings.loss, self.settings.painted_images
        task = make_task(batch, 1.0, has_mask=True, device=self.device)
        shape = (painted, self.generator.architecture.noise_planes, 4, 4)
        noise = torch.randn(shape, generator=random).to(self.device)
        with self._autocast():
            pair = RefinedGenerator(self.generator, self.average)
            faces = pair.paint_coarse(task.real[:painted], task.keypoints[:painted], noise, task.hidden[:painted]).float()
        real = task.real[painted:]
        real = blurred(real, (torch.rand(len(real), generator=random) * settings.blur_max).to(self.device))
        grain = torch.randn((len(real), 3, self.resolution // FACTOR, self.resolution // FACTOR), generator=random)
        strength = torch.rand((len(real), 1, 1, 1), generator=random) * settings.noise_max
        return Coarse(task=task, faces=torch.cat((faces, halve(real) + (grain * strength).to(self.device))), painted=painted)

    def _discriminator_loss(self, given: Coarse, refined: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Hinge loss: real detail above 1, refined detail below -1."""
        hidden = given.task.hidden
        real, fake = self.discriminator(given.task.real), self.discriminator(refined)
        loss = hidden_mean(functional.relu(1 - real), hidden) + hidden_mean(functional.relu(1 + fake), hidden)
        return loss, {"score_real": hidden_mean(real.detach(), hidden), "score_fake": hidden_mean(fake.detach(), hidden)}

    def _refiner_loss(self, given: Coarse, refined: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        settings, count = self.settings.loss, given.painted
        adversarial = -hidden_mean(self.discriminator(refined), given.task.hidden)
        hidden, real = given.task.hidden, given.task.real
        known = hidden_distance(refined[count:], real[count:], hidden[count:], self.resolution).mean()
        kept = hidden_distance(refined[:count], enlarge(given.faces[:count]), hidden[:count], settings.consistency_pixels).mean()
        loss = settings.adversarial * adversarial + settings.reconstruction * known + settings.consistency * kept
        values = {"adversarial": adversarial.detach(), "reconstruction": known.detach(), "consistency": kept.detach()}
        if self._features is not None:
            with torch.no_grad():
                wanted = self._features(real[count:])
            difference = feature_distance(self._features(refined[count:]), wanted, hidden[count:]).mean()
            loss = loss + settings.perceptual * difference
            values["perceptual"] = difference.detach()
        return loss, values

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young run has little past worth keeping.
        half_life = min(self.settings.run.average_half_life_images, 0.05 * self.images_seen + self.settings.run.batch)
        kept = 0.5 ** (self.settings.run.batch / half_life)
        for average, value in zip(self.average.parameters(), self.refiner.parameters(), strict=True):
            average.lerp_(value, 1 - kept)

    @torch.no_grad()
    def save_samples(self) -> None:
        """Write a picture of validation faces: given, painted and enlarged, painted and refined."""
        batch = self.source.validation(SAMPLES, self._stage)
        task = make_task(batch, 1.0, has_mask=True, device=self.device)
        pair = RefinedGenerator(self.generator, self.average)
        noise = torch.zeros((len(task.real), self.generator.architecture.noise_planes, 4, 4), device=self.device)
        faces = pair.paint_coarse(task.real, task.keypoints, noise, task.hidden)
        plain = task.condition + enlarge(faces) * task.hidden
        refined = self.average(faces, task.real, task.hidden)
        save_samples(self.folder / "samples" / f"{self.images_seen:09d}.png", task, plain, refined)

    def _log(self, values: dict[str, float]) -> None:
        line = {"images_seen": self.images_seen, **{name: round(value, 5) for name, value in values.items()}}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        logger.info("{}", line)

    def save(self) -> Path:
        """Write a checkpoint and the running average as weights."""
        state: dict[str, Any] = {
            "refiner": self.refiner.state_dict(),
            "average": self.average.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "settings": msgspec.to_builtins(self.settings),
        }
        path = save_checkpoint(self.folder / "checkpoints", self.images_seen, state, self.settings.run.checkpoints_kept)
        provenance = Provenance(
            training_data=f"{self.settings.data.kind}: {Path(self.settings.data.root).name}, {self.source.training} faces",
            terms=self.settings.run.terms,
            images_seen=self.images_seen,
            expansion=self.source.expansion,
        )
        save_refiner(self.folder / "refiner.safetensors", self.average, provenance)
        return path

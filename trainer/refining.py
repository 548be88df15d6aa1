"""The training of the refiner: real faces made coarse teach it what detail a face has, painted ones what it will be given.

face -> blurred, halved, noise -> Refiner -> like the face;  Generator -> painted -> Refiner -> like itself, with real detail
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from loguru import logger
from torch import Tensor
from torch.nn import functional

from models.generator_weights import Provenance
from models.layers import halve
from models.refiner import FACTOR, RefinedGenerator, Refiner, RefinerArchitecture, enlarge, load_refinable, save_refiner
from trainer.checkpoint import CheckpointError, load_newest, save_checkpoint
from trainer.config import to_yaml
from trainer.dataset import READERS, Batch, ExampleSource
from trainer.features import EfficientNetLite0, load_backbone
from trainer.losses import feature_distance, hidden_distance
from trainer.networks import random_source
from trainer.patch_discriminator import PatchDiscriminator, hidden_mean
from trainer.precision import choose_arithmetic, choose_device
from trainer.refiner_config import RefinerTrainSettings
from trainer.samples import save_samples
from trainer.schedule import Stage, crosses
from trainer.single_run import SingleRun
from trainer.task import Task, make_task

BETAS = (0.0, 0.99)
SAMPLES = 16
LARGEST_NORM = 10.0
"""Of the gradients of a network; larger ones are scaled down."""


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


class RefinerRun(SingleRun):
    """A training run in a folder: checkpoints/, samples/, log.jsonl, refiner.safetensors and the configuration as used."""

    def __init__(self, settings: RefinerTrainSettings, folder: Path, *, resume: bool = False) -> None:
        """resume: continue from the newest checkpoint of the folder.

        Raises ConfigError, DataError, FeatureError, WeightsError or CheckpointError where that cannot be.
        """
        super().__init__(settings.run, folder)
        self.settings = settings
        self.device = choose_device(settings.run.device, settings.run.threads)
        self._arithmetic = choose_arithmetic("bfloat16" if settings.run.bfloat16 else "float32", self.device)
        generator, _ = load_refinable(Path(settings.generator))
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
        self._pair = RefinedGenerator(generator, self.average)
        self.optimizers = (
            torch.optim.Adam(self.refiner.parameters(), settings.run.learning_rate, BETAS),
            torch.optim.Adam(self.discriminator.parameters(), settings.run.discriminator_learning_rate, BETAS),
        )
        self._features: EfficientNetLite0 | None = None
        if settings.loss.perceptual > 0:
            self._features = load_backbone().to(self.device, self._arithmetic.dtype)
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

    def _step(self) -> dict[str, Tensor]:
        """One iteration: a step of the discriminator, one of the refiner, the running average."""
        run = self.settings.run
        batch = self.source.batch(range(self.images_seen, self.images_seen + run.batch), self._stage)
        given = self.coarse(batch, random_source(run.seed, 8, self.images_seen))
        with self._arithmetic.autocast():
            refined = self.refiner(given.faces, given.task.real, given.task.hidden).float()
        self.discriminator.requires_grad_(True)
        with self._arithmetic.autocast():
            loss, values = self._discriminator_loss(given, refined.detach())
        self._descend(
            self.discriminator, self.optimizers[1], loss, rate=run.discriminator_learning_rate * self._rate, most=LARGEST_NORM
        )
        self.discriminator.requires_grad_(False)
        with self._arithmetic.autocast():
            loss, more = self._refiner_loss(given, refined)
        self._descend(self.refiner, self.optimizers[0], loss, rate=run.learning_rate * self._rate, most=LARGEST_NORM)
        self._follow(self.average, self.refiner)
        return values | more

    def _look(self, before: int) -> None:
        if crosses(before, self.images_seen, self.settings.run.samples_every_images):
            self.save_samples()

    @torch.no_grad()
    def coarse(self, batch: Batch, random: torch.Generator) -> Coarse:
        """What the refiner is given of a batch: first faces that the generator paints, then real ones made coarse."""
        settings, painted = self.settings.loss, self.settings.painted_images
        task = make_task(batch, 1.0, has_mask=True, device=self.device)
        shape = (painted, self._pair.generator.architecture.noise_planes, 4, 4)
        noise = torch.randn(shape, generator=random).to(self.device)
        with self._arithmetic.autocast():
            faces = self._pair.paint_coarse(task.real[:painted], task.keypoints[:painted], noise, task.hidden[:painted]).float()
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
    def save_samples(self) -> None:
        """Write a picture of validation faces: given, painted and enlarged, painted and refined."""
        batch = self.source.validation(SAMPLES, self._stage)
        task = make_task(batch, 1.0, has_mask=True, device=self.device)
        noise = torch.zeros((len(task.real), self._pair.generator.architecture.noise_planes, 4, 4), device=self.device)
        faces = self._pair.paint_coarse(task.real, task.keypoints, noise, task.hidden)
        plain = task.condition + enlarge(faces) * task.hidden
        refined = self.average(faces, task.real, task.hidden)
        save_samples(self.folder / "samples" / f"{self.images_seen:09d}.png", task, plain, refined)

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

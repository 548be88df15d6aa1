"""`veil-train fit-keypoints`: train the keypoint network as a configuration file says."""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from loguru import logger
from torch import Tensor
from torch.nn import functional

from models.generator_weights import Provenance
from models.keypoint_network import KeypointArchitecture, KeypointNetwork
from models.keypoint_weights import save_keypoints
from models.keypoints import TOLERANCES
from trainer.checkpoint import CheckpointError, check_new, load_newest, save_checkpoint
from trainer.config import ConfigError, to_yaml
from trainer.dataset import DataError
from trainer.evaluate_keypoints import locate, measure, network_answers, served_batch
from trainer.failing import INTERRUPTED, failed
from trainer.keypoint_calibration import calibration_of, gather
from trainer.keypoint_config import KeypointTrainSettings, load_keypoint_config
from trainer.keypoint_samples import IS_SHOULDER, LEAST_LABEL_SCORE, KeypointBatch, KeypointFaces, KeypointSource
from trainer.loop import stop_on_signals
from trainer.progress import train_with_progress
from trainer.schedule import crosses
from trainer.single_run import SingleRun

CONFIDENCE_WEIGHT = 0.05
"""Of the confidences' loss beside that of the places."""
SHOULDER_WEIGHT = 6.0
"""Of a known shoulder beside the face's keypoints: one label in ten is known, and its score is low."""


def keypoint_loss(answer: Tensor, batch: KeypointBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """What training lowers: mean distance in longer sides of the face box, and the cross entropy of the confidences.

    answer: (B, 7, 3) of the network. Places weigh as their labels' scores, guessed labels not at all. A confidence is to tell
    whether the keypoint is seen and within TOLERANCES; a shoulder with a guessed label counts as not seen.
    """
    distances = (answer[:, :, :2] - batch.keypoints).norm(dim=2) / batch.units[:, None]
    is_known = batch.scores >= LEAST_LABEL_SCORE
    weights = batch.scores * is_known * torch.from_numpy(np.where(IS_SHOULDER, SHOULDER_WEIGHT, 1.0).astype(np.float32))
    place = (weights * distances).sum() / weights.sum().clamp(min=1)
    is_right = ((distances.detach() <= torch.tensor(TOLERANCES)) & is_known).float()
    counts = (is_known | torch.from_numpy(IS_SHOULDER)).float()
    entropy = functional.binary_cross_entropy_with_logits(answer[:, :, 2], is_right, counts, reduction="sum")
    confidence = entropy / counts.sum().clamp(min=1)
    return place + CONFIDENCE_WEIGHT * confidence, {"distance": place.detach(), "entropy": confidence.detach()}


class KeypointRun(SingleRun):
    """A training run in a folder: checkpoints/, log.jsonl, keypoints.safetensors and the configuration as used."""

    def __init__(self, settings: KeypointTrainSettings, folder: Path, *, resume: bool = False) -> None:
        """resume: continue from the newest checkpoint of the folder. Raises DataError or CheckpointError where that cannot be."""
        super().__init__(settings.run, folder)
        self.settings = settings
        if settings.run.threads:
            torch.set_num_threads(settings.run.threads)
        self.faces = KeypointFaces(settings.data)
        self.source = KeypointSource(self.faces, settings.augment, settings.run.seed)
        logger.info("{} faces to train on, {} held back", self.faces.training, len(self.faces) - self.faces.training)
        torch.manual_seed(settings.run.seed)
        shape = settings.network
        self.network = KeypointNetwork(KeypointArchitecture(widths=shape.widths, hidden=shape.hidden))
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), weight_decay=settings.run.weight_decay)
        if resume:
            self._restore()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(to_yaml(settings), "utf-8")

    def _restore(self) -> None:
        state = load_newest(self.folder / "checkpoints")
        try:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            message = str(error).splitlines()[0]
            raise CheckpointError(f"{self.folder}: the checkpoint is of another network ({message})") from error
        self.images_seen = int(state["images_seen"])

    def _step(self) -> dict[str, Tensor]:
        run = self.settings.run
        batch = self.source.batch(range(self.images_seen, self.images_seen + run.batch))
        self.network.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=run.bfloat16):
            answer = self.network(batch.crops)
        loss, values = keypoint_loss(answer, batch)
        self._descend(self.network, self.optimizer, loss, rate=run.learning_rate * self._rate, most=5.0)
        self._follow(self.average, self.network)
        return values

    def _look(self, before: int) -> None:
        if crosses(before, self.images_seen, self.settings.run.validate_every_images):
            self.validate()

    def _complete(self) -> None:
        self.calibrate()

    def validate(self) -> None:
        """Log the figures of the faces that are held back."""
        numbers = range(self.faces.training, len(self.faces))
        if numbers:
            batch = served_batch(self.faces, numbers, self.settings.expansion)
            report = measure(locate(network_answers(self.average), batch), batch)
            self._log({f"median_{name}": figures.median for name, figures in report.keypoints.items()})

    def calibrate(self) -> None:
        """Make the running average's confidences worth what they say on the faces that are held back."""
        numbers, settings = range(self.faces.training, len(self.faces)), self.settings
        if numbers:
            evidence = gather(
                self.average,
                self.faces,
                numbers,
                expansion=settings.expansion,
                augment=settings.augment,
                seed=settings.run.seed,
            )
            self.average.calibration = calibration_of(evidence)
        if self.average.calibration is None:
            logger.warning("{} faces are too few to calibrate the confidences on: they are as training left them", len(numbers))
        else:
            logger.info("confidences calibrated on {} faces", len(numbers))

    def save(self) -> Path:
        """Write a checkpoint and the running average as weights."""
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "settings": msgspec.to_builtins(self.settings),
        }
        path = save_checkpoint(self.folder / "checkpoints", self.images_seen, state, self.settings.run.checkpoints_kept)
        provenance = Provenance(
            training_data=f"labels: {Path(self.settings.data.root).name}, {self.faces.training} faces",
            terms=self.settings.run.terms,
            images_seen=self.images_seen,
            expansion=self.settings.expansion,
        )
        save_keypoints(self.folder / "keypoints.safetensors", self.average, provenance)
        return path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `veil-train fit-keypoints`."""
    parser.add_argument("config", type=Path, help="configuration file, for example configs/train-keypoints.yaml")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the run: checkpoints, log, weights")
    parser.add_argument("--data", type=Path, help="folder of the data set, in place of data.root")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint in the folder")


def run(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 the run is complete, 2 the configuration or the folder cannot be used, 3 the data cannot be used, 5 a
    checkpoint cannot be read or written, 130 stopped by SIGINT or SIGTERM with a checkpoint.
    """
    logger.remove()
    logger.add(sys.stderr, level="INFO", diagnose=False)
    folder: Path = arguments.output
    try:
        settings = load_keypoint_config(arguments.config)
        if arguments.data:
            settings = msgspec.structs.replace(settings, data=msgspec.structs.replace(settings.data, root=str(arguments.data)))
        if not arguments.resume:
            check_new(folder)
        training = KeypointRun(settings, folder, resume=arguments.resume)
        stop_on_signals(training)
        is_complete = train_with_progress(training, total=settings.run.total_images)
    except ConfigError as error:
        return failed("fit-keypoints", error, 2)
    except DataError as error:
        return failed("fit-keypoints", error, 3)
    except CheckpointError as error:
        return failed("fit-keypoints", error, 5)
    return 0 if is_complete else INTERRUPTED

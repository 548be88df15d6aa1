"""What a run says of itself: one JSON object a line, the same as log messages, and on request for TensorBoard."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger
from numpy.typing import NDArray
from torch import Tensor

from trainer.config import ConfigError
from trainer.schedule import Stage


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is. total_images: at its end. seconds: trained in all, restarts included. unreadable: pictures left out."""

    images_seen: int
    total_images: int
    seconds: float
    steps_skipped: int
    unreadable: int


class Journal:
    """Mean values since the last line, written to log.jsonl, the log and, if wanted, tensorboard/."""

    def __init__(self, folder: Path, *, images_seen: int = 0, with_tensorboard: bool = False) -> None:
        """images_seen: by a run that is resumed; what TensorBoard was told beyond that is taken back.

        Raises ConfigError where TensorBoard's files cannot be written for want of a package.
        """
        self._path = folder / "log.jsonl"
        self._board: Any = _open_board(folder / "tensorboard", images_seen) if with_tensorboard else None
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._images = 0
        self._seconds = 0.0

    def add(self, values: dict[str, Tensor], images: int, seconds: float) -> None:
        """Note the values of a step."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, value.new_zeros(())) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._images += images
        self._seconds += seconds

    def write(self, progress: Progress, stage: Stage) -> None:
        """Write a line and begin the next."""
        means = {name: round(float(total) / self._counts[name], 5) for name, total in self._sums.items()}
        speed = self._images / self._seconds if self._seconds else 0.0
        line = {
            "images_seen": progress.images_seen,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "resolution": stage.resolution,
            "alpha": round(stage.alpha, 4),
            "images_per_s": round(speed, 3),
            "seconds": round(progress.seconds, 1),
            "steps_skipped": progress.steps_skipped,
            "unreadable": progress.unreadable,
            **means,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        left = (progress.total_images - progress.images_seen) / speed if speed else 0.0
        logger.info(
            "{} images, {} px, alpha {:.2f}, {:.1f} images/s, {} left, {}",
            progress.images_seen,
            stage.resolution,
            stage.alpha,
            speed,
            timedelta(seconds=max(round(left), 0)),
            means,
        )
        if self._board is not None:
            for name, value in line.items():
                if name not in ("images_seen", "time"):
                    self._board.add_scalar(name, value, progress.images_seen)
            self._board.flush()
        self._reset()

    def show(self, name: str, picture: NDArray[np.uint8], images_seen: int) -> None:
        """Show a picture, (height, width, 3), in TensorBoard, if it is wanted."""
        if self._board is not None:
            self._board.add_image(name, picture, images_seen, dataformats="HWC")
            self._board.flush()

    def close(self) -> None:
        """Finish the files."""
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path, images_seen: int) -> Any:
    try:
        from tensorboardX import SummaryWriter  # only where it is asked for
    except ImportError as error:
        raise ConfigError("run.tensorboard needs the package tensorboardX (part of veilstream[train])") from error
    # A name of its own for the files of each start: those of one second would overwrite each other.
    purge_step = images_seen + 1 if images_seen else None
    return SummaryWriter(str(folder), purge_step=purge_step, filename_suffix=f".{images_seen:09d}")

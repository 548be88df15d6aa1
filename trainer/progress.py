"""A training run in a terminal: one bar for all kinds of runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from loguru import logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Trainable(Protocol):
    """A run that counts the images it has seen."""

    images_seen: int

    def train(self, on_batch: Callable[[Any], None] = ...) -> bool: ...


def train_with_progress(
    training: Trainable, *, total: int, describe: Callable[[], str] = lambda: "images", is_shown: bool = True
) -> bool:
    """Train, on a terminal with a progress bar; returns whether the run is complete.

    total: images at its end. describe: what stands before the speed. is_shown: whether this process is the one that shows it.
    """
    console = Console(stderr=True)
    if not (console.is_terminal and is_shown):
        return training.train()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    # The bar moves aside for log lines.
    logger.remove()
    with Progress(*columns, console=console) as progress:
        logger.add(lambda line: progress.console.print(line, end="", markup=False), level="INFO", diagnose=False)
        bar = progress.add_task(describe(), total=total, completed=training.images_seen)
        began_s, began_images = time.monotonic(), training.images_seen

        def advance(_: Any) -> None:
            speed = (training.images_seen - began_images) / (time.monotonic() - began_s)
            progress.update(bar, completed=training.images_seen, description=f"{describe()}, {speed:.1f} images/s")

        return training.train(advance)

"""Checkpoints of a run: complete or absent, the newest few kept, read without unpickling anything but tensors and plain values."""

from __future__ import annotations

import io
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from loguru import logger

from models.generator_weights import write_atomically
from trainer.config import ConfigError

FORMAT = "veil-train-1"


class CheckpointError(ValueError):
    """A checkpoint cannot be read, written or used; the message begins with its path."""


def save_checkpoint(folder: Path, images_seen: int, state: dict[str, Any], kept: int) -> Path:
    """Write a checkpoint and delete all but the newest `kept`.

    Raises CheckpointError where the disk is full or not writable; then nothing is deleted.
    """
    content = io.BytesIO()
    torch.save({"format": FORMAT, "images_seen": images_seen, **state}, content)
    path = folder / f"checkpoint-{images_seen:09d}.pt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < 2 * content.tell():
            needed = 2 * content.tell()
            raise CheckpointError(
                f"{path}: cannot be written: {free / 2**20:.0f} MiB are free, {needed / 2**20:.0f} MiB are needed; make room and "
                "go on from the checkpoint before with --resume"
            )
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error}") from error
    for old in list_checkpoints(folder)[:-kept]:
        old.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    found = [path for path in folder.glob("checkpoint-*.pt") if re.fullmatch(r"checkpoint-\d{9,}\.pt", path.name)]
    return sorted(found, key=lambda path: int(path.stem.partition("-")[2]))


def check_new(folder: Path) -> None:
    """Raises ConfigError where the folder holds a run already."""
    if list_checkpoints(folder / "checkpoints"):
        raise ConfigError(f"{folder}: holds a run already; continue it with --resume or choose another folder")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU. Raises CheckpointError where it is damaged or not one of this program."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: damaged, or not a checkpoint ({str(error).splitlines()[0]})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this program")
    return state


def load_newest(folder: Path) -> dict[str, Any]:
    """Read the newest checkpoint. Raises CheckpointError where there is none or it is damaged."""
    found = list_checkpoints(folder)
    if not found:
        raise CheckpointError(f"{folder}: no checkpoint to resume from")
    logger.info("resuming from {}", found[-1])
    return load_checkpoint(found[-1])

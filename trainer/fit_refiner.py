"""`veil-train fit-refiner`: train the refiner of a generator as a configuration file says."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec
from loguru import logger

from models.weights import WeightsError
from trainer.checkpoint import CheckpointError, check_new
from trainer.config import ConfigError
from trainer.dataset import DataError
from trainer.failing import INTERRUPTED, failed
from trainer.features import FeatureError
from trainer.loop import stop_on_signals
from trainer.progress import train_with_progress
from trainer.refiner_config import RefinerTrainSettings, load_refiner_config
from trainer.refining import RefinerRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `veil-train fit-refiner`."""
    parser.add_argument("config", type=Path, help="configuration file, for example configs/train-refiner.yaml")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the run: checkpoints, samples, log, weights")
    parser.add_argument("--data", type=Path, help="folder of the data set, in place of data.root")
    parser.add_argument("--generator", type=Path, help="generator.safetensors to refine, in place of that of the file")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint in the folder")


def run(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 the run is complete, 2 the configuration, the generator or the folder cannot be used, 3 the data cannot be
    used, 5 a file of the run cannot be read or written, 130 stopped by SIGINT or SIGTERM with a checkpoint.
    """
    logger.remove()
    logger.add(sys.stderr, level="INFO", diagnose=False)
    folder: Path = arguments.output
    try:
        settings = _settings(arguments)
        if not arguments.resume:
            check_new(folder)
        training = RefinerRun(settings, folder, resume=arguments.resume)
        stop_on_signals(training)
        is_complete = train_with_progress(training, total=settings.run.total_images)
    except (ConfigError, WeightsError, FeatureError) as error:
        return failed("fit-refiner", error, 2)
    except DataError as error:
        return failed("fit-refiner", error, 3)
    except CheckpointError as error:
        return failed("fit-refiner", error, 5)
    except OSError as error:
        return failed("fit-refiner", f"{error.filename or folder}: cannot be read or written: {error.strerror or error}", 5)
    return 0 if is_complete else INTERRUPTED


def _settings(arguments: argparse.Namespace) -> RefinerTrainSettings:
    """The file's, with what the command says in place of it. Raises ConfigError."""
    settings = load_refiner_config(arguments.config)
    if arguments.data:
        settings = msgspec.structs.replace(settings, data=msgspec.structs.replace(settings.data, root=str(arguments.data)))
    if arguments.generator:
        settings = msgspec.structs.replace(settings, generator=str(arguments.generator))
    return settings

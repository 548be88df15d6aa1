"""`veil-train fit`: train a generator as a configuration file says."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from loguru import logger

from models.weights import WeightsError
from trainer.checkpoint import CheckpointError, check_new
from trainer.config import ConfigError, load_config
from trainer.dataset import DataError
from trainer.failing import INTERRUPTED, failed
from trainer.features import FeatureError
from trainer.loop import DivergedError, Run, stop_on_signals
from trainer.networks import ArchitectureError
from trainer.parallel import ParallelError, join_world, leave_world
from trainer.progress import train_with_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `veil-train fit`."""
    parser.add_argument("config", type=Path, help="configuration file, for example configs/train-default.yaml")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the run: checkpoints, samples, log, weights")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint in the folder")


def run(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 the run is complete, 1 it diverged, 2 the configuration or the folder cannot be used, 3 the data cannot be
    used, 5 a file of the run cannot be read or written, 130 stopped by SIGINT or SIGTERM with a checkpoint.
    """
    logger.remove()
    logger.add(sys.stderr, level="INFO", diagnose=False)
    folder: Path = arguments.output
    try:
        settings = load_config(arguments.config)
        if not arguments.resume:
            check_new(folder)
        training = Run(settings, folder, resume=arguments.resume, world=join_world(settings.run.device))
        stop_on_signals(training)
        is_complete = train_with_progress(
            training,
            total=settings.run.total_images,
            describe=lambda: f"{training.networks.resolution}x{training.networks.resolution}",
            is_shown=training.world.is_first,
        )
    except (ConfigError, ArchitectureError, WeightsError, FeatureError, ParallelError) as error:
        return failed("fit", error, 2)
    except DataError as error:
        return failed("fit", error, 3)
    except CheckpointError as error:
        return failed("fit", error, 5)
    except OSError as error:
        return failed("fit", f"{error.filename or folder}: cannot be read or written: {error.strerror or error}", 5)
    except DivergedError as error:
        return failed("fit", error, 1)
    finally:
        leave_world()
    return 0 if is_complete else INTERRUPTED

"""`veil-train import-deepprivacy`: the published DeepPrivacy weights as a file of this project."""

from __future__ import annotations

import argparse
from pathlib import Path

from models.generator_weights import parameter_count, read_published, save_generator
from models.weights import WeightsError
from trainer.failing import failed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `veil-train import-deepprivacy`."""
    parser.add_argument("checkpoint", type=Path, help="step_<images>.ckpt of DeepPrivacy 1, or the flat layout of version 2")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write, .safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")


def run(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 done, 2 the output exists, 3 the checkpoint cannot be used, 5 the output cannot be written."""
    output: Path = arguments.output
    if output.exists() and not arguments.overwrite:
        return failed("import-deepprivacy", f"{output}: exists; choose another name or give --overwrite", 2)
    try:
        generator, provenance = read_published(arguments.checkpoint)
        save_generator(output, generator, provenance)
    except WeightsError as error:
        return failed("import-deepprivacy", error, 3)
    except OSError as error:
        return failed("import-deepprivacy", f"{output}: cannot be written: {error}", 5)
    size = generator.architecture.resolution
    print(f"{output}: {parameter_count(generator):,} parameters, {size}x{size} pixels, {provenance.images_seen:,} images seen")
    print(f"Terms of these weights: {provenance.terms}")
    return 0

"""`veil-train export`: trained weights as the ONNX file that serving runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from models.generator_weights import export_onnx, load_generator
from models.weights import WeightsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `veil-train export`."""
    parser.add_argument("weights", type=Path, help="generator.safetensors of a run or an import")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write, .onnx")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")


def run(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 done, 2 the output exists, 3 the weights cannot be used, 5 the output cannot be written."""
    output: Path = arguments.output
    if output.exists() and not arguments.overwrite:
        return _failed(f"{output}: exists; choose another name or give --overwrite", 2)
    try:
        generator, provenance = load_generator(arguments.weights)
        export_onnx(output, generator, provenance)
    except WeightsError as error:
        return _failed(str(error), 3)
    except OSError as error:
        return _failed(f"{output}: cannot be written: {error}", 5)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB. Terms of these weights: {provenance.terms}")
    return 0


def _failed(message: str, exit_code: int) -> int:
    print(f"veil-train export: {message}", file=sys.stderr)
    return exit_code

"""`veil-train export`: trained weights as the ONNX file that serving runs; beside a manifest.json it is entered there."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from models.generator_export import export_onnx
from models.generator_weights import Provenance, format_of, load_generator, write_atomically
from models.keypoint_weights import FORMAT as KEYPOINT_FORMAT
from models.keypoint_weights import export_keypoints, load_keypoints
from models.refiner import load_refinable, load_refiner
from models.weights import MANIFEST, WeightsError, enter_in_manifest
from trainer.failing import failed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `veil-train export`."""
    parser.add_argument("weights", type=Path, help="generator.safetensors or keypoints.safetensors of a run or an import")
    parser.add_argument("--refiner", type=Path, help="refiner.safetensors of a run, to be exported with its generator as one file")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write, .onnx")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")


def run(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 done, 2 the output exists, 3 the weights cannot be used, 5 the output cannot be written."""
    output: Path = arguments.output
    if output.exists() and not arguments.overwrite:
        return failed("export", f"{output}: exists; choose another name or give --overwrite", 2)
    try:
        provenance = _export(arguments.weights, output, arguments.refiner)
        if (output.parent / MANIFEST).exists():
            enter_in_manifest(output)
    except WeightsError as error:
        return failed("export", error, 3)
    except OSError as error:
        return failed("export", f"{output}: cannot be written: {error}", 5)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB. Terms of these weights: {provenance.terms}")
    return 0


def _export(weights: Path, output: Path, refiner: Path | None) -> Provenance:
    """Raises WeightsError where the weights are of no network that can be exported, or damaged."""
    if refiner is not None:
        generator, provenance = load_refinable(weights)
        network, its_own = load_refiner(refiner)
        provenance = with_refiner(provenance, its_own)
        export_onnx(output, generator, provenance, network)
    elif format_of(weights) == KEYPOINT_FORMAT:
        keypoints, provenance = load_keypoints(weights)
        write_atomically(output, export_keypoints(keypoints, provenance))
    else:
        generator, provenance = load_generator(weights)
        export_onnx(output, generator, provenance)
    return provenance


def with_refiner(generator: Provenance, refiner: Provenance) -> Provenance:
    """Where both together come from."""
    refined = f"refined by {refiner.images_seen} images of {refiner.training_data}"
    terms = generator.terms if refiner.terms == generator.terms else f"{generator.terms}; those of the refiner: {refiner.terms}"
    return replace(generator, training_data=f"{generator.training_data}; {refined}", terms=terms)

"""`veil-train synthesize`: a training set of people who do not exist, made from random numbers by a generator of portraits."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models.backends.openvino import import_openvino
from models.detectors import RgbImage
from models.weights import WeightsError
from trainer import collecting
from trainer.collection import Collection, CollectionError, Description
from trainer.failing import INTERRUPTED, failed
from trainer.labelling import FaceLabeller, FilterSettings, open_labeller
from trainer.layouts import default_crops

TERMS = "non-commercial: the networks of random-face descend from StyleGAN2 trained on FFHQ, whose terms are non-commercial"
WHAT_TO_INSTALL = "pip install 'veilstream[synthesize]' && pip install --no-deps random-face==2021.7.21.1"
LATENT = 512
TRUNCATION_MIN, TRUNCATION_MAX = 0.75, 1.0
PICTURE_PX = 512
"""Portraits are made at 1024 pixels and reduced to this."""
PORTRAIT_SURROUNDINGS = 1.15
"""Portraits are framed like those of FFHQ: the whole of one is 1.2 to 1.45 times the face, and there is nothing more to be cut out.
Training takes such a picture whole where it would have liked more of it."""
LABELS_EVERY_FACES = 50


class SynthesisError(Exception):
    """The networks cannot be had; the message is one line that says what to install."""


class FaceSource(Protocol):
    """Makes portraits by number."""

    def portrait(self, index: int) -> RgbImage:
        """The portrait of this number, always the same."""
        ...


def latent(index: int) -> tuple[NDArray[np.float32], float]:
    """What a portrait is made of: (1, 512) normal numbers, and how far its style may lie from the mean one, 0 to 1."""
    random = np.random.default_rng(index)
    return random.standard_normal((1, LATENT)).astype(np.float32), float(random.uniform(TRUNCATION_MIN, TRUNCATION_MAX))


class RandomFace:
    """The two networks of the package random-face (MobileStyleGAN), run by OpenVINO; nothing else of that package is used."""

    def __init__(self, threads: int = 1) -> None:
        """Raises SynthesisError where a package is missing or its files cannot be read."""
        found = importlib.util.find_spec("random_face")
        places = list(found.submodule_search_locations or ()) if found is not None else []
        if not places or importlib.util.find_spec("openvino") is None:
            raise SynthesisError(f"the networks that make portraits are not installed: {WHAT_TO_INSTALL}")
        folder = Path(places[0]) / "data"
        openvino = import_openvino()
        try:
            core = openvino.Core()
            options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
            self._mapping, self._synthesis = (
                core.compile_model(core.read_model(folder / f"{name}.xml"), "CPU", options)
                for name in ("MappingNetwork", "SynthesisNetwork")
            )
        except RuntimeError as error:
            raise SynthesisError(f"{folder}: the networks cannot be read ({str(error).splitlines()[0]})") from error
        # Of many styles; the package's own mean is that of so many too.
        styles = [self._style(np.random.default_rng((7, number)).standard_normal((1, LATENT))) for number in range(256)]
        self._mean = np.mean(styles, axis=0)

    def _style(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        style: NDArray[np.float32] = self._mapping([values.astype(np.float32)])[0]
        return style

    def portrait(self, index: int) -> RgbImage:
        values, reach = latent(index)
        style = self._mean + (self._style(values) - self._mean) * np.float32(reach)
        painted = self._synthesis([style.astype(np.float32)])[0][0].transpose(1, 2, 0)
        pixels = np.clip((painted + 1) * 127.5, 0, 255).astype(np.uint8)
        return np.asarray(cv2.resize(pixels, (PICTURE_PX, PICTURE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `veil-train synthesize`."""
    collecting.add_arguments(parser, FilterSettings(min_surroundings=PORTRAIT_SURROUNDINGS))
    parser.add_argument("--count", type=int, default=1000, help="portraits to make (default: 1000)")
    parser.add_argument("--start", type=int, default=0, help="number of the first one (default: 0)")
    parser.add_argument("--threads", type=int, default=1, help="of the networks (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 done, 2 a value out of range, a package is missing, or the folder holds something else, 3 the weights of the
    detector cannot be used, 5 the folder cannot be written, 130 interrupted; the same command goes on.
    """
    root = Path(arguments.output)
    try:
        if arguments.count < 1 or arguments.start < 0 or arguments.threads < 1:
            raise ValueError("--count and --threads must be above 0, --start at least 0")
        filters, crops = collecting.filters_of(arguments), default_crops(arguments.layout)
        description = Description(
            made_by="synthesize", layout=arguments.layout, terms=TERMS, filters=filters, crops=crops, options={}
        )
        source = RandomFace(arguments.threads)
        labeller = open_labeller(filters, crops, size="default", threads=arguments.threads)
        print(f"veil-train synthesize: terms of these pictures: {TERMS}", file=sys.stderr)
        with Collection(root, description) as collection:
            try:
                synthesize(collection, labeller, source, range(arguments.start, arguments.start + arguments.count))
            except KeyboardInterrupt:
                collection.write_labels()
                return failed("synthesize", "interrupted; the same command goes on from here", INTERRUPTED)
            collecting.finish(collection, Console())
    except (CollectionError, SynthesisError, ValueError, msgspec.ValidationError) as error:
        return failed("synthesize", error, 2)
    except WeightsError as error:
        return failed("synthesize", error, 3)
    except OSError as error:
        return failed("synthesize", f"{error.filename or root}: cannot be written: {error.strerror}", 5)
    return 0


def synthesize(collection: Collection, labeller: FaceLabeller, source: FaceSource, indices: range) -> None:
    """Make the portraits of these numbers that the data set does not have yet. Raises OSError."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("portraits", total=len(indices))
        for index in indices:
            name = f"portrait {index}"
            if not collection.is_done(name):
                faces, reasons = labeller.faces(source.portrait(index))
                collection.add(name, faces[:1], name=name, group=name, pictures=1, rejected=Counter[str](reasons), is_done=True)
                if len(collection.rows) % LABELS_EVERY_FACES == 0:
                    collection.check_room()
                    collection.write_labels()
            progress.advance(bar)

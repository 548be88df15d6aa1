"""`veil-train prepare`: anyone's own photos and videos to a training set of labelled faces."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models.weights import WeightsError
from trainer import collecting
from trainer.collection import Collection, CollectionError, Description
from trainer.failing import INTERRUPTED, failed
from trainer.labelling import FaceLabeller, FilterSettings, open_labeller
from trainer.layouts import default_crops
from trainer.media import find_media, fingerprint, open_media
from trainer.upright import MediaError

TERMS = "your own material: you decide what it, and what is trained on it, may be used for"
LABELS_EVERY_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `veil-train prepare`."""
    parser.add_argument("inputs", nargs="+", help="photos, videos, folders with everything below them, and patterns")
    collecting.add_arguments(parser, FilterSettings())
    parser.add_argument("--every", type=float, default=1.0, help="seconds between the pictures taken of a video (default: 1)")
    parser.add_argument("--detector-size", choices=("default", "full"), default="full", help="full finds smaller faces")
    parser.add_argument("--threads", type=int, default=1, help="of the networks (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Exit codes: 0 done, 2 a value out of range, or the folder holds something else, 3 no input could be read, 4 some could not, 5
    the folder cannot be written, 130 interrupted; what was written stays and the same command goes on.
    """
    console, root = Console(stderr=True), Path(arguments.output)
    try:
        if not arguments.every > 0 or arguments.threads < 1:
            raise ValueError("--every and --threads must be above 0")
        crops = default_crops(arguments.layout)
        filters = collecting.filters_of(arguments)
        description = Description(
            made_by="prepare",
            layout=arguments.layout,
            terms=TERMS,
            filters=filters,
            crops=crops,
            options={"every": f"{arguments.every:g}", "detector_size": arguments.detector_size},
        )
        found = find_media(arguments.inputs, outside=root)
        unreadable = list(found.missing)
        if not found.files:
            return failed("prepare", "; ".join(found.missing) or f"{root}: is the only input", 3)
        labeller = open_labeller(filters, crops, size=arguments.detector_size, threads=arguments.threads)
        with Collection(root, description) as collection:
            preparation = Preparation(collection, labeller, arguments.every)
            try:
                unreadable += _prepare(preparation, found.files, console)
            except KeyboardInterrupt:
                collection.write_labels()
                return failed("prepare", "interrupted; the same command goes on from here", INTERRUPTED)
            collecting.finish(collection, Console())
            is_any_read = bool(collection.sources)
    except (CollectionError, ValueError, msgspec.ValidationError) as error:
        return failed("prepare", error, 2)
    except WeightsError as error:
        return failed("prepare", error, 3)
    except OSError as error:
        return failed("prepare", f"{error.filename or root}: cannot be written: {error.strerror}", 5)
    for line in unreadable:
        print(f"veil-train prepare: left out: {line}", file=sys.stderr)
    return (4 if is_any_read else 3) if unreadable else 0


class Preparation:
    """Takes the faces of one file after the other into a data set."""

    def __init__(self, collection: Collection, labeller: FaceLabeller, every_s: float) -> None:
        self._collection = collection
        self._labeller = labeller
        self._every_s = every_s
        self._labelled_s = time.monotonic()

    @property
    def faces(self) -> int:
        return len(self._collection.rows)

    def take(self, path: Path, progress: Progress | None = None) -> str:
        """Take the faces of a file that was not taken before. Returns what could not be read of it, or nothing.

        Raises MediaError where nothing of it can be read, and OSError where the data set cannot be written.
        """
        collection, source = self._collection, fingerprint(path)
        if collection.is_done(source):
            return ""
        media = open_media(path, self._every_s)
        bar = None if progress is None else progress.add_task(path.name, total=1.0)
        number, rejected = 0, Counter[str]()
        try:
            for number, picture in enumerate(media, 1):
                if number <= collection.pictures_done(source):
                    continue
                faces, reasons = self._labeller.faces(picture.rgb, collection.seen(source))
                rejected.update(reasons)
                collection.add(
                    source, faces, name=str(path), group=source, pictures=number, rejected=rejected, time_s=picture.time_s
                )
                rejected = Counter()
                self._label_now_and_then()
                if progress is not None and bar is not None:
                    progress.update(bar, completed=picture.share, description=f"{path.name}, {self.faces} faces in all")
        finally:
            if progress is not None and bar is not None:
                progress.remove_task(bar)
        collection.add(source, [], name=str(path), group=source, pictures=number, rejected=rejected, is_done=True)
        return media.damage

    def _label_now_and_then(self) -> None:
        if time.monotonic() - self._labelled_s > LABELS_EVERY_S:
            self._collection.check_room()
            self._collection.write_labels()
            self._labelled_s = time.monotonic()


def _prepare(preparation: Preparation, files: tuple[Path, ...], console: Console) -> list[str]:
    """Take all files, on a terminal with progress bars; returns a line for each that could not be read wholly."""
    unreadable = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        total = progress.add_task(f"{len(files)} files", total=len(files))
        for number, path in enumerate(files, 1):
            try:
                damage = preparation.take(path, progress if console.is_terminal else None)
            except MediaError as error:
                damage = str(error)
            if damage:
                unreadable.append(damage)
            if not console.is_terminal:
                print(f"{number}/{len(files)} {path}: {preparation.faces} faces in all", file=sys.stderr)
            progress.update(total, completed=number)
    return unreadable

"""What `veil-train prepare` and `veil-train synthesize` share: their options, and what they write and say at the end.

Collection -> contact_sheet, statistics -> contact-sheet.png, statistics.json, a table
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.faces import KEYPOINT_NAMES
from models.generator_weights import write_atomically
from models.geometry import resize
from trainer.collection import Collection
from trainer.labelling import REASONS, FilterSettings
from trainer.layouts import LAYOUTS, FaceRow, replace_file
from trainer.pictures import PictureError, read_picture

SHEET, STATISTICS = "contact-sheet.png", "statistics.json"
SHEET_FACES, SHEET_COLUMNS, SHEET_PX = 64, 8, 128
FILTER_OPTIONS = {
    "min_width": "least width of a face in its source, pixels",
    "min_score": "least score of the detector",
    "min_surroundings": "least side of the crop around a face, in longer sides of the face",
    "min_sharpness": "least sharpness of a face, 0 keeps everything",
}
"""Fields of FilterSettings that have an option, and what it is for."""
FRONTAL, PROFILE = 0.15, 0.4
"""Distance of the nose from the middle of the eyes, across, in distances of the eyes: below the first a face looks ahead, above the
second it is nearly a profile."""


def add_arguments(parser: argparse.ArgumentParser, defaults: FilterSettings) -> None:
    """Options of both commands."""
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the data set, new or to be continued")
    parser.add_argument("--layout", choices=tuple(LAYOUTS), default="labels", help="labels: pictures and labels.csv; fdf: as FDF")
    for name, what in FILTER_OPTIONS.items():
        default = getattr(defaults, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=default, help=f"{what} (default: {default:g})")


def filters_of(arguments: argparse.Namespace) -> FilterSettings:
    """Raises ValueError where a value is out of range."""
    values = {name: getattr(arguments, name) for name in FILTER_OPTIONS}
    return msgspec.convert(values, FilterSettings)


def finish(collection: Collection, console: Console) -> None:
    """Write labels, contact sheet and statistics, and print the table. Raises OSError."""
    collection.write_labels()
    figures = summarize(collection.rows, collection.pictures, collection.rejected)
    replace_file(collection.root / STATISTICS, json.dumps(figures, indent=2) + "\n")
    if collection.rows:
        write_sheet(collection.root / SHEET, collection.root, collection.rows)
    print_summary(figures, collection.root, console)


def summarize(rows: Sequence[FaceRow], pictures: int, rejected: Counter[str]) -> dict[str, Any]:
    """Counts and quartiles of a data set, plain values for JSON."""
    return {
        "pictures": pictures,
        "faces": len(rows),
        "groups": len({row.group for row in rows}),
        "left_out": dict(sorted(rejected.items())),
        "width_px": _quartiles([row.width_px for row in rows]),
        "brightness": _quartiles([row.brightness for row in rows]),
        "sharpness": _quartiles([row.sharpness for row in rows]),
        "score": _quartiles([row.score for row in rows]),
        "gray": sum(row.gray for row in rows),
        "pose": dict(Counter(pose_of(row) for row in rows)),
    }


def pose_of(row: FaceRow) -> str:
    """ahead, half or profile, from where the nose is between the eyes; unknown where one of them is absent."""
    nose, left, right = (np.array(row.keypoints[KEYPOINT_NAMES.index(name)]) for name in ("nose", "left_eye", "right_eye"))
    between = float(np.linalg.norm(left[:2] - right[:2]))
    if min(nose[2], left[2], right[2]) <= 0 or between == 0:
        return "unknown"
    across = (left[:2] - right[:2]) / between
    turn = abs(float((nose[:2] - (left[:2] + right[:2]) / 2) @ across)) / between
    return "ahead" if turn < FRONTAL else "half" if turn < PROFILE else "profile"


def _quartiles(values: Sequence[float]) -> list[float] | None:
    """Least, quarter, median, three quarters, greatest; None of nothing."""
    if len(values) < 2:
        return [round(values[0], 3)] * 5 if values else None
    return [round(value, 3) for value in (min(values), *statistics.quantiles(values, n=4, method="inclusive"), max(values))]


def write_sheet(path: Path, root: Path, rows: Sequence[FaceRow]) -> None:
    """A picture of faces from all over the data set, the known keypoints as dots. Raises OSError."""
    chosen = rows[:: max(1, len(rows) // SHEET_FACES)][:SHEET_FACES]
    cells: list[NDArray[np.uint8]] = []
    for row in chosen:
        try:
            cell = resize(read_picture(root / row.path), SHEET_PX)
        except PictureError:
            cell = np.zeros((SHEET_PX, SHEET_PX, 3), np.uint8)
        for x, y, score in row.keypoints:
            if score > 0:
                cv2.circle(cell, (round(x * SHEET_PX), round(y * SHEET_PX)), 2, (0, 255, 0), -1)
        cells.append(cell)
    cells += [np.zeros((SHEET_PX, SHEET_PX, 3), np.uint8)] * (-len(cells) % SHEET_COLUMNS)
    grid = np.concatenate(
        [np.concatenate(cells[start : start + SHEET_COLUMNS], 1) for start in range(0, len(cells), SHEET_COLUMNS)]
    )
    _, content = cv2.imencode(".png", cv2.cvtColor(grid, cv2.COLOR_RGB2BGR))
    write_atomically(path, content.tobytes())


def print_summary(figures: dict[str, Any], root: Path, console: Console) -> None:
    """The figures as a table."""
    table = Table(title=f"{root}: {figures['faces']} faces of {figures['groups']} groups from {figures['pictures']} pictures")
    for heading in ("", "least", "quarter", "median", "three quarters", "greatest"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name in ("width_px", "brightness", "sharpness", "score"):
        if figures[name] is not None:
            table.add_row(name.replace("_px", ", pixels"), *(f"{value:g}" for value in figures[name]))
    console.print(table)
    for what, counts in (("pose", figures["pose"]), ("left out", figures["left_out"])):
        if counts:
            described = [f"{count} {_explained(name)}" for name, count in counts.items()]
            console.print(f"{what}: {', '.join(described)}", markup=False, highlight=False)


def _explained(name: str) -> str:
    return f"{name} ({REASONS[name]})" if name in REASONS else name

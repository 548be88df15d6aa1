"""A data set that grows and can be interrupted at any moment: pictures first, then a line in a journal, labels from the journal.

LabelledCrop -> Collection.add -> faces/ and journal.jsonl -> Collection.write_labels -> labels.csv
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from trainer.labelling import SIGNATURE_SIDE, CropSettings, FilterSettings, LabelledCrop, Seen
from trainer.layouts import LAYOUTS, FaceRow, replace_file

LEAST_FREE_BYTES = 64 << 20
"""With less room on the disk nothing more is written."""

_JOURNAL = "journal.jsonl"
_DESCRIPTION = "dataset.json"


class CollectionError(ValueError):
    """A folder cannot take this data; the message begins with its path."""


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What a data set is and how it was made; a later run must agree. Stored as dataset.json."""

    schema: Literal["veil-dataset/1"] = "veil-dataset/1"
    made_by: Literal["prepare", "synthesize"]
    layout: str
    terms: str
    """What the pictures may be used for."""
    filters: FilterSettings
    crops: CropSettings
    options: dict[str, str]
    """What else decides about the result."""


class _Remembered(msgspec.Struct, frozen=True, kw_only=True):
    place: tuple[float, float, float, float]
    signature: bytes


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the journal: what came of some pictures of a source."""

    source: str
    name: str
    pictures: int
    """Number of the source's pictures that have been looked at, this line's and those before."""
    is_done: bool
    faces: tuple[FaceRow, ...]
    remembered: tuple[_Remembered, ...]
    rejected: dict[str, int]


class _Progress:
    """How far a source is that is not done."""

    def __init__(self) -> None:
        self.pictures = 0
        self.faces = 0
        self.seen: list[Seen] = []


class Collection:
    """A data set in a folder, open for more. To be used in a `with` block.

    Raises CollectionError where the folder holds something else, was made with other settings or is in use, and OSError where it
    cannot be written.
    """

    def __init__(self, root: Path, description: Description) -> None:
        self.root = root
        self.description = description
        self.rows: list[FaceRow] = []
        self.rejected: Counter[str] = Counter()
        self.pictures = 0
        self.sources: set[str] = set()
        """Those that are done."""
        self._begun: dict[str, _Progress] = {}
        self._layout = LAYOUTS[description.layout]()
        self._open()

    def _open(self) -> None:
        _check_folder(self.root)
        self.root.mkdir(parents=True, exist_ok=True)
        self._journal = (self.root / _JOURNAL).open("ab")
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._agree()
            self._read_journal()
            self.check_room()
        except BlockingIOError:
            self._journal.close()
            raise CollectionError(f"{self.root}: another process is writing to it") from None
        except BaseException:
            self._journal.close()
            raise

    def _agree(self) -> None:
        path = self.root / _DESCRIPTION
        if not path.exists():
            replace_file(path, msgspec.json.format(msgspec.json.encode(self.description)).decode() + "\n")
            return
        try:
            before = msgspec.json.decode(path.read_bytes(), type=Description)
        except msgspec.MsgspecError as error:
            raise CollectionError(f"{path}: is not the description of such a data set ({error})") from error
        if before.made_by != self.description.made_by:
            raise CollectionError(f"{self.root}: was made by veil-train {before.made_by}; choose another folder")
        differing = _difference(before, self.description)
        if differing:
            raise CollectionError(f"{self.root}: was made with {differing}; repeat that, or choose another folder")

    def _read_journal(self) -> None:
        path = self.root / _JOURNAL
        whole = 0
        for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                break
            try:
                self._take(msgspec.json.decode(line, type=_Entry))
            except msgspec.MsgspecError as error:
                raise CollectionError(f"{path}, line {number}: is damaged ({error}); delete from there to continue") from error
            whole += len(line)
        # What a kill has left of the last line is done anew.
        os.truncate(path, whole)

    def _take(self, entry: _Entry) -> None:
        self.rows += entry.faces
        self.rejected.update(entry.rejected)
        progress = self._begun.setdefault(entry.source, _Progress())
        self.pictures += entry.pictures - progress.pictures
        progress.pictures = entry.pictures
        progress.faces += len(entry.faces)
        for one in entry.remembered:
            signature = np.frombuffer(one.signature, np.uint8).reshape(SIGNATURE_SIDE, SIGNATURE_SIDE)
            progress.seen.append(Seen(place=np.array(one.place, np.float32), signature=signature))
        if entry.is_done:
            self.sources.add(entry.source)
            del self._begun[entry.source]

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def is_done(self, source: str) -> bool:
        return source in self.sources

    def pictures_done(self, source: str) -> int:
        """How many pictures of a source that is not done need not be looked at again."""
        return self._begun[source].pictures if source in self._begun else 0

    def seen(self, source: str) -> Sequence[Seen]:
        """What was kept of a source that is not done, in its order."""
        return self._begun[source].seen if source in self._begun else ()

    def add(
        self,
        source: str,
        faces: Sequence[LabelledCrop],
        *,
        name: str,
        group: str,
        pictures: int,
        rejected: Counter[str],
        time_s: float = 0.0,
        is_done: bool = False,
    ) -> None:
        """Write faces, then the line that makes them part of the data set.

        source: what identifies it. pictures: how many of the source have been looked at by now. rejected: since the last line.
        Raises OSError; the faces are then not part of the data set.
        """
        before = self._begun[source].faces if source in self._begun else 0
        rows = []
        for offset, face in enumerate(faces):
            stem = f"{re.sub(r'[^0-9A-Za-z]', '', source)}-{before + offset:05}"
            path = self._layout.write_picture(self.root, len(self.rows) + offset, stem, face.picture)
            rows.append(_row(face, path, group, "own" if self.description.made_by == "prepare" else "synthetic", time_s))
        entry = _Entry(
            source=source,
            name=name,
            pictures=pictures,
            is_done=is_done,
            faces=tuple(rows),
            remembered=tuple(_remembered(face.seen) for face in faces if not is_done),
            rejected=dict(rejected),
        )
        self._journal.write(msgspec.json.encode(entry) + b"\n")
        self._journal.flush()
        self._take(entry)

    def write_labels(self) -> None:
        """Bring the labels up to the journal. Raises OSError."""
        os.fsync(self._journal.fileno())
        self._layout.write_labels(self.root, self.rows)

    def check_room(self) -> None:
        """Raises OSError where the disk is as good as full."""
        free = shutil.disk_usage(self.root).free
        if free < LEAST_FREE_BYTES:
            raise OSError(None, f"only {free >> 20} MiB are free on its disk, {LEAST_FREE_BYTES >> 20} are needed")


def _check_folder(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise CollectionError(f"{root}: is a file; the data set needs a folder")
    if root.is_dir() and not (root / _DESCRIPTION).exists():
        # A kill between the first two files leaves an empty journal.
        others = [path.name for path in root.iterdir() if path.name not in (_JOURNAL, f".{_DESCRIPTION}.part")]
        if others or ((root / _JOURNAL).exists() and (root / _JOURNAL).stat().st_size):
            raise CollectionError(f"{root}: holds other files and no {_DESCRIPTION}; choose a new folder")


def _difference(before: Description, now: Description) -> str:
    """The first setting in which they differ, with the value of before; empty where they agree."""
    if before.layout != now.layout:
        return f"layout {before.layout}"
    old = msgspec.to_builtins(before.filters) | msgspec.to_builtins(before.crops) | before.options
    new = msgspec.to_builtins(now.filters) | msgspec.to_builtins(now.crops) | now.options
    for key in [*old, *new]:
        if old.get(key) != new.get(key):
            return f"{key} {old.get(key)}, not {new.get(key)}"
    return ""


def _row(face: LabelledCrop, path: str, group: str, set_name: str, time_s: float) -> FaceRow:
    x1, y1, x2, y2 = (round(float(value), 5) for value in face.box)
    scored = np.concatenate([face.keypoints, face.keypoint_scores[:, None]], axis=1)
    points = [(0.0, 0.0, 0.0) if point[2] <= 0 else tuple(round(float(value), 5) for value in point) for point in scored]
    return FaceRow(
        path=path,
        group=group,
        set=set_name,
        gray=face.is_gray,
        score=round(face.score, 4),
        box=(x1, y1, x2, y2),
        keypoints=tuple(points),  # type: ignore[arg-type]
        width_px=round(face.width_px, 1),
        brightness=round(face.brightness, 1),
        sharpness=round(face.sharpness, 4),
        time_s=round(time_s, 3),
    )


def _remembered(seen: Seen) -> _Remembered:
    x1, y1, x2, y2 = (float(value) for value in seen.place)
    return _Remembered(place=(x1, y1, x2, y2), signature=seen.signature.tobytes())

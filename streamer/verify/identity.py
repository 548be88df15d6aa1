"""Whether a recogniser still knows the person, and whether an anonymized person stays one and the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.detectors import RgbImage
from models.recognition import Recognizer
from streamer.demo_figures import portrait_names, read_portrait
from streamer.verify.footage import FramePair

Embedding = NDArray[np.float32]  # (D,)

SMALLEST_FACE_PX = 32
"""Narrower faces are not shown to the recogniser: it knows none of them."""
PORTRAIT_BOX = (0.21, 0.18, 0.79, 0.93)
"""Where the face is in every portrait of the demo, x1 y1 x2 y2 as parts of the picture."""
BLANK_GROWTH = 0.1
"""Growth of the box that is blacked out for comparison, on each side."""
SAMPLE_EVERY_S = 0.4
"""Between two pictures of a track: neighbouring frames say the same."""
MOST_SAMPLES = 16
"""Of one track."""


@dataclass(frozen=True, kw_only=True)
class TrackIdentity:
    """One person before and after; distances are those of the recogniser, nearer = more alike."""

    samples: int
    reidentified: float
    """Share of the pairs of an anonymized and an original picture that are taken for one person."""
    blank: float
    """The same share where the face is blacked out instead; to a recogniser some people are close to any black square."""
    distance: float
    """Mean over the pairs of an anonymized and an original picture."""
    original_spread: float | None
    """Mean distance between original pictures of the track; None where there is only one."""
    anonymized_spread: float | None
    """The same of the anonymized ones."""


@dataclass(frozen=True, kw_only=True)
class Chance:
    """Anonymized faces against people that they are surely not."""

    pairs: int
    reidentified: float
    distance: float


@dataclass(kw_only=True)
class _Samples:
    last_s: float
    frames: list[int] = field(default_factory=list)
    original: list[Embedding] = field(default_factory=list)
    anonymized: list[Embedding] = field(default_factory=list)
    blank: list[Embedding] = field(default_factory=list)


class IdentityMeter:
    """Shows faces of each track to a recogniser now and then."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self._samples: dict[int, _Samples] = {}
        self._strangers: list[Embedding] | None = None
        self._seen_together: set[tuple[int, int]] = set()

    def take(self, pair: FramePair, faces: Iterable[tuple[int, NDArray[np.float32]]]) -> None:
        """faces: the track and the box of each face of the frame that is looked at."""
        rows = list(faces)
        self._seen_together.update((min(a, b), max(a, b)) for (a, _), (b, _) in combinations(rows, 2))
        due = [(track, box) for track, box in rows if self._is_due(track, box, pair.time_s)]
        if not due:
            return
        original, anonymized = (np.ascontiguousarray(picture.rgb()) for picture in (pair.original, pair.anonymized))
        for track, box in due:
            pictures = [original, anonymized, _blacked_out(original, box)]
            before, after, blank = self.recognizer.embed(pictures, [original] * 3, [box] * 3)
            samples = self._samples.setdefault(track, _Samples(last_s=pair.time_s))
            samples.last_s = pair.time_s
            samples.original.append(before)
            samples.anonymized.append(after)
            samples.blank.append(blank)

    def of_track(self, track: int) -> TrackIdentity | None:
        """None where no face of the track was shown to the recogniser."""
        samples = self._samples.get(track)
        if samples is None:
            return None
        distances = _distances(samples.anonymized, samples.original)
        return TrackIdentity(
            samples=len(samples.original),
            reidentified=float((distances < self.recognizer.same_person).mean()),
            blank=float((_distances(samples.blank, samples.original) < self.recognizer.same_person).mean()),
            distance=float(distances.mean()),
            original_spread=_spread(samples.original),
            anonymized_spread=_spread(samples.anonymized),
        )

    def rates(self) -> tuple[float, float] | None:
        """`reidentified` and `blank`, means over the faces that were shown to the recogniser; None where there are none.

        So a track that is seen once, by a false detection, counts once.
        """
        known = [identity for track in self._samples if (identity := self.of_track(track))]
        if not known:
            return None
        rates = np.average([(one.reidentified, one.blank) for one in known], axis=0, weights=[one.samples for one in known])
        return float(rates[0]), float(rates[1])

    def mean_spread(self, which: Literal["original", "anonymized"]) -> float | None:
        """Mean over the tracks of the distance between pictures of one track; None where no track has two."""
        rows = [samples.original if which == "original" else samples.anonymized for samples in self._samples.values()]
        spreads = [_spread(embeddings) for embeddings in rows]
        known = [spread for spread in spreads if spread is not None]
        return float(np.mean(known)) if known else None

    def chance(self) -> Chance | None:
        """Anonymized faces against strangers and against people who are in the same frame; None where nothing was shown.

        A stranger whom the recogniser takes for the original is left out: the footage may show that very face.
        """
        found = [
            _distances(samples.anonymized, others).ravel()
            for track, samples in self._samples.items()
            if (others := [*self._strangers_to(samples), *self._company_of(track)])
        ]
        if not found:
            return None
        pairs = np.concatenate(found)
        return Chance(
            pairs=len(pairs), reidentified=float((pairs < self.recognizer.same_person).mean()), distance=float(pairs.mean())
        )

    def _strangers_to(self, samples: _Samples) -> list[Embedding]:
        same_person = self.recognizer.same_person
        if self._strangers is None:
            self._strangers = [_embed_portrait(self.recognizer, read_portrait(name)) for name in portrait_names()]
        return [other for other in self._strangers if not (_distances(samples.original, [other]) < same_person).any()]

    def _company_of(self, track: int) -> list[Embedding]:
        """Original pictures of those who are in the same frame at some time."""
        together = [
            samples for other, samples in self._samples.items() if (min(track, other), max(track, other)) in self._seen_together
        ]
        return [embedding for samples in together for embedding in samples.original]

    def _is_due(self, track: int, box: NDArray[np.float32], time_s: float) -> bool:
        samples = self._samples.get(track)
        if box[2] - box[0] < SMALLEST_FACE_PX:
            return False
        return samples is None or (len(samples.original) < MOST_SAMPLES and time_s - samples.last_s >= SAMPLE_EVERY_S)


def _blacked_out(picture: RgbImage, box: NDArray[np.float32]) -> RgbImage:
    """A copy without anything of the face."""
    across, down = BLANK_GROWTH * (box[2] - box[0]), BLANK_GROWTH * (box[3] - box[1])
    x1, y1 = max(0, int(box[0] - across)), max(0, int(box[1] - down))
    blank = picture.copy()
    blank[y1 : max(0, int(box[3] + down) + 1), x1 : max(0, int(box[2] + across) + 1)] = 0
    return blank


def _distances(some: list[Embedding], others: list[Embedding]) -> NDArray[np.float32]:
    """(some, others)"""
    return np.asarray(np.linalg.norm(np.stack(some)[:, None] - np.stack(others)[None], axis=2), np.float32)


def _spread(embeddings: list[Embedding]) -> float | None:
    if len(embeddings) < 2:
        return None
    return float(_distances(embeddings, embeddings)[np.triu_indices(len(embeddings), 1)].mean())


def _embed_portrait(recognizer: Recognizer, portrait: RgbImage) -> Embedding:
    box = np.array(PORTRAIT_BOX, np.float32) * np.tile(np.array(portrait.shape[1::-1], np.float32), 2)
    return np.asarray(recognizer.embed([portrait], [portrait], [box])[0])

"""All measures of all methods on the same faces.

EvaluationFace -> Method.hide -> HiddenFace -> detector, features, keypoints, recogniser -> MethodFigures
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.detectors import FaceDetector
from models.faces import KEYPOINT_NAMES, Faces
from models.recognition import AligningRecognizer, Embeddings, chance_of_a_match, identified, matches_of_strangers
from trainer.frechet import FeatureNetwork, Features, frechet_distance
from trainer.generator_metrics import (
    KeypointFigures,
    KeypointFinder,
    Spread,
    best_match,
    detector_keypoint_errors,
    distances_between,
    edge_step,
    figures_of,
    find_faces,
    keypoint_errors,
    keypoint_figures,
    pixel_spread,
)
from trainer.methods import ORIGINAL, EvaluationFace, HiddenFace, Method, generate
from trainer.painter import Painter

CHUNK = 16
"""Faces that are hidden and measured together."""

FOUND, KNOWN = "eyes found", "eyes known"
"""How a recogniser is told where a face is: it looks for eyes and nose in the original, or gets them from the labels."""

ALIGNING = [KEYPOINT_NAMES.index(name) for name in ("nose", "left_eye", "right_eye")]
OUTSIDE = 0.05
"""Labelled eyes further outside the box than this part of its longer side are somebody else's."""

Advance = Callable[[str, int], None]
"""Told what is measured now, and how many faces were."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Judges:
    """What looks at the faces; only the recogniser may be missing."""

    detector: FaceDetector
    features: Sequence[FeatureNetwork]
    find_keypoints: KeypointFinder
    recognizer: AligningRecognizer | None
    recognized_faces: int
    """So many of the faces are shown to the recogniser, which is slow."""
    knows_eyes: bool = False
    """The recogniser looks at each face twice: see FOUND and KNOWN."""

    @property
    def alignments(self) -> tuple[str, ...]:
        if self.recognizer is None:
            return ()
        return (FOUND, KNOWN) if self.knows_eyes else (FOUND,)


@dataclass(frozen=True, kw_only=True)
class Recognized:
    """What the recogniser says of a method's faces.

    own: share recognised as the original person. others: share of the pairs with the original of another person that are taken for
    one person, about what `own` is where nothing is left of the person; None without such a pair. distance: mean distance from the
    original. identified: share whose own original is the nearest of all people's; None with a single person.
    """

    faces: int
    own: float
    others: float | None
    distance: float
    identified: float | None


@dataclass(frozen=True, kw_only=True)
class Chance:
    """How often the recogniser takes two different people of the set for one. None where it has no pair."""

    match: float | None
    distance: float | None
    pairs: int


@dataclass(frozen=True, kw_only=True)
class MethodFigures:
    """A row of the report. None where something was not measured.

    detected: share of the faces found in the original that are found again. frechet: name of the features -> distance.
    keypoints: group -> agreement with the requested ones, as the keypoint network finds them. detector_keypoints: that of eyes and
    nose as the detector finds them. recognized: FOUND and, where it was asked for, KNOWN -> what the recogniser says. seam: mean
    step across the edge of what was replaced, as a part of that in the original.
    """

    method: str
    view: str
    detected: float | None
    frechet: Mapping[str, float]
    keypoints: Mapping[str, KeypointFigures]
    detector_keypoints: KeypointFigures
    recognized: Mapping[str, Recognized]
    seam: float | None


@dataclass(kw_only=True, eq=False)
class _Findings:
    """What is collected of one method while its faces go by."""

    is_found: list[bool] = field(default_factory=list)
    errors: list[NDArray[np.float32]] = field(default_factory=list)
    detector_errors: list[NDArray[np.float32]] = field(default_factory=list)
    steps: list[tuple[float, float]] = field(default_factory=list)
    embeddings: dict[str, list[Embeddings]] = field(default_factory=dict)
    features: dict[str, list[Features]] = field(default_factory=dict)


class Evaluation:
    """The faces as they are, against which every method is measured."""

    def __init__(self, faces: Sequence[EvaluationFace], judges: Judges, advance: Advance) -> None:
        self._faces = faces
        self._judges = judges
        self._advance = advance
        self._original_boxes: list[NDArray[np.float32] | None] = []
        self._original_embeddings: dict[str, list[Embeddings]] = {}
        self._real_features: dict[tuple[str, str], list[Features]] = {}
        """(view, name of the features) -> features of the originals, chunk by chunk."""
        for chunk in _chunks(faces):
            matches = [best_match(find_faces(judges.detector, face.picture), face.box) for face in chunk]
            self._original_boxes += [None if match is None else match.boxes[0] for match in matches]
            advance(ORIGINAL, len(chunk))
        if judges.recognizer is not None:
            for chunk in _chunks(self._recognized):
                self._recognize(chunk, [face.picture for face in chunk], self._original_embeddings)
                advance("recognising originals", len(chunk))

    @staticmethod
    def work(faces: int, recognized: int, methods: int, spread_faces: int) -> int:
        """How many faces will have been reported to `advance` in the end."""
        return (methods + 1) * (faces + recognized) + spread_faces

    @property
    def _recognized(self) -> Sequence[EvaluationFace]:
        return self._faces[: self._judges.recognized_faces] if self._judges.recognizer is not None else ()

    @property
    def found_in_original(self) -> int:
        """Faces that count for the detection rate."""
        return sum(box is not None for box in self._original_boxes)

    def chance(self) -> dict[str, Chance]:
        """How often two different people of the set are taken for one, for each alignment."""
        chances = {}
        for alignment in self._judges.alignments:
            assert self._judges.recognizer is not None
            rows = np.concatenate(self._original_embeddings[alignment])
            groups = [face.group for face in _recognizable(self._recognized, alignment)]
            match, distance, pairs = chance_of_a_match(rows, groups, self._judges.recognizer.same_person)
            chances[alignment] = Chance(match=match, distance=distance, pairs=pairs)
        return chances

    def measure(self, method: Method) -> MethodFigures:
        """Hide all faces by one method and look at them."""
        findings = _Findings(features={network.name: [] for network in self._judges.features})
        must_see_originals = (method.view, self._judges.features[0].name) not in self._real_features
        boxes, done = iter(self._original_boxes), 0
        for chunk in _chunks(self._faces):
            hidden = method.hide(chunk)
            self._look_at(chunk, hidden, boxes, findings)
            if must_see_originals:
                self._see_originals(method.view, hidden)
            self._advance(f"{method.name}, {method.view}", len(chunk))
            recognized = self._recognized[done : done + len(chunk)]
            if recognized:
                self._recognize(recognized, [each.picture for each in hidden[: len(recognized)]], findings.embeddings)
                self._advance(f"{method.name}, {method.view}", len(recognized))
            done += len(chunk)
        return self._summed_up(method, findings)

    def _look_at(
        self,
        chunk: Sequence[EvaluationFace],
        hidden: Sequence[HiddenFace],
        original_boxes: Iterator[NDArray[np.float32] | None],
        findings: _Findings,
    ) -> None:
        judges = self._judges
        matches: list[Faces | None] = []
        for face, result in zip(chunk, hidden, strict=True):
            box = next(original_boxes)
            matches.append(best_match(find_faces(judges.detector, result.picture), face.box if box is None else box))
            if box is not None:
                findings.is_found.append(matches[-1] is not None)
            findings.steps.append((edge_step(result.picture, result.replaced), edge_step(face.picture, result.replaced)))
        findings.errors.append(keypoint_errors(chunk, hidden, judges.find_keypoints))
        findings.detector_errors.append(detector_keypoint_errors(chunk, matches))
        for network in judges.features:
            findings.features[network.name].append(network.look_at([result.crop for result in hidden]))

    def _see_originals(self, view: str, hidden: Sequence[HiddenFace]) -> None:
        for network in self._judges.features:
            features = network.look_at([result.real_crop for result in hidden])
            self._real_features.setdefault((view, network.name), []).append(features)

    def _summed_up(self, method: Method, findings: _Findings) -> MethodFigures:
        after, before = np.mean(findings.steps, axis=0)
        return MethodFigures(
            method=method.name,
            view=method.view,
            detected=float(np.mean(findings.is_found)) if findings.is_found else None,
            frechet={
                name: frechet_distance(np.concatenate(self._real_features[method.view, name]), np.concatenate(fake))
                for name, fake in findings.features.items()
            },
            keypoints=keypoint_figures(np.concatenate(findings.errors)),
            detector_keypoints=figures_of(np.concatenate(findings.detector_errors)),
            recognized={alignment: self._recognized_by(findings, alignment) for alignment in self._judges.alignments},
            seam=float(after / before) if before > 0 else None,
        )

    def _recognized_by(self, findings: _Findings, alignment: str) -> Recognized:
        assert self._judges.recognizer is not None
        same_person = self._judges.recognizer.same_person
        embeddings = np.concatenate(findings.embeddings[alignment])
        originals = np.concatenate(self._original_embeddings[alignment])
        distances = np.linalg.norm(embeddings - originals, axis=1)
        groups = [face.group for face in _recognizable(self._recognized, alignment)]
        return Recognized(
            faces=len(distances),
            own=float((distances < same_person).mean()),
            others=matches_of_strangers(embeddings, originals, groups, same_person),
            distance=float(distances.mean()),
            identified=identified(embeddings, originals, groups),
        )

    def spread(self, painter: Painter, seed: int, *, faces: int, draws: int) -> Spread:
        """How different the faces are that different noise gives, on the first so many faces."""
        network, recognizer = self._judges.features[0], self._judges.recognizer
        chosen = self._faces[:faces]
        pixels: list[float] = []
        features: list[float] = []
        embeddings: list[float] = []
        originals = [network.look_at([face.real_crop() for face in chunk]) for chunk in _chunks(chosen)]
        for face in chosen:
            hidden = [generate([face], painter, seed, draw)[0] for draw in range(draws)]
            pixels.append(pixel_spread(face, [each.picture for each in hidden]))
            features += distances_between(network.look_at([each.crop for each in hidden]))
            if recognizer is not None and len(pixels) <= len(self._recognized):
                embeddings += distances_between(self._embed([face] * draws, [each.picture for each in hidden]))
            self._advance("diversity", 1)
        unlike = float(np.mean(distances_between(np.concatenate(originals))))
        is_other = None if recognizer is None else np.array(embeddings) >= recognizer.same_person
        return Spread(
            faces=len(chosen),
            draws=draws,
            pixel_levels=float(np.mean(pixels)),
            features=float(np.mean(features)) / unlike if unlike > 0 else 0.0,
            embeddings=float(np.mean(embeddings)) if embeddings else None,
            other_person=None if is_other is None else float(is_other.mean()),
        )

    def _recognize(
        self, faces: Sequence[EvaluationFace], pictures: Sequence[NDArray[np.uint8]], into: dict[str, list[Embeddings]]
    ) -> None:
        """Add the descriptors of a chunk for each alignment."""
        assert self._judges.recognizer is not None
        for alignment in self._judges.alignments:
            if alignment == FOUND:
                rows = self._embed(faces, pictures)
            else:
                pairs = [(face, picture) for face, picture in zip(faces, pictures, strict=True) if has_eyes(face)]
                if not pairs:
                    continue
                rows = self._judges.recognizer.embed_at(
                    [picture for _, picture in pairs], [face.keypoints_px() for face, _ in pairs]
                )
            into.setdefault(alignment, []).append(rows)

    def _embed(self, faces: Sequence[EvaluationFace], pictures: Sequence[NDArray[np.uint8]]) -> Embeddings:
        assert self._judges.recognizer is not None
        return self._judges.recognizer.embed(pictures, [face.picture for face in faces], [face.box for face in faces])


def has_eyes(face: EvaluationFace) -> bool:
    """Whether nose and both eyes are labelled, and as those of the face in the box."""
    points = face.keypoints_px()[ALIGNING]
    reach = OUTSIDE * face.longer_side
    return bool(((points >= face.box[:2] - reach) & (points <= face.box[2:] + reach)).all())


def _recognizable(faces: Sequence[EvaluationFace], alignment: str) -> Sequence[EvaluationFace]:
    return faces if alignment == FOUND else [face for face in faces if has_eyes(face)]


def _chunks(faces: Sequence[EvaluationFace]) -> Iterator[Sequence[EvaluationFace]]:
    for start in range(0, len(faces), CHUNK):
        yield faces[start : start + CHUNK]

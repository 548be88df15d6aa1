"""Keypoint estimators keep the faces that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from models.detectors import image_render
from models.faces import Faces
from models.keypoints import KEYPOINT_ESTIMATORS, open_keypoint_estimator


@pytest.mark.parametrize("name", KEYPOINT_ESTIMATORS)
def test_boxes_and_scores_are_untouched(name: str) -> None:
    faces = Faces(boxes=np.array([[10, 20, 60, 80], [0, 0, 5, 5]], np.float32), scores=np.array([0.9, 0.3], np.float32))
    estimated = open_keypoint_estimator(name).estimate(image_render(np.zeros((100, 100, 3), np.uint8)), (100, 100), faces)
    assert estimated.boxes.tobytes() == faces.boxes.tobytes()
    assert estimated.scores.tobytes() == faces.scores.tobytes()


def test_an_unknown_estimator_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown keypoint estimator 'mesh', use one of: network, detector"):
        open_keypoint_estimator("mesh")

"""The detector finds faces where they are, once each, at every size that it promises."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from models.detectors import RgbImage, image_render, open_detector

FACES = sorted((Path(__file__).parents[2] / "streamer" / "demo_faces").glob("*.jpg"))


def read_rgb(path: Path) -> RgbImage:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def test_a_close_up_is_found_once() -> None:
    picture = read_rgb(FACES[0])
    faces = open_detector("centerface").detect(image_render(picture), (512, 512))
    assert len(faces) == 1

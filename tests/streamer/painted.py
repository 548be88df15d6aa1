"""What tests of the filter gan share: the generator that ships, portraits of nobody, and keypoints where they usually are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import streamer
from models.detectors import CenterFaceDetector, image_render
from models.face_generator import open_generator
from models.faces import Faces
from models.keypoints import NetworkKeypoints
from streamer.config import FilterSettings
from streamer.hiding import KnownFaces, PhotoHider
from streamer.pictures import PIXEL_FORMATS, ColorTags, PictureLayout, Plane

FACES = sorted((Path(streamer.__file__).parent / "demo_faces").glob("*.jpg"))
GENERATOR = open_generator()
SIZE = (320, 240)


def gan(**changes: Any) -> FilterSettings:
    return FilterSettings(name="gan", **{"identity_seed": 1, **changes})


def layout_of(pixel_format: str, **color: int) -> PictureLayout:
    return PictureLayout(width=SIZE[0], height=SIZE[1], pixel_format=pixel_format, color=ColorTags(**color))


def noise(layout: PictureLayout, seed: int) -> tuple[Plane, ...]:
    planes = layout.planes(np.zeros(layout.nbytes, np.uint8))
    rng = np.random.default_rng(seed)
    for plane in planes:
        plane[:] = rng.integers(0, 1 << PIXEL_FORMATS[layout.pixel_format].bits, plane.shape)
    return planes


def known(
    boxes: NDArray[np.float32], *, tracks: Sequence[int] | None = None, score: float = 1.0, best_score: float = 0.9
) -> KnownFaces:
    """Keypoints where they usually are in a box."""
    places = np.array([[0.5, 0.6], [0.68, 0.4], [0.32, 0.4], [0.95, 0.45], [0.05, 0.45], [1.2, 1.3], [-0.2, 1.3]], np.float32)
    keypoints = boxes[:, None, :2] + places * (boxes[:, None, 2:] - boxes[:, None, :2])
    scores = np.full((len(boxes), 7), score, np.float32)
    return KnownFaces(
        tracks=np.array(tracks if tracks is not None else range(1, len(boxes) + 1)),
        best_scores=np.full(len(boxes), best_score, np.float32),
        keypoints=keypoints,
        keypoint_scores=scores,
    )


class Portrait:
    """A face of nobody, found by the detectors that ship."""

    def __init__(self, path: Path) -> None:
        self.image = cv2.cvtColor(cv2.resize(cv2.imread(str(path)), (480, 480)), cv2.COLOR_BGR2RGB)
        render = image_render(self.image)
        found = CenterFaceDetector(threshold=0.4).detect(render, (480, 480))
        self.faces: Faces = NetworkKeypoints().estimate(render, (480, 480), found)

    def known(self, track: int = 1) -> KnownFaces:
        return KnownFaces(
            tracks=np.array([track] * len(self.faces)),
            best_scores=self.faces.scores,
            keypoints=self.faces.keypoints,
            keypoint_scores=self.faces.keypoint_scores,
        )

    def painted(self, setting: FilterSettings, track: int = 1) -> NDArray[np.uint8]:
        safe, fallbacks = PhotoHider(setting).hide_rgb(self.image, self.faces.boxes, self.known(track))
        assert fallbacks == {}
        return safe.astype(np.uint8)

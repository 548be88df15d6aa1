"""Face detectors: a protocol and the table of implementations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from models.backends import open_backend
from models.faces import KEYPOINT_NAMES, Boxes, Faces, Scores, no_faces

RgbImage = NDArray[np.uint8]  # (height, width, 3): R G B, full range
Maps = NDArray[np.float32]  # (15, rows, columns): see models/centerface.py, MAP_CHANNELS

Region = tuple[int, int, int, int]  # x1 y1 x2 y2, pixels, inside the frame
Size = tuple[int, int]  # width, height, pixels
DetectorSize = Literal["default", "full"] | int
"""default finds faces from 20 px width at 720p, full from 12 px; a number is the longer side of the working size in pixels."""


class Render(Protocol):
    """Gives a part of a frame as RGB at a wanted size, so that a detector never needs the whole frame converted."""

    def __call__(self, region: Region, size: Size) -> RgbImage:
        """Returns (height, width, 3) of `size`; anti-aliased where it shrinks."""
        ...


class FaceDetector(Protocol):
    """Finds the faces of one frame. Stateless: the answer depends on nothing but the arguments."""

    def detect(self, render: Render, frame_size: Size, *, is_thorough: bool = True) -> Faces:
        """Faces in pixels of the frame, best first.

        is_thorough: run every pass. False runs only the passes meant for each frame of a video, whose thorough frames lie
        close enough together that tracking makes up for the rest.
        """
        ...


def image_render(image: RgbImage) -> Render:
    """A Render of a picture that is RGB already."""

    def render(region: Region, size: Size) -> RgbImage:
        x1, y1, x2, y2 = region
        part = image[y1:y2, x1:x2]
        is_shrunk = size[0] <= x2 - x1 and size[1] <= y2 - y1
        return cv2.resize(part, size, interpolation=cv2.INTER_AREA if is_shrunk else cv2.INTER_LINEAR).astype(np.uint8, copy=False)

    return render


def suppress_overlaps(boxes: Boxes, scores: Scores, max_overlap: float) -> NDArray[np.intp]:
    """Rows to keep, best first, so that no two kept boxes overlap by more than `max_overlap` (intersection over union)."""
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        widths = np.minimum(boxes[best, 2], boxes[rest, 2]) - np.maximum(boxes[best, 0], boxes[rest, 0])
        heights = np.minimum(boxes[best, 3], boxes[rest, 3]) - np.maximum(boxes[best, 1], boxes[rest, 1])
        shared = np.maximum(widths, 0) * np.maximum(heights, 0)
        order = rest[shared <= max_overlap * (areas[best] + areas[rest] - shared)]
    return np.array(kept, np.intp)


class Pass(NamedTuple):
    """One run of the network: a part of the frame, and the size at which the network sees it."""

    region: Region
    size: Size


MULTIPLE = 32
MAX_OVERLAP = 0.3
WORKING_SIDES = {"default": 640, "full": 1280}
CLOSE_UP_SIDE = 192


def fit(frame_size: Size, longer_side: int) -> Size:
    """The size nearest to that of the frame scaled to `longer_side` that the network takes."""
    scale = longer_side / max(frame_size)
    width, height = (max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in frame_size)
    return width, height


class CenterFaceDetector:
    """CenterFace at a working size, and on thorough frames once more at a small size that shows faces which fill the frame."""

    def __init__(self, *, size: DetectorSize = "default", threshold: float = 0.3, threads: int = 1, backend: str = "cpu") -> None:
        self._longer_side = size if isinstance(size, int) else WORKING_SIDES[size]
        self._least_logit = float(np.log(threshold / (1 - threshold)))
        self._network = open_backend(backend, "centerface.onnx", threads=threads)

    def passes(self, frame_size: Size, *, is_thorough: bool) -> tuple[Pass, ...]:
        """What the network is run on for a frame of this size."""
        whole = (0, 0, *frame_size)
        sizes = [fit(frame_size, self._longer_side)]
        if is_thorough:
            sizes.append(fit(frame_size, CLOSE_UP_SIDE))
        return tuple(Pass(whole, size) for size in sizes)

    def detect(self, render: Render, frame_size: Size, *, is_thorough: bool = True) -> Faces:
        found = [self._run(render, run) for run in self.passes(frame_size, is_thorough=is_thorough)]
        boxes = np.concatenate([faces.boxes for faces in found])
        scores = np.concatenate([faces.scores for faces in found])
        if not len(scores):
            return no_faces()
        rows = suppress_overlaps(boxes, scores, MAX_OVERLAP)
        keypoints = np.concatenate([faces.keypoints for faces in found])
        keypoint_scores = np.concatenate([faces.keypoint_scores for faces in found])
        return Faces(boxes=boxes, scores=scores, keypoints=keypoints, keypoint_scores=keypoint_scores)[rows]

    def _run(self, render: Render, run: Pass) -> Faces:
        picture = render(run.region, run.size)
        maps: Maps = self._network.run([picture[None]])[0][0]
        faces = decode(maps, self._least_logit)
        x1, y1, x2, y2 = run.region
        scale = np.array([(x2 - x1) / run.size[0], (y2 - y1) / run.size[1]], np.float32)
        origin = np.array([x1, y1], np.float32)
        return Faces(
            boxes=faces.boxes * np.tile(scale, 2) + np.tile(origin, 2),
            scores=faces.scores,
            keypoints=faces.keypoints * scale + origin,
            keypoint_scores=faces.keypoint_scores,
        )


STRIDE = 4
LANDMARK_ROWS = [KEYPOINT_NAMES.index(name) for name in ("right_eye", "left_eye", "nose")]
"""The network's first three landmarks from left to right of a frontal face, whose right eye is on the picture's left."""


def decode(maps: Maps, least_logit: float) -> Faces:
    """Faces in pixels of the network's input, in the order of the map's cells, duplicates included."""
    rows, columns = np.nonzero(maps[0] > least_logit)
    logits, log_height, log_width, offset_y, offset_x, *landmarks = maps[:, rows, columns]
    size = np.exp(np.minimum(np.stack([log_width, log_height], 1), 8)) * STRIDE
    corner = (np.stack([columns + offset_x, rows + offset_y], 1) + 0.5) * STRIDE - size / 2
    points = np.stack(landmarks, 1).reshape(-1, 5, 2)[:, :3, ::-1] * size[:, None] + corner[:, None]
    scores = 1 / (1 + np.exp(-logits))
    keypoints = np.zeros((len(rows), len(KEYPOINT_NAMES), 2), np.float32)
    keypoint_scores = np.zeros((len(rows), len(KEYPOINT_NAMES)), np.float32)
    keypoints[:, LANDMARK_ROWS] = points
    keypoint_scores[:, LANDMARK_ROWS] = scores[:, None]
    boxes = np.concatenate([corner, corner + size], 1)
    return Faces(boxes=boxes, scores=scores, keypoints=keypoints, keypoint_scores=keypoint_scores)


DETECTORS: dict[str, Callable[..., FaceDetector]] = {"centerface": CenterFaceDetector}


def open_detector(name: str, size: DetectorSize = "default", threshold: float = 0.3, threads: int = 1) -> FaceDetector:
    """Open a row of DETECTORS. Raises ValueError for an unknown name and WeightsError if its weights cannot be used."""
    if name not in DETECTORS:
        raise ValueError(f"unknown detector {name!r}, use one of: {', '.join(DETECTORS)}")
    return DETECTORS[name](size=size, threshold=threshold, threads=threads)

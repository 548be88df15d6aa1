"""Face detectors: a protocol and the table of implementations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from models.backends import open_backend
from models.faces import KEYPOINT_NAMES, Boxes, Faces, Scores, concatenate

RgbImage = NDArray[np.uint8]  # (height, width, 3): R G B, full range
Maps = NDArray[np.float32]  # (15, rows, columns): see models/centerface.py, MAP_CHANNELS

Region = tuple[int, int, int, int]  # x1 y1 x2 y2, pixels, inside the frame
Size = tuple[int, int]  # width, height, pixels
DetectorSize = Literal["default", "full"] | int
"""default finds faces from 20 px width at 720p, full from 12 px; a number is the longer side of the working size in pixels."""
Effort = Literal["thorough", "careful", "quick"]
"""What a detector does for a frame: every pass; only that for faces of any size; or one that is sure of those not small alone."""
DEFAULT_THRESHOLD = 0.2
"""Finds as much as the network can at about three right answers in four; see BENCHMARKS.md."""


class Render(Protocol):
    """Gives a part of a frame as RGB at a wanted size, so that a detector never needs the whole frame converted."""

    def __call__(self, region: Region, size: Size) -> RgbImage:
        """Returns (height, width, 3) of `size`; anti-aliased where it shrinks."""
        ...


class FaceDetector(Protocol):
    """Finds the faces of one frame. Stateless: the answer depends on nothing but the arguments."""

    def detect(self, render: Render, frame_size: Size, *, effort: Effort = "thorough") -> Faces:
        """Faces in pixels of the frame, best first.

        effort: less than thorough is meant for the frames of a video between thorough ones that lie so close together that tracking
        makes up for the rest, and quick only for those where `has_small_faces` is false of the thorough ones around.
        """
        ...


def image_render(image: RgbImage) -> Render:
    """A Render of a picture that is RGB already."""

    def render(region: Region, size: Size) -> RgbImage:
        x1, y1, x2, y2 = region
        return resize(image[y1:y2, x1:x2], size)

    return render


def resize(image: RgbImage, size: Size) -> RgbImage:
    """The image at a size, averaged over whole pixels where it shrinks by two or more, which is fast, and bilinear for the rest."""
    height, width = image.shape[:2]
    factor = min(width // size[0], height // size[1])
    if factor > 1:
        image = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


SIZE_MULTIPLE = 32
"""Width and height of the network's input are multiples of this."""
STRIDE = 4
"""Pixels of the input behind one cell of the maps."""
MAX_OVERLAP = 0.3
WORKING_SIDES: dict[str, dict[Effort, int]] = {
    "default": {"thorough": 640, "careful": 576, "quick": 320},
    "full": {"thorough": 1280, "careful": 1280, "quick": 640},
}
"""Longer side of the working size. A face of 20 pixels (24 where careful; 12 at full) in 1280 comes to 10 or more, from where the
network sees it. Small frames are enlarged to it and large ones reduced: what counts is the face's share of the frame."""
SMALL_FACE = 0.056
"""Size of a face by the longer side of the frame under which it is small: 72 pixels in 1280, 18 in a quick pass by default, from
where that finds all of 16 faces in nine places of a busy frame; at 48 pixels it finds six of ten."""
QUICK_ERROR_PX, QUICK_ERROR = 2.0, 0.03
"""Boxes of a quick pass are grown by so many pixels of its working size and this part of their own, on each side: as much as they
are less exact than those of a careful one."""
MAX_ENLARGEMENT = 4
CLOSE_UP_SIZE, CLOSE_UP_BORDER = (84, 64), (22, 16)
"""The pass for faces that fill the frame: shrunk to this, in a grey border so that the network sees around them."""
LEAST_CLOSE_UP = 0.5
"""Part of the frame's width or height from which a face of the close-up pass counts; smaller ones are the other pass's."""
CONTAINED = 0.9
"""Part of a box from which it is taken as a fragment of a better close-up."""
SURE_CLOSE_UP = 0.5
"""Score from which a close-up takes in fragments of its face, even such as score better: of a face that is too large for it the
other pass finds several parts, each with the eyes and the nose of the whole."""
FRAGMENT, SAME_LANDMARKS = 0.6, 0.2
"""A fragment has less than this part of the close-up's area, and its eyes and nose are, on average, no further from the close-up's
than this part of the close-up's width."""
GREY = 114


def working_size(frame_size: Size, longer_side: int) -> Size:
    """The input of the network nearest to the frame scaled to `longer_side`, or to MAX_ENLARGEMENT times its own size."""
    scale = min(longer_side / max(frame_size), MAX_ENLARGEMENT)
    width, height = (max(SIZE_MULTIPLE, round(side * scale / SIZE_MULTIPLE) * SIZE_MULTIPLE) for side in frame_size)
    return width, height


def network_sizes(frame_size: Size, size: DetectorSize = "default") -> list[Size]:
    """Every size at which the network is run for frames of a size, largest first."""
    sides = (size,) if isinstance(size, int) else sorted(set(WORKING_SIDES[size].values()))
    close_up = _upright(CLOSE_UP_SIZE, frame_size), _upright(CLOSE_UP_BORDER, frame_size)
    bordered = close_up[0][0] + 2 * close_up[1][0], close_up[0][1] + 2 * close_up[1][1]
    return sorted({bordered, *(working_size(frame_size, side) for side in sides)}, reverse=True)


def _upright(size: Size, frame_size: Size) -> Size:
    """Turned where the frame is higher than wide."""
    return size if frame_size[0] >= frame_size[1] else (size[1], size[0])


def has_small_faces(boxes: Boxes, frame_size: Size) -> bool:
    """Whether there are faces that a quick pass might miss. boxes: (faces, 4), pixels of the frame."""
    return bool((box_areas(boxes) < (SMALL_FACE * max(frame_size)) ** 2).any())


class CenterFaceDetector:
    """CenterFace at a working size, and but on quick looks once more at a very small one for faces that fill the frame.

    size: see DetectorSize. threshold: least score, between 0 and 1.
    Raises ValueError for a threshold outside and WeightsError if the weights cannot be used.
    """

    def __init__(
        self, *, size: DetectorSize = "default", threshold: float = DEFAULT_THRESHOLD, threads: int = 1, backend: str = "cpu"
    ) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be above 0 and below 1, is {threshold}")
        self._sides = dict.fromkeys(WORKING_SIDES["default"], size) if isinstance(size, int) else WORKING_SIDES[size]
        self._threshold = threshold
        self._network = open_backend(backend, "centerface.onnx", threads=threads)

    def detect(self, render: Render, frame_size: Size, *, effort: Effort = "thorough") -> Faces:
        size = working_size(frame_size, self._sides[effort])
        picture = render((0, 0, *frame_size), size)
        faces = self._find(picture, frame_size, self._threshold)
        if effort != "quick":
            return merge(faces, self._find_close_ups(picture, frame_size), self._threshold)
        if self._sides[effort] < self._sides["careful"]:
            return replace(faces, boxes=_grown(faces.boxes, QUICK_ERROR_PX * max(frame_size) / max(size), QUICK_ERROR))
        return faces

    def _find_close_ups(self, picture: RgbImage, frame_size: Size) -> Faces:
        across, down = _upright(CLOSE_UP_BORDER, frame_size)
        shrunk = resize(picture, _upright(CLOSE_UP_SIZE, frame_size))
        grey = (GREY, GREY, GREY)
        bordered = cv2.copyMakeBorder(shrunk, down, down, across, across, cv2.BORDER_CONSTANT, value=grey)
        # Whatever the threshold, those that take in fragments are needed.
        least = min(self._threshold, SURE_CLOSE_UP)
        faces = self._find(bordered.astype(np.uint8, copy=False), frame_size, least, border=(across, down))
        sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]) / np.array(frame_size, np.float32)
        return faces[sides.max(axis=1) >= LEAST_CLOSE_UP]

    def _find(self, picture: RgbImage, frame_size: Size, threshold: float, border: Size = (0, 0)) -> Faces:
        """Faces in pixels of the frame, of which `picture` shows all inside `border`; best first, each once."""
        maps: Maps = self._network.run([picture[None]])[0][0]
        if not np.isfinite(maps).all():
            raise FloatingPointError("the detector's network answered with numbers that are not finite")
        faces = decode(maps, float(np.log(threshold / (1 - threshold))))
        faces = faces[suppress_overlaps(faces.boxes, faces.scores, MAX_OVERLAP)]
        origin = np.array(border, np.float32)
        scale = np.array(frame_size, np.float32) / (np.array(picture.shape[1::-1], np.float32) - 2 * origin)
        return Faces(
            boxes=(faces.boxes - np.tile(origin, 2)) * np.tile(scale, 2),
            scores=faces.scores,
            keypoints=(faces.keypoints - origin) * scale,
            keypoint_scores=faces.keypoint_scores,
        )


LANDMARK_ROWS = [KEYPOINT_NAMES.index(name) for name in ("right_eye", "left_eye", "nose")]
"""The network's first three landmarks: of a frontal face from left to right, where a person's right eye is on the left."""
LOG_CELLS = (-3.0, 8.0)
"""Bounds on the logarithm of a box's side in cells, so that no answer of the network makes an empty or endless box."""


def decode(maps: Maps, least_logit: float) -> Faces:
    """Faces in pixels of the network's input, a face for each cell whose heatmap exceeds `least_logit`."""
    rows, columns = np.nonzero(maps[0] > least_logit)
    logits, log_height, log_width, offset_y, offset_x, *landmarks = maps[:, rows, columns]
    size = np.exp(np.clip(np.stack([log_width, log_height], 1), *LOG_CELLS)) * STRIDE
    corner = (np.stack([columns + offset_x, rows + offset_y], 1) + 0.5) * STRIDE - size / 2
    points = np.stack(landmarks, 1).reshape(-1, 5, 2)[:, :3, ::-1] * size[:, None] + corner[:, None]
    scores = 1 / (1 + np.exp(-logits))
    keypoints = np.zeros((len(rows), len(KEYPOINT_NAMES), 2), np.float32)
    keypoint_scores = np.zeros((len(rows), len(KEYPOINT_NAMES)), np.float32)
    keypoints[:, LANDMARK_ROWS] = points
    keypoint_scores[:, LANDMARK_ROWS] = scores[:, None]
    boxes = np.concatenate([corner, corner + size], 1)
    return Faces(boxes=boxes, scores=scores, keypoints=keypoints, keypoint_scores=keypoint_scores)


def suppress_overlaps(boxes: Boxes, scores: Scores, max_overlap: float) -> NDArray[np.intp]:
    """Rows to keep, best first, so that no two kept boxes overlap by more than `max_overlap` (intersection over union)."""
    areas = box_areas(boxes)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        shared = shared_areas(boxes[best], boxes[rest])
        order = rest[shared <= max_overlap * (areas[best] + areas[rest] - shared)]
    return np.array(kept, np.intp)


def merge(faces: Faces, close_ups: Faces, threshold: float = 0.0) -> Faces:
    """Both, best first, each face once: of overlapping ones the better stays, and no fragment of a better close-up.

    Sure close-ups take in fragments that are better than themselves, and stay for it whatever their own score; others need one
    above the threshold. A face is dropped only for a better one or for its close-up, so that raising the threshold never adds
    a face.
    """
    is_rest, whole = take_in_fragments(faces, close_ups)
    for box, score in zip(close_ups.boxes, close_ups.scores, strict=True):
        is_rest &= (shared_areas(box, faces.boxes) < CONTAINED * box_areas(faces.boxes)) | (faces.scores >= score)
    rest, has_more = faces[is_rest], whole.scores > close_ups.scores
    is_wanted = has_more | (close_ups.scores > threshold)
    # By its own score, so that what it has taken in does not make it stronger against other people's faces.
    both = concatenate(rest, close_ups[is_wanted])
    stays = np.concatenate([np.zeros(len(rest), np.bool_), has_more[is_wanted]])
    stays[suppress_overlaps(both.boxes, both.scores, MAX_OVERLAP)] = True
    result = concatenate(rest, whole[is_wanted])[stays]
    return result[np.argsort(-result.scores, kind="stable")]


def take_in_fragments(faces: Faces, close_ups: Faces) -> tuple[NDArray[np.bool_], Faces]:
    """Which faces are no fragment of a sure close-up that scores less, and the close-ups, grown over their fragments and with the
    best score of both.

    Two people never have eyes and nose in the same places, so that no face is lost before or behind another.
    """
    boxes, scores = close_ups.boxes.copy(), close_ups.scores.copy()
    is_rest = np.ones(len(faces), np.bool_)
    for row in np.flatnonzero(close_ups.scores >= SURE_CLOSE_UP):
        distances = np.linalg.norm(faces.keypoints[:, LANDMARK_ROWS] - close_ups.keypoints[row, LANDMARK_ROWS], axis=2)
        is_same = distances.mean(axis=1) <= SAME_LANDMARKS * (close_ups.boxes[row, 2] - close_ups.boxes[row, 0])
        is_same &= (faces.keypoint_scores[:, LANDMARK_ROWS] > 0).all(axis=1)
        is_small = box_areas(faces.boxes) < FRAGMENT * box_areas(close_ups.boxes)[row]
        taken = is_rest & is_same & is_small & (faces.scores > close_ups.scores[row])
        if taken.any():
            boxes[row, :2] = np.minimum(boxes[row, :2], faces.boxes[taken, :2].min(axis=0))
            boxes[row, 2:] = np.maximum(boxes[row, 2:], faces.boxes[taken, 2:].max(axis=0))
            scores[row] = faces.scores[taken].max()
        is_rest &= ~taken
    return is_rest, replace(close_ups, boxes=boxes, scores=scores)


def _grown(boxes: Boxes, by_px: float, by_part: float) -> Boxes:
    """Each box with its sides moved outwards by pixels and by a part of its width or height."""
    margin = np.float32(by_px) + np.float32(by_part) * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)


def box_areas(boxes: Boxes) -> NDArray[np.float32]:
    """Of each box, square pixels, (faces,)."""
    areas: NDArray[np.float32] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def shared_areas(box: NDArray[np.float32], boxes: Boxes) -> NDArray[np.float32]:
    """Square pixels that one box, (4,), shares with each of the others, (faces,)."""
    widths = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0])
    heights = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1])
    shared: NDArray[np.float32] = np.maximum(widths, 0) * np.maximum(heights, 0)
    return shared


DETECTORS: dict[str, Callable[..., FaceDetector]] = {"centerface": CenterFaceDetector}


def open_detector(
    name: str, size: DetectorSize = "default", threshold: float = DEFAULT_THRESHOLD, threads: int = 1, backend: str = "cpu"
) -> FaceDetector:
    """Open a row of DETECTORS.

    Raises ValueError for an unknown name, BackendError for a backend that is not usable, WeightsError if weights cannot be used.
    """
    if name not in DETECTORS:
        raise ValueError(f"unknown detector {name!r}, use one of: {', '.join(DETECTORS)}")
    return DETECTORS[name](size=size, threshold=threshold, threads=threads, backend=backend)

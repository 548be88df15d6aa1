"""The faces of one frame as parallel arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]  # (faces, 4): x1 y1 x2 y2, pixels, x2 and y2 exclusive
Scores = NDArray[np.float32]  # (faces,): 0 to 1
Keypoints = NDArray[np.float32]  # (faces, 7, 2): x y, pixels
KeypointScores = NDArray[np.float32]  # (faces, 7): 0 to 1, 0 = absent

KEYPOINT_NAMES = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
)
"""Order of the seven keypoints (COCO 0 to 6); left is the person's own left."""


def _no_keypoints() -> Keypoints:
    return np.zeros((0, len(KEYPOINT_NAMES), 2), np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Faces:
    """Detected faces: row i of every array describes face i.

    boxes: (faces, 4), pixels of the frame; may reach over its border, never empty or non-finite.
    scores: (faces,), the detector's confidence.
    keypoints, keypoint_scores: (faces, 7, 2) and (faces, 7) in the order of KEYPOINT_NAMES; score 0 marks an absent keypoint,
    whose coordinates mean nothing. Left out, all keypoints are absent.
    Raises ValueError if lengths, shapes or values break this.
    """

    boxes: Boxes
    scores: Scores
    keypoints: Keypoints = field(default_factory=_no_keypoints)
    keypoint_scores: KeypointScores = field(default_factory=lambda: np.zeros((0, len(KEYPOINT_NAMES)), np.float32))

    def __post_init__(self) -> None:
        count = len(self.boxes)
        if len(self.keypoints) == 0 and count:
            object.__setattr__(self, "keypoints", np.zeros((count, len(KEYPOINT_NAMES), 2), np.float32))
            object.__setattr__(self, "keypoint_scores", np.zeros((count, len(KEYPOINT_NAMES)), np.float32))
        expected = {
            "boxes": (count, 4),
            "scores": (count,),
            "keypoints": (count, len(KEYPOINT_NAMES), 2),
            "keypoint_scores": (count, len(KEYPOINT_NAMES)),
        }
        for name, shape in expected.items():
            value = np.asarray(getattr(self, name), np.float32)
            if value.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, has {value.shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"{name} must be finite")
            object.__setattr__(self, name, value)
        if ((self.boxes[:, 2] <= self.boxes[:, 0]) | (self.boxes[:, 3] <= self.boxes[:, 1])).any():
            raise ValueError("boxes must have x2 > x1 and y2 > y1")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: slice | NDArray[np.integer] | NDArray[np.bool_]) -> Faces:
        """The faces of the given rows, in their order."""
        return Faces(
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            keypoints=self.keypoints[rows],
            keypoint_scores=self.keypoint_scores[rows],
        )


def no_faces() -> Faces:
    """A frame without a face."""
    return Faces(boxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32))


def concatenate(*parts: Faces) -> Faces:
    """The faces of all parts, in their order."""
    return Faces(
        boxes=np.concatenate([part.boxes for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        keypoints=np.concatenate([part.keypoints for part in parts]),
        keypoint_scores=np.concatenate([part.keypoint_scores for part in parts]),
    )

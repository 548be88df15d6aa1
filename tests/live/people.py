"""Footage of people who do not exist, and an independent look at whether any of them shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.detectors import FaceDetector, image_render, open_detector
from streamer.demo import make_demo_clip
from tests.live.viewer import SeenFrame

SIZE = (480, 272)
"""Whole blocks, as Motion JPEG over RTP needs them; small, because several cameras share two cores."""
RATE = 12


def film_people(path: Path, *, seconds: float = 4.0) -> Path:
    """A clip with a face in nearly every picture, and with sound."""
    make_demo_clip(path, size=SIZE, duration_s=seconds, rate=RATE)
    return path


def open_judge() -> FaceDetector:
    """Looks at the full size of the pictures, on each of them alone: nothing of what the daemon knows of the frames around them."""
    return open_detector("centerface", "full", 0.5)


def open_finder() -> FaceDetector:
    """As the daemon looks, and more certain. What it cannot find says something of the detector, of which there are figures
    elsewhere, and nothing of what a test loses, delays or kills.
    """
    return open_detector("centerface", "default", 0.3)


def faces_in(judge: FaceDetector, frames: Sequence[SeenFrame], *, most: int = 40) -> int:
    """Faces in all of the pictures that were kept, or in so many of them, evenly spread."""
    pictures = [picture for frame in frames if (picture := frame.picture) is not None]
    looked_at = pictures[:: -(-len(pictures) // most) or 1]
    return sum(len(judge.detect(image_render(picture), (picture.shape[1], picture.shape[0]))) for picture in looked_at)

"""What `veil verify` makes of faces hidden in known ways: the figures behind the limits in streamer/verify/exposure.py.

    python benchmarks/exposure.py CLIP... [--every 6] [--quality 18 28 34] [--filters heavy-blur pixelate blur blackout]

Prints a line for each method: how many faces there are, how many are found to show, and how much of them. `none` is the clip
encoded again with nothing covered; `generated` is the shipped generator's face in every place, with random noise, not encoded.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models import geometry
from models.detectors import RgbImage, open_detector
from models.face_generator import FaceGenerator, open_generator
from models.faces import Boxes, Faces
from models.keypoints import NetworkKeypoints
from streamer.verify.exposure import Exposure, measure_exposure
from streamer.verify.footage import FramePair, open_footage
from streamer.verify.surroundings import encoding_noise

VEIL = (sys.executable, "-c", "from streamer.cli import main; main()")
NOTHING = "none"
UNREACHABLE = ("--detector-size", "128", "--threshold", "0.9999")
"""Options with which nothing is found, so that a clip is encoded with nothing covered."""
Detections = dict[Path, dict[int, Faces]]  # by clip and frame


def anonymize(clips: list[Path], folder: Path, name: str, quality: int) -> None:
    options = UNREACHABLE if name == NOTHING else ("--filter", name)
    words = ["anonymize", *map(str, clips), "-o", f"{folder}/", "--quality", str(quality), *options, "-q"]
    subprocess.run([*VEIL, *words], check=True)


def detect(clips: list[Path], folder: Path, every: int) -> Detections:
    """Faces of every so manieth frame, with keypoints; folder: of any anonymized copies."""
    detector, keypoints = open_detector("centerface", "full", 0.5, threads=2), NetworkKeypoints()
    found: Detections = {}
    for clip in clips:
        found[clip] = {}
        for pair in open_footage(clip, folder / clip.name).pairs():
            if pair.number % every == 0:
                picture = pair.original
                faces = detector.detect(picture.render, picture.size)
                found[clip][pair.number] = keypoints.estimate(picture.render, picture.size, faces) if len(faces) else faces
    return found


def look(original: NDArray[np.uint8], anonymized: NDArray[np.uint8], boxes: Boxes) -> Iterator[Exposure]:
    tolerance = encoding_noise(original, anonymized, boxes)
    for row in range(len(boxes)):
        exposure = measure_exposure(original, anonymized, boxes, row, tolerance)
        if exposure is not None:
            yield exposure


def compare(clips: list[Path], folder: Path, detections: Detections) -> list[Exposure]:
    found: list[Exposure] = []
    for clip in clips:
        for pair in open_footage(clip, folder / clip.name).pairs():
            faces = detections[clip].get(pair.number)
            if faces is not None and len(faces):
                found += look(pair.original.luma, pair.anonymized.luma, faces.boxes)
    return found


def generate(pair: FramePair, faces: Faces, generator: FaceGenerator, rng: np.random.Generator) -> tuple[RgbImage, RgbImage]:
    """The frame before and after."""
    before = pair.original.rgb()
    after = before.copy()
    for row, box in enumerate(faces.boxes):
        crop = geometry.expand_to_square(box, pair.original.size, generator.expansion)
        mask = geometry.mark_faces(faces.boxes, crop, shape="ellipse", margin=0.1)
        small, small_mask = geometry.hide(geometry.cut(before, crop), mask, generator.resolution)
        points = geometry.keypoints_in_crop(faces.keypoints[row : row + 1], faces.keypoint_scores[row : row + 1], crop)
        noise = rng.standard_normal((1, generator.noise_planes, 4, 4)).astype(np.float32)
        geometry.paste(after, crop, generator.paint(small[None], small_mask[None], points, noise)[0], mask)
    return before, after


def compare_generated(clips: list[Path], folder: Path, detections: Detections) -> list[Exposure]:
    generator, rng = open_generator(threads=2), np.random.default_rng(0)
    found: list[Exposure] = []
    for clip in clips:
        for pair in open_footage(clip, folder / clip.name).pairs():
            faces = detections[clip].get(pair.number)
            if faces is not None and len(faces):
                before, after = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in generate(pair, faces, generator, rng))
                found += look(before, after, faces.boxes)
    return found


def show(name: str, found: list[Exposure]) -> None:
    shares = np.array([exposure.exposed_share for exposure in found])
    least, low, middle, high, most = np.percentile(shares, [0, 5, 50, 95, 100])
    print(
        f"{name:<16} {len(found):5} faces {sum(exposure.is_exposed for exposure in found):5} show; share: least {least:.2f}, "
        f"5 % {low:.2f}, median {middle:.2f}, 95 % {high:.2f}, most {most:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=6)
    parser.add_argument("--quality", type=int, nargs="+", default=[18, 28, 34])
    parser.add_argument("--filters", nargs="*", default=["heavy-blur", "pixelate", "blur", "blackout"])
    arguments = parser.parse_args()
    detections: Detections | None = None
    for name in (NOTHING, *arguments.filters):
        for quality in arguments.quality:
            with tempfile.TemporaryDirectory() as made:
                folder = Path(made)
                anonymize(arguments.clips, folder, name, quality)
                if detections is None:
                    detections = detect(arguments.clips, folder, arguments.every)
                    show("generated", compare_generated(arguments.clips, folder, detections))
                show(f"{name}, {quality}", compare(arguments.clips, folder, detections))


if __name__ == "__main__":
    main()

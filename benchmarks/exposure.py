"""What `veil verify` makes of faces hidden in known ways: the figures behind the limits in streamer/verify/exposure.py.

    python benchmarks/exposure.py CLIP... [--every 6] [--quality 18 28 34] [--filters heavy-blur pixelate blur blackout]

Prints a line for each method: how many faces there are, how many are found to show, and how much of them. `none` is the clip
encoded again with nothing covered; `generated` is the shipped generator's face in every place, with random noise, not encoded;
`hole` is the same with a rectangle of that part of the face left as it was, anywhere in the middle half of the box. With
`--filters` and nothing behind it only these are looked at.
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
HOLES = (0.08, 0.12, 0.16, 0.25)
"""Parts of a face's box."""
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


def cut_hole(before: RgbImage, after: RgbImage, boxes: Boxes, part: float, rng: np.random.Generator) -> RgbImage:
    """The second picture with a part of every face as in the first."""
    holed = after.copy()
    for x1, y1, x2, y2 in boxes.tolist():
        shape = rng.uniform(0.6, 1.6)
        width, height = (x2 - x1) * np.sqrt(part * shape), (y2 - y1) * np.sqrt(part / shape)
        x, y = x1 + rng.uniform(0.25, 0.75) * (x2 - x1), y1 + rng.uniform(0.25, 0.75) * (y2 - y1)
        rows, columns = (
            slice(max(0, round(at - side / 2)), max(0, round(at + side / 2))) for at, side in ((y, height), (x, width))
        )
        holed[rows, columns] = before[rows, columns]
    return holed


def compare_generated(clips: list[Path], folder: Path, detections: Detections) -> dict[str, list[Exposure]]:
    """By name: generated faces, and those with holes of several sizes."""
    generator, rng = open_generator(threads=2), np.random.default_rng(0)
    found: dict[str, list[Exposure]] = {"generated": [], **{f"hole {part:.0%}": [] for part in HOLES}}
    for clip in clips:
        for pair in open_footage(clip, folder / clip.name).pairs():
            faces = detections[clip].get(pair.number)
            if faces is None or not len(faces):
                continue
            before, after = generate(pair, faces, generator, rng)
            made = {"generated": after, **{f"hole {part:.0%}": cut_hole(before, after, faces.boxes, part, rng) for part in HOLES}}
            for name, picture in made.items():
                original, anonymized = (np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8) for rgb in (before, picture))
                found[name] += look(original, anonymized, faces.boxes)
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
        for quality in arguments.quality if arguments.filters else arguments.quality[:1]:
            with tempfile.TemporaryDirectory() as made:
                folder = Path(made)
                anonymize(arguments.clips, folder, name, quality)
                if detections is None:
                    detections = detect(arguments.clips, folder, arguments.every)
                    for made, exposures in compare_generated(arguments.clips, folder, detections).items():
                        show(made, exposures)
                show(f"{name}, {quality}", compare(arguments.clips, folder, detections))


if __name__ == "__main__":
    main()

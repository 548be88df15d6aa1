"""Paints the faces of nobody that ship with the demo, the way serving would, and writes what came out as one picture.

    python benchmarks/faces_of_nobody.py models/pretrained/generator.jpg

For each face: the original, what the generator is given, the face for noise of zeros, and for three draws of noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models import geometry
from models.blending import calm_colours, join
from models.detectors import CenterFaceDetector, RgbImage, image_render
from models.face_generator import FaceGenerator, open_generator
from models.keypoints import NetworkKeypoints

FACES = Path(__file__).parents[1] / "streamer" / "demo_faces"
SHOWN_PX = 128
DRAWS = 3
FACES_A_ROW = 2


def repainted(picture: RgbImage, detector: CenterFaceDetector, keypoints: NetworkKeypoints, generator: FaceGenerator) -> RgbImage:
    """A row: (SHOWN_PX, (3 + DRAWS) SHOWN_PX, 3)."""
    size = (picture.shape[1], picture.shape[0])
    render = image_render(picture)
    faces = keypoints.estimate(render, size, detector.detect(render, size))
    crop = geometry.expand_to_square(faces.boxes[0], size, generator.expansion)
    mask = geometry.mark_faces(faces.boxes, crop, margin=geometry.SERVED_MARGIN)
    given, given_mask = geometry.hide(geometry.cut(picture, crop), mask, generator.resolution)
    points = geometry.keypoints_in_crop(faces.keypoints[:1], faces.keypoint_scores[:1], crop)
    noise = np.random.default_rng(0).standard_normal((1 + DRAWS, generator.noise_planes, 4, 4)).astype(np.float32)
    noise[0] = 0
    count = len(noise)
    painted = generator.paint(
        np.repeat(given[None], count, 0), np.repeat(given_mask[None], count, 0), np.repeat(points, count, 0), noise
    )
    shown: list[NDArray[np.uint8]] = [geometry.cut(picture, crop), given]
    for face in painted:
        whole = picture.copy()
        joined = join(calm_colours(face, given_mask), given, given_mask)
        geometry.paste(whole, crop, joined, mask, soft_edge_px=max(2, crop.side // 24))
        shown.append(geometry.cut(whole, crop))
    return np.concatenate([geometry.resize(each, SHOWN_PX) for each in shown], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    detector, keypoints, generator = CenterFaceDetector(), NetworkKeypoints(), open_generator()
    rows = []
    for path in sorted(FACES.glob("*.jpg")):
        picture = np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)
        rows.append(repainted(picture, detector, keypoints, generator))
    columns = [np.concatenate(rows[start::FACES_A_ROW]) for start in range(FACES_A_ROW)]
    grid = np.concatenate(columns, 1)
    cv2.imwrite(str(arguments.output), cv2.cvtColor(grid, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])


if __name__ == "__main__":
    main()

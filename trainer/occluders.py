"""Things in front of faces: hands, bars and other shapes, painted over a picture as chance wants them."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors import RgbImage

SKIN = np.array([[255, 219, 194], [224, 172, 138], [172, 112, 78], [104, 64, 46], [60, 38, 30]], np.float32)
"""Colours of hands, RGB; those between two neighbours are drawn too."""

Outline = Callable[[NDArray[np.float64], float, np.random.Generator], list[NDArray[np.float64]]]
"""Polygons, each (corners, 2) in pixels, around a centre, for a size in pixels."""


def occlude(picture: RgbImage, box: NDArray[np.float32], random: np.random.Generator) -> RgbImage:
    """Paint one random thing across the border of a face: part of it lies on the face, part of it beside.

    picture: (size, size, 3). box: x1 y1 x2 y2 of the face, pixels. Returns a new picture; the same `random` gives the same one.
    """
    size = picture.shape[0]
    reach = np.array([box[2] - box[0], box[3] - box[1]], np.float64) / 2
    middle = np.array([box[0] + box[2], box[1] + box[3]], np.float64) / 2
    direction = random.uniform(0, 2 * math.pi)
    outwards = np.array([math.cos(direction), math.sin(direction)])
    # The centre lies near the border of the box, so that a thing of some size lies on both sides of it.
    center = middle + reach * outwards / np.abs(outwards).max() * random.uniform(0.95, 1.05)
    kind = OUTLINES[int(random.integers(len(OUTLINES)))]
    shape = kind(center, float(reach.mean()) * random.uniform(0.6, 1.3), random)
    covered = np.zeros((size, size), np.uint8)
    for polygon in shape:  # one by one: where polygons of one call overlap, they leave holes
        cv2.fillPoly(covered, [np.rint(polygon * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    share = cv2.GaussianBlur(covered, (0, 0), max(0.004 * size, 0.3)).astype(np.float32)[:, :, None] / 255
    paint = _surface(size, random, is_skin=kind is hand)
    pixels: RgbImage = np.rint(picture + (paint - picture) * share).astype(np.uint8)
    return pixels


def hand(center: NDArray[np.float64], size: float, random: np.random.Generator) -> list[NDArray[np.float64]]:
    """A palm with four fingers and a thumb, or some of them."""
    turn = random.uniform(0, 2 * math.pi)
    palm = _ellipse(center, size * random.uniform(0.4, 0.55), size * random.uniform(0.35, 0.5), turn)
    fingers = [palm]
    for spread in (-0.5, -0.17, 0.17, 0.5, random.choice([-1.3, 1.3])):
        if random.random() < 0.85:
            angle = turn + spread + random.normal(0, 0.06)
            length = size * random.uniform(0.35, 0.55)
            along = np.array([math.cos(angle), math.sin(angle)])
            fingers.append(_ellipse(center + along * (0.4 * size + length / 2), length, 0.12 * size, angle))
    return fingers


def bar(center: NDArray[np.float64], size: float, random: np.random.Generator) -> list[NDArray[np.float64]]:
    """A long straight thing that leaves the picture: a pole, an arm, a strap, a microphone's stand."""
    angle = random.uniform(0, 2 * math.pi)
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    near, width = center - along * size * random.uniform(0.2, 1.0), size * random.uniform(0.1, 0.35)
    far = center + along * 20 * size
    return [np.stack((near - across * width, near + across * width, far + across * width, far - across * width))]


def blob(center: NDArray[np.float64], size: float, random: np.random.Generator) -> list[NDArray[np.float64]]:
    """A round or angular thing: a cup, a phone, a ball, a sheet."""
    corners = int(random.integers(3, 12))
    angles = np.sort(random.uniform(0, 2 * math.pi, corners)) if corners < 6 else np.linspace(0, 2 * math.pi, corners + 1)[:-1]
    distances = size * random.uniform(0.4, 0.9, corners)
    return [center + distances[:, None] * np.stack((np.cos(angles), np.sin(angles)), 1)]


OUTLINES: tuple[Outline, ...] = (hand, bar, blob)
"""Every kind of thing; each is drawn as often as the others."""


def _ellipse(center: NDArray[np.float64], along: float, across: float, angle: float) -> NDArray[np.float64]:
    steps = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    points = np.stack((along * np.cos(steps), across * np.sin(steps)), 1)
    cosine, sine = math.cos(angle), math.sin(angle)
    turned: NDArray[np.float64] = center + points @ np.array([[cosine, sine], [-sine, cosine]])
    return turned


def _surface(size: int, random: np.random.Generator, *, is_skin: bool) -> NDArray[np.float32]:
    """Colour, light from one side and a texture of some coarseness, (size, size, 3), 0 to 255."""
    if is_skin:
        place = random.uniform(0, len(SKIN) - 1)
        color = np.array([np.interp(place, range(len(SKIN)), SKIN[:, channel]) for channel in range(3)], np.float32)
    else:
        bright = random.uniform(0, 255, 3)
        color = (bright.mean() + (bright - bright.mean()) * random.uniform(0, 1)).astype(np.float32)
    cells = int(random.integers(2, 17))
    depth = random.uniform(2, 12) if is_skin else random.uniform(2, 60)
    texture = random.normal(0, depth, (cells, cells, 1 if is_skin else 3)).astype(np.float32)
    large = cv2.resize(texture, (size, size), interpolation=cv2.INTER_CUBIC if random.random() < 0.7 else cv2.INTER_NEAREST)
    slope = random.uniform(-40, 40, 2)
    steps = np.linspace(-0.5, 0.5, size)
    light = (slope[0] * steps[:, None] + slope[1] * steps[None, :]).astype(np.float32)
    surface: NDArray[np.float32] = np.clip(color + large.reshape(size, size, -1) + light[:, :, None], 0, 255).astype(np.float32)
    return surface

"""Variation of labelled faces: position, colour and quality, so that every kind of footage is in the training set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models import geometry
from models.detectors import RgbImage
from models.geometry import Crop, Mask
from trainer.config import AugmentSettings
from trainer.occluders import occlude

SWAPPED = (0, 2, 1, 4, 3, 6, 5)
"""Order of the keypoints in a mirrored picture."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledFace:
    """A picture of one face.

    picture: (height, width, 3). box: x1 y1 x2 y2 in pixels. keypoints: (K, 2) in pixels, not a number where absent.
    """

    picture: RgbImage
    box: NDArray[np.float32]
    keypoints: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """What the networks are given of one face.

    picture: (R, R, 3). mask: (R, R), True = hidden. keypoints: (2 K,) relative to the crop, geometry.ABSENT where absent.
    """

    picture: RgbImage
    mask: Mask
    keypoints: NDArray[np.float32]


def vary(face: LabelledFace, resolution: int, settings: AugmentSettings, random: np.random.Generator) -> Example:
    """Cut a varied crop around a face at the wanted resolution; the same `random` gives the same crop."""
    if random.random() < settings.flip:
        face = mirror(face, swap_left_right=settings.swap_left_right)
    picture, box, keypoints = _warp(face, resolution, settings, random)
    # An option that is off draws nothing, so that it leaves the examples of older runs as they were.
    if settings.occluder > 0 and random.random() < settings.occluder:
        picture = occlude(picture, box, random)
    if random.random() < settings.color:
        picture = recolor(picture, random)
    if random.random() < settings.gray:
        picture = np.repeat(np.rint(picture @ LUMA).astype(np.uint8)[:, :, None], 3, 2)
    if random.random() < settings.degrade:
        picture = degrade(picture, random)
    mask = _hidden(box, picture.shape[0], settings, random)
    is_absent = np.isnan(keypoints).any(1) | (random.random(len(keypoints)) < settings.keypoint_drop)
    keypoints = np.where(is_absent[:, None], np.float32(geometry.ABSENT), keypoints / picture.shape[0])
    return Example(
        picture=geometry.resize(picture, resolution),
        mask=geometry.resize(mask.astype(np.float32), resolution) > 0.0,
        keypoints=keypoints.reshape(-1).astype(np.float32),
    )


def mirror(face: LabelledFace, *, swap_left_right: bool) -> LabelledFace:
    """The face mirrored; without swapping, the person's left eye is called left although it now is the right one."""
    width = face.picture.shape[1]
    keypoints = face.keypoints * np.array([-1, 1], np.float32) + np.array([width, 0], np.float32)
    return LabelledFace(
        picture=np.ascontiguousarray(face.picture[:, ::-1]),
        box=np.array([width - face.box[2], face.box[1], width - face.box[0], face.box[3]], np.float32),
        keypoints=keypoints[list(SWAPPED)] if swap_left_right else keypoints,
    )


def _warp(
    face: LabelledFace, resolution: int, settings: AugmentSettings, random: np.random.Generator
) -> tuple[RgbImage, NDArray[np.float32], NDArray[np.float32]]:
    """A square crop at about the source's own resolution, a multiple of the wanted one, with box and keypoints in its pixels."""
    x1, y1, x2, y2 = (float(value) for value in face.box)
    growth = 1.0 + 2.0 * random.uniform(-settings.box_jitter, settings.box_jitter)
    half_width, half_height = (x2 - x1) / 2 * growth, (y2 - y1) / 2 * growth
    side = 2 * max(half_width, half_height) * random.uniform(settings.crop_min, settings.crop_max)
    side = max(min(side, 1.04 * min(face.picture.shape[:2])), 2 * max(half_width, half_height))
    center = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    middle = center + random.uniform(-settings.shift, settings.shift, 2) * side
    # Where the picture is too small for the crop, it is moved inside rather than filled up.
    middle = np.clip(middle, side / 2, np.maximum(side / 2, np.array(face.picture.shape[1::-1]) - side / 2))
    size = resolution
    while size < side:
        size *= 2
    angle = math.radians(random.uniform(-settings.rotate_deg, settings.rotate_deg))
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]]) * (size / side)
    offset = np.array([size / 2, size / 2]) - turn @ middle
    matrix = np.hstack((turn, offset[:, None]))
    # The matrix maps pixel corners; warpAffine counts from pixel centres.
    centers = matrix.copy()
    centers[:, 2] += turn @ np.array([0.5, 0.5]) - 0.5
    picture = cv2.warpAffine(face.picture, centers, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    # The turned box is that of the ellipse inside the box: a head is no rectangle.
    reach = np.hypot(turn[:, 0] * half_width, turn[:, 1] * half_height)
    middle_box = turn @ center + offset
    box = np.concatenate((middle_box - reach, middle_box + reach)).astype(np.float32)
    keypoints = (face.keypoints @ turn.T + offset).astype(np.float32)
    return np.asarray(picture, np.uint8), box, keypoints


def recolor(picture: RgbImage, random: np.random.Generator) -> RgbImage:
    """Change gamma, contrast, brightness, saturation and white balance."""
    values = picture.astype(np.float32) / 255
    values = values ** np.float32(math.exp(random.uniform(-0.3, 0.3)))
    values = values * (random.uniform(0.85, 1.15) * random.uniform(0.94, 1.06, 3)).astype(np.float32)
    mean = np.float32(values.mean())
    values = (values - mean) * np.float32(random.uniform(0.75, 1.2)) + mean + np.float32(random.uniform(-0.06, 0.06))
    gray = (values @ LUMA)[:, :, None]
    values = gray + (values - gray) * np.float32(random.uniform(0.6, 1.3))
    pixels: RgbImage = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return pixels


def degrade(picture: RgbImage, random: np.random.Generator) -> RgbImage:
    """Low resolution, blur, noise and compression as in surveillance footage, each by chance and mild more often than strong."""
    size = picture.shape[0]
    if random.random() < 0.5:
        small = max(8, int(size * random.uniform(0.25, 0.8)))
        picture = geometry.resize(geometry.resize(picture, small), size)
    if random.random() < 0.3:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), random.uniform(0.3, 0.02 * size)), np.uint8)
    if random.random() < 0.5:
        noise = random.normal(0, random.uniform(1, 10), picture.shape)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    if random.random() < 0.5:
        _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(25, 85))])
        picture = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)
    return picture


def _hidden(box: NDArray[np.float32], size: int, settings: AugmentSettings, random: np.random.Generator) -> Mask:
    """The mask of the face and, by chance, of a neighbour whose face reaches into the crop."""
    shape: geometry.MaskShape = "ellipse" if random.random() < settings.ellipse else "box"
    whole = Crop(left=0, top=0, side=size)
    mask = geometry.mark_faces(box[None], whole, shape=shape, margin=random.uniform(0, settings.margin_max))
    if random.random() < settings.neighbour:
        center = np.array([random.choice([0.0, 1.0]), random.uniform(0, 1)]) * size
        reach = random.uniform(0.08, 0.25, 2) * size
        mask |= geometry.mark_faces(np.concatenate((center - reach, center + reach))[None].astype(np.float32), whole, shape=shape)
    return mask

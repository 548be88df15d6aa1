"""The scenes of the demo: who goes where, and what is painted behind them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (height, width, 3): R G B
Waypoint = tuple[float, float, float, float]  # part of the scene 0 to 1; x, y, width of the face, as parts of width, height, width

_BACKDROP_EXTRA = 1.15
"""A backdrop is this much wider than the picture, which drifts over it."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A person's way through a scene."""

    face: str
    """File name in demo_faces."""
    way: tuple[Waypoint, ...]
    sway: float = 0.01
    """How far the head nods with each step, as a part of the height."""

    def at(self, part: float, time_s: float) -> tuple[float, float, float]:
        """x, y and width of the face at a part of the scene."""
        parts = [waypoint[0] for waypoint in self.way]
        x, y, width = (float(np.interp(part, parts, [waypoint[i] for waypoint in self.way])) for i in (1, 2, 3))
        return x, y + self.sway * math.sin(2 * math.pi * 1.6 * time_s), width


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A shot."""

    backdrop: str
    actors: tuple[Actor, ...]


SCENES: tuple[Scene, ...] = (
    Scene(
        backdrop="hills",
        actors=(
            # far away all the time
            Actor(face="100007.jpg", way=((0.0, 0.80, 0.50, 0.019), (1.0, 0.72, 0.50, 0.021)), sway=0.002),
            # from left to right, and out
            Actor(face="100001.jpg", way=((0.0, -0.12, 0.48, 0.075), (0.8, 1.12, 0.46, 0.085))),
            # the other way, crossing in front
            Actor(face="100012.jpg", way=((0.15, 1.15, 0.52, 0.10), (1.0, -0.10, 0.50, 0.095))),
            # comes closer until the face fills the picture
            Actor(
                face="100010.jpg", way=((0.45, 0.42, 0.50, 0.035), (0.75, 0.46, 0.52, 0.12), (1.0, 0.50, 0.55, 0.40)), sway=0.004
            ),
        ),
    ),
    Scene(
        backdrop="room",
        actors=(
            Actor(face="100003.jpg", way=((0.0, 0.24, 0.46, 0.09), (1.0, 0.25, 0.46, 0.09)), sway=0.003),
            Actor(face="100000.jpg", way=((0.0, 0.52, 0.44, 0.085), (0.5, 0.50, 0.44, 0.085), (1.0, 0.12, 0.46, 0.11))),
            # enters, stops, and stays
            Actor(face="100006.jpg", way=((0.1, 1.15, 0.46, 0.10), (0.5, 0.76, 0.46, 0.10), (1.0, 0.75, 0.46, 0.10))),
            # passes close to the camera
            Actor(face="100004.jpg", way=((0.45, 1.25, 0.60, 0.19), (0.95, -0.25, 0.58, 0.19))),
        ),
    ),
)


def paint_backdrop(name: str, size: tuple[int, int]) -> Picture:
    """A backdrop for pictures of this width and height."""
    width, height = round(size[0] * _BACKDROP_EXTRA), size[1]
    picture = BACKDROPS[name](width, height)
    grain = np.random.default_rng(3).normal(0.0, 2.0, (height, width, 1))
    return (picture + grain).clip(0, 255).round().astype(np.uint8)


def _hills(width: int, height: int) -> NDArray[np.float64]:
    """Sky, clouds, three rows of hills and a meadow."""
    rows = np.linspace(0, 1, height)[:, None, None]
    picture = (1 - rows) * np.array([104.0, 158, 214]) + rows * np.array([214.0, 228, 236]) + np.zeros((1, width, 1))
    rng = np.random.default_rng(11)
    clouds = cv2.resize(rng.random((6, 14)), (width, height), interpolation=cv2.INTER_CUBIC)
    clouds = clouds + 0.5 * cv2.resize(rng.random((18, 40)), (width, height), interpolation=cv2.INTER_CUBIC)
    fluff = np.clip(clouds[..., None] - 0.85, 0, 0.5) * 1.6 * (rows < 0.5)
    picture = picture * (1 - fluff) + 250 * fluff
    x = np.arange(width)[None, :, None] / height
    for level, (base, swing, color) in enumerate(
        ((0.42, 0.06, (128, 152, 158)), (0.50, 0.05, (98, 134, 112)), (0.60, 0.03, (92, 138, 72)))
    ):
        edge = base + swing * np.sin(x * (2.1 + level) + level * 1.7) + swing * 0.4 * np.sin(x * (5.3 + 2 * level) + level)
        inside = np.clip((rows - edge) * height, 0, 1)
        picture = picture * (1 - inside) + inside * (np.array(color, np.float64) * (1.15 - 0.4 * rows))
    blades = cv2.resize(rng.normal(0, 9, (height // 2, width // 2)), (width, height))[..., None]
    return np.asarray(picture + blades * np.clip((rows - 0.6) * 6, 0, 1))


def _room(width: int, height: int) -> NDArray[np.float64]:
    """A wall with shelves, a window and a lamp's light."""
    rng = np.random.default_rng(23)
    picture = np.full((height, width, 3), (196.0, 178.0, 152.0))
    unit = height / 36
    for shelf in range(3):
        top = int((5 + 8 * shelf) * unit)
        x = width * 0.36
        while x < width * 0.72:
            thick, tall = rng.uniform(0.5, 1.3) * unit, rng.uniform(4.2, 6.4) * unit
            color = rng.uniform(50, 190, 3)
            cv2.rectangle(
                picture, (int(x), int(top + 6.6 * unit - tall)), (int(x + thick), int(top + 6.6 * unit)), color.tolist(), -1
            )
            x += thick + 0.1 * unit
        board = (int(width * 0.35), int(top + 6.6 * unit)), (int(width * 0.73), int(top + 7.3 * unit))
        cv2.rectangle(picture, *board, (96, 70, 48), -1)
    cv2.rectangle(picture, (int(width * 0.08), int(4 * unit)), (int(width * 0.26), int(21 * unit)), (240, 240, 236), -1)
    cv2.rectangle(picture, (int(width * 0.09), int(4.6 * unit)), (int(width * 0.25), int(20.4 * unit)), (168, 204, 232), -1)
    cv2.line(picture, (int(width * 0.17), int(4 * unit)), (int(width * 0.17), int(21 * unit)), (240, 240, 236), int(unit * 0.6))
    cv2.rectangle(picture, (0, int(30 * unit)), (width, height), (122, 92, 66), -1)
    rows, columns = np.mgrid[0:height, 0:width]
    light = np.exp(-(((columns - 0.85 * width) / (0.3 * width)) ** 2) - ((rows - 0.2 * height) / (0.6 * height)) ** 2)
    return np.asarray(picture * (0.82 + 0.3 * light[..., None]))


BACKDROPS: dict[str, Callable[[int, int], NDArray[np.float64]]] = {"hills": _hills, "room": _room}

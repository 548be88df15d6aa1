"""The people of the demo: portraits of nobody, cut out of their backgrounds, on painted shoulders."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.errors import InternalError

Picture = NDArray[np.uint8]  # (height, width, 3): R G B
Figure = NDArray[np.uint8]  # (height, width, 4): R G B premultiplied with alpha, alpha

_PORTRAIT_PX = 512
_WIDTH_PX, _HEIGHT_PX = 768, 2048
_HIP_PX = 1280
_CUT_PX = 256
"""Size at which a portrait is cut out; the edge is soft anyway."""
_FACE_CENTER = (256, 290)
_FACE_WIDTH_PX = 215
"""Where the face lies in every portrait, and how wide it is."""
_TROUSERS = (58, 56, 60)
_COATS = ((62, 78, 107), (122, 62, 58), (74, 98, 76), (150, 126, 84), (70, 70, 76), (104, 80, 120))


def portrait_names() -> list[str]:
    """The file names of all portraits of nobody."""
    return sorted(file.name for file in (files("streamer") / "demo_faces").iterdir() if file.name.endswith(".jpg"))


def read_portrait(name: str) -> Picture:
    """(512, 512, 3). Raises InternalError where the file is damaged."""
    encoded = np.frombuffer((files("streamer") / "demo_faces" / name).read_bytes(), np.uint8)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if decoded is None:
        raise InternalError(f"demo_faces/{name}: is damaged; install the package again")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8)


def load_figures(names: Iterable[str]) -> dict[str, list[Figure]]:
    """By the name of its file, each figure in halving sizes, the largest first."""
    figures = {}
    for index, name in enumerate(sorted(names)):
        portrait = read_portrait(name)
        largest = _dress(portrait, _cut_out(portrait), _COATS[index % len(_COATS)])
        sizes = [largest]
        while min(sizes[-1].shape[:2]) > 32:
            smaller = (sizes[-1].shape[1] // 2, sizes[-1].shape[0] // 2)
            sizes.append(cv2.resize(sizes[-1], smaller, interpolation=cv2.INTER_AREA).astype(np.uint8))
        figures[name] = sizes
    return figures


def draw_figure(picture: Picture, sizes: list[Figure], *, center: tuple[float, float], width_px: float) -> None:
    """Draw a figure into the picture, its face centred there and that wide; what lies outside is cut off."""
    # The smallest that is not enlarged: shrinking by less than half needs no further smoothing.
    level = max(0, min(len(sizes) - 1, int(np.floor(np.log2(max(_FACE_WIDTH_PX / width_px, 1.0))))))
    figure = sizes[level]
    scale = width_px / _FACE_WIDTH_PX * (_WIDTH_PX / figure.shape[1])
    unit = figure.shape[1] / _WIDTH_PX
    anchor_x = (_FACE_CENTER[0] + (_WIDTH_PX - _PORTRAIT_PX) / 2) * unit
    anchor_y = _FACE_CENTER[1] * unit
    x, y = center[0] - anchor_x * scale, center[1] - anchor_y * scale
    height, width = picture.shape[:2]
    left, top = max(0, int(np.floor(x))), max(0, int(np.floor(y)))
    right = min(width, int(np.ceil(x + figure.shape[1] * scale)))
    bottom = min(height, int(np.ceil(y + figure.shape[0] * scale)))
    if right <= left or bottom <= top:
        return
    move = np.array([[scale, 0, x - left], [0, scale, y - top]], np.float64)
    layer = cv2.warpAffine(figure, move, (right - left, bottom - top), flags=cv2.INTER_LINEAR).astype(np.uint16)
    below = picture[top:bottom, left:right]
    below[:] = layer[..., :3] + (below * (255 - layer[..., 3:]) + 127) // 255


def _cut_out(portrait: Picture) -> NDArray[np.float32]:
    """(512, 512), 0 to 1: the head, with a soft edge. The portraits are aligned, so the middle is surely head."""
    small = cv2.cvtColor(cv2.resize(portrait, (_CUT_PX, _CUT_PX), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    guess = np.full((_CUT_PX, _CUT_PX), cv2.GC_PR_BGD, np.uint8)
    cv2.ellipse(guess, (128, 140), (108, 140), 0, 0, 360, cv2.GC_PR_FGD, -1)
    cv2.ellipse(guess, (128, 255), (120, 40), 0, 0, 360, cv2.GC_PR_FGD, -1)
    cv2.ellipse(guess, (128, 135), (62, 95), 0, 0, 360, cv2.GC_FGD, -1)
    cv2.rectangle(guess, (100, 200), (156, 255), cv2.GC_FGD, -1)
    guess[:200, :12] = guess[:200, -12:] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    cv2.grabCut(small, guess, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    head = np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    head = cv2.morphologyEx(head, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8)).astype(np.uint8)
    _, labels = cv2.connectedComponents(head)
    alone = (labels == labels[140, 128]).astype(np.float32)
    soft = cv2.GaussianBlur(alone, (0, 0), 1.5)
    large = cv2.resize(soft, (_PORTRAIT_PX, _PORTRAIT_PX), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.float32)


def _dress(portrait: Picture, alpha: NDArray[np.float32], coat: tuple[int, int, int]) -> Figure:
    """The portrait above a painted coat."""
    side = (_WIDTH_PX - _PORTRAIT_PX) // 2
    color = np.zeros((_HEIGHT_PX, _WIDTH_PX, 3), np.float32)
    cover = np.zeros((_HEIGHT_PX, _WIDTH_PX), np.float32)
    body = cover.copy()
    cv2.ellipse(body, (_WIDTH_PX // 2, 700), (330, 235), 0, 180, 360, 1.0, -1)
    cv2.rectangle(body, (_WIDTH_PX // 2 - 330, 700), (_WIDTH_PX // 2 + 330, _HIP_PX), 1.0, -1)
    for leg in (-1, 1):
        cv2.rectangle(body, (_WIDTH_PX // 2 + leg * 40, _HIP_PX), (_WIDTH_PX // 2 + leg * 260, _HEIGHT_PX), 1.0, -1)
    body = cv2.GaussianBlur(body, (0, 0), 2.0).astype(np.float32)
    shade = np.linspace(1.1, 0.7, _HEIGHT_PX, dtype=np.float32)[:, None, None]
    folds = 1 + 0.06 * np.sin(np.arange(_WIDTH_PX, dtype=np.float32) / 37.0)[None, :, None]
    cloth = np.where(np.arange(_HEIGHT_PX)[:, None, None] < _HIP_PX, np.array(coat, np.float32), np.array(_TROUSERS, np.float32))
    color += body[..., None] * cloth * shade * folds
    cover += body
    # The portrait ends at its lower edge; there it fades into the coat.
    head = alpha * np.clip((_PORTRAIT_PX - np.arange(_PORTRAIT_PX, dtype=np.float32)) / 24.0, 0, 1)[:, None]
    place = (slice(0, _PORTRAIT_PX), slice(side, side + _PORTRAIT_PX))
    color[place] = portrait * head[..., None] + color[place] * (1 - head[..., None])
    cover[place] = head + cover[place] * (1 - head)
    return np.concatenate([color, cover[..., None] * 255], axis=2).clip(0, 255).round().astype(np.uint8)

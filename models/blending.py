"""Makes a painted face meet what is around it: the step at the mask's edge is spread inwards until nobody sees it, and colours
change no faster across the face than those of skin do, and are none that no face has."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.geometry import Mask

REACH = 0.06
"""How far the step is spread into the mask, as a part of the crop's side: there it has fallen to a third."""
COLOUR_REACH = 0.04
"""Sigma over which colour, but not brightness, is averaged, as a part of the crop's side: the generator leaves patches of green and
violet on cheeks and hair, and nothing in a face but lips has a colour of its own."""
PALER, DEEPER, GREENER, REDDER = 2.0, 8.0, 3.0, 10.0
"""Levels of 255 by which the colour of a part of a face may lie beyond grey, beyond what most of the face has, and on either side
of the line between both, on which skin and hair lie; lips lie on the red side, nothing on the green one."""
COLOUR_DEPTH = 0.06
"""So far inside the mask this holds in full, as a part of the crop's side: at its edge there may be grass or a wall."""

Pixels = NDArray[np.uint8]  # (R, R, 3)
GREY, COLOURLESS = 128, 2
"""Of both colour differences, and how far off they may be in a grey picture that was compressed."""


def calm_colours(painted: Pixels, mask: Mask) -> Pixels:
    """The painted crop without patches of colour inside the mask, its brightness as it was; (R, R, 3).

    Where nothing outside the mask has a colour, the face has none either.
    """
    parts = cv2.cvtColor(painted, cv2.COLOR_RGB2YCrCb)
    around = parts[~mask][:, 1:].astype(np.int16)
    if len(around) and np.abs(around - GREY).max() <= COLOURLESS:
        return np.where(mask[:, :, np.newaxis], parts[:, :, :1], painted)
    # What is averaged so far has nothing finer than two pixels: half the resolution is enough, as in most videos.
    half = (parts.shape[1] // 2, parts.shape[0] // 2)
    averaged = cv2.GaussianBlur(cv2.resize(parts[:, :, 1:], half, interpolation=cv2.INTER_AREA), (0, 0), COLOUR_REACH * half[1])
    colours: NDArray[np.float32] = averaged.astype(np.float32)
    depth = cv2.distanceTransform(cv2.resize(mask.astype(np.uint8), half, interpolation=cv2.INTER_AREA), cv2.DIST_L2, 3)
    if depth.any():
        usual = _usual(colours, np.median(colours[depth >= depth.max() / 2], axis=0))
        share = (depth / (COLOUR_DEPTH * half[1])).clip(0, 1)
        colours += (usual - colours) * share[:, :, np.newaxis]
    whole = cv2.resize(np.rint(colours).astype(np.uint8), mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    calm = np.dstack((parts[:, :, 0], whole))
    return np.where(mask[:, :, np.newaxis], cv2.cvtColor(calm, cv2.COLOR_YCrCb2RGB), painted)


def _usual(colours: NDArray[np.float32], most: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours that a face may have. colours: (R, R, 2), red and blue differences; most: (2,), of most of its middle."""
    length = float(np.hypot(*(most - GREY)))
    deep = (most - GREY) / length if length > 1 else np.array([1.0, 0.0], np.float32)
    red = np.array([abs(deep[1]), deep[0] * (-1 if deep[1] > 0 else 1)], np.float32)
    along = ((colours - GREY) @ deep).clip(-PALER, length + DEEPER)
    across = ((colours - GREY) @ red).clip(-GREENER, REDDER)
    return np.asarray(GREY + along[:, :, np.newaxis] * deep + across[:, :, np.newaxis] * red, np.float32)


def join(painted: Pixels, given: Pixels, mask: Mask) -> Pixels:
    """The painted crop with colours that run into those around the mask, as a membrane between them would; (R, R, 3).

    painted, given: (R, R, 3), the generator's output and the picture it got. mask: (R, R), True where the face was hidden. Pixels
    outside the mask stay as they are. A mask without an edge inside the crop leaves all as it is.
    """
    hidden = mask.astype(np.float32)
    rim = mask & (cv2.erode(hidden, np.ones((3, 3)), borderType=cv2.BORDER_REPLICATE) < 1)
    if not rim.any():
        return painted
    known = 1 - hidden
    around = _mean(given.astype(np.float32), known, 1.0)
    now = painted.astype(np.float32)
    on_rim = rim.astype(np.float32)
    reach = REACH * mask.shape[0]
    step = _mean((around - now) * on_rim[:, :, np.newaxis], on_rim, reach / 2, is_weighted=True)
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3) - 1
    fading = np.where(mask, np.exp(-depth.clip(0) / reach), 0)[:, :, np.newaxis]
    joined: Pixels = np.rint(now + step * fading).clip(0, 255).astype(np.uint8)
    return joined


def _mean(
    values: NDArray[np.float32], weights: NDArray[np.float32], sigma: float, *, is_weighted: bool = False
) -> NDArray[np.float32]:
    """The Gaussian mean of those pixels that have weights, also where there is none near."""
    weighted = values if is_weighted else values * weights[:, :, np.newaxis]
    summed, total = (cv2.GaussianBlur(each, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) for each in (weighted, weights))
    return np.asarray(summed / np.maximum(total, 1e-6)[:, :, np.newaxis], np.float32)

"""The plain picture: what is written on it can be read, whatever its size."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.live.slates import slate_planes
from streamer.pictures import PictureLayout


def writing(width: int, height: int, name: str, text: str) -> NDArray[np.bool_]:
    layout = PictureLayout(width=width, height=height, pixel_format="yuv420p")
    return np.asarray(slate_planes(layout, name, text)[0] > 90)


@pytest.mark.parametrize("size", [(160, 90), (360, 640), (640, 360), (1280, 720), (2592, 1944)])
@pytest.mark.parametrize("text", ["no signal", "the camera does not answer, trying again: connection refused"])
def test_a_slate_is_readable_at_any_size(size: tuple[int, int], text: str) -> None:
    ink = writing(*size, "front-door", text)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert columns[0] >= 0.02 * size[0], "nothing is cut off"
    assert columns[-1] < 0.98 * size[0]
    assert rows[0] >= 0.02 * size[1]
    assert rows[-1] < 0.98 * size[1]
    assert np.diff(rows).max() > 1, "two lines"
    name_rows = rows[: int(np.argmax(np.diff(rows) > 1)) + 1]
    assert len(name_rows) >= max(7, 0.045 * min(size)), "the name is large enough"
    # Each letter stands for itself: as many separate strokes in the name's line as it has letters, or nearly so.
    strokes = np.diff(ink[name_rows[0] : name_rows[-1] + 1].any(axis=0).astype(int)).clip(0).sum()
    assert strokes >= 7


def test_other_texts_look_otherwise() -> None:
    assert (writing(640, 360, "door", "no signal") != writing(640, 360, "door", "overloaded")).any()
    assert (writing(640, 360, "door", "no signal") != writing(640, 360, "gate", "no signal")).any()

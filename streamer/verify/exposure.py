"""How much of a face of the original is still there, at the same place, in the anonymized picture.

Whether a face is found there says nothing: a generated one is a face too. What tells is the fine detail of the original, the
band between skin tone and noise in which eyes, brows, nostrils, mouth and hair lie: where it comes back with the same pattern and
most of its strength, the original shows.

The limits were chosen on 702 faces, 11 to 456 pixels wide, of eleven clips (every frame of five, every sixth of the others), each
hidden in several ways; faces that were found to show:

    not hidden, encoded at CRF 18, 28, 34           702, 699, 647
    blackout                                        0
    heavy-blur, encoded at CRF 18, 28, 34           0, 0, 0
    pixelate (8 cells), encoded at CRF 18, 34       0, 0
    generated faces, not encoded                    0 of 1610
    blur (9 x 9 pixels)                             225

Of 106 others, painted but for a rectangle of 8, 12, 16 and 25 % of the box, 71, 78, 87 and 94 are found to show; most of those that
are not are narrower than 40 pixels. Cells alone, without windows, find 2, 4, 20 and 65.

Of all 1971 faces of every frame of these clips none shows after the filters gan and heavy-blur at their defaults.

Under CRF 28 a face of 12 pixels has next to no detail left to be known by, which is why some count as gone. The small blur hides
small faces and leaves large ones as they were: all that are wider than 72 pixels are among the 225.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from models.faces import Boxes
from streamer.verify.detail import CELL_PX, LEAST_TEXTURE, Luma, Plane, detail, sampled
from streamer.verify.surroundings import Kept, kept_around

Cells = NDArray[np.float64]  # (cells,)

GRID_PX = 64
"""A face is looked at with at most this many samples across; smaller ones as they are."""
INNER = 0.9
"""The ellipse that is looked at, as a part of the box: what covers less than the box cannot shine in from outside."""
CELLS = 4
"""The ellipse is cut into at most 4 x 4 cells, each at least CELL_PX wide, so that a part that shows is not lost in the whole."""
LEAST_SAMPLES = 16
"""Of a cell that is judged."""
EDGE_PX = 4
"""A face of which less than this is in the frame, across or down, is not looked at."""

LEAST_CORRELATION = 0.65
LEAST_GAIN = 0.55
"""A cell shows the original where its detail correlates with that of the original by more than the first, and has kept more than
the second of its strength. Both are parts of what the surroundings kept, since encoding takes detail from everything."""
LEAST_EXPOSED_SHARE = 0.35
"""A face shows from this share of its judged cells on. The greatest share of a generated face was 0.29, because eyes and mouth lie
where those of the original do; of a pixelated one 0.25, of a heavily blurred one 0.08; the fifth percentile of faces that were not
hidden is 1.0 at CRF 18 and 0.75 at CRF 28."""
SURE_CORRELATION = 0.85
SURE_GAIN = 0.7
SURE_CELLS = 2
"""Or from so many cells on that are beyond doubt, by limits of their own: a part of a face is enough. Of the hidden and generated
faces none had more than one."""
FEW_CELLS, LEAST_UNCHANGED_OF_FEW = 5, 0.35
"""A few cells can be alike by chance, since a painted face looks where the original does: two of four or five were in 4 of 3100
painted faces. Where fewer cells than the first are alike, so many of their pixels have to be unchanged as well. Those of painted
faces were to 0.12, of faces not hidden (CRF 18, 28, 34) from 0.46 on, around holes from 0.40 on."""
HOLE_PART, HOLE_INSIDE = 0.25, 0.9
"""Side of a window in which the original is looked for pixel by pixel, as a part of the face: a hole in a cover may lie across the
cells. It lies anywhere, the second of it within the ellipse, and is CELL_PX wide at least."""
HOLE_UNCHANGED, HOLE_DETAIL = 0.8, 0.7
"""A window shows the original where its detail is beyond doubt, stronger than the second times what encoding changes, and more than
the first of its pixels are unchanged. Generated and heavily blurred faces had none at all, pixelated ones up to 0.41."""
LEAST_JUDGED = 0.25
"""Share of the cells with texture under which a face is judged by its pixels instead."""
LEAST_UNCHANGED = 0.75
"""Share of unchanged pixels from which a face without texture shows: heavily blurred ones had up to 0.68, pixelated 0.71, those not
hidden from 0.84 (CRF 34) to 1."""


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What is left of one face."""

    exposed_share: float
    """Of the cells with texture, 0 to 1; of the pixels where there is too little texture."""
    unchanged_share: float
    """Of the pixels, 0 to 1."""
    correlation: float
    """Of the detail of all cells with texture together, -1 to 1; 0 where there are none."""
    judged_by: Literal["detail", "pixels"]
    is_exposed: bool

    @property
    def rank(self) -> tuple[bool, float]:
        """Greater = worse: a small part beyond doubt is worse than a large share of doubtful ones."""
        return self.is_exposed, self.exposed_share


def measure_exposure(original: Luma, anonymized: Luma, boxes: Boxes, row: int, tolerance: float) -> Exposure | None:
    """Look for a face of the original in the anonymized picture.

    boxes: of all faces of the frame, x1 y1 x2 y2 in pixels, may reach over the border; `row` is the one that is looked at.
    tolerance: as `encoding_noise` gives it. None where next to nothing of the box is in the frame.
    """
    box = boxes[row]
    grid = _grid(original.shape, box)
    if grid is None:
        return None
    before, after = (sampled(luma, grid.region, grid.size) for luma in (original, anonymized))
    is_unchanged = np.abs(before - after) <= tolerance
    unchanged = float(is_unchanged[grid.inside].mean())
    kept = kept_around(original, anonymized, boxes, row, grid.face_px)
    cells = _compare(detail(before, grid.face_px), detail(after, grid.face_px), is_unchanged, grid, kept)
    has_texture = cells.judged >= LEAST_JUDGED * cells.all
    if not has_texture:
        share, is_exposed = unchanged, unchanged >= LEAST_UNCHANGED
    else:
        share = cells.showing / cells.judged
        is_alike = share >= LEAST_EXPOSED_SHARE or cells.sure >= SURE_CELLS
        is_exposed = is_alike and (cells.showing >= FEW_CELLS or cells.unchanged >= LEAST_UNCHANGED_OF_FEW)
    is_exposed = is_exposed or _has_hole(before, after, grid, kept, tolerance)
    return Exposure(
        exposed_share=share,
        unchanged_share=unchanged,
        correlation=cells.correlation,
        judged_by="detail" if has_texture else "pixels",
        is_exposed=is_exposed,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Grid:
    """Where the samples of a face are."""

    region: tuple[int, int, int, int]
    """x1 y1 x2 y2: whole pixels inside the frame."""
    size: tuple[int, int]
    """Columns and rows."""
    face_px: float
    """Samples across the whole face."""
    inside: NDArray[np.bool_]
    """(rows, columns): in the inner ellipse."""
    cells: NDArray[np.intp]
    """(rows, columns): the number of the cell; the last number for what lies outside the ellipse."""
    cell_count: int

    def sums(self, values: Plane) -> Cells:
        """The sum over each cell."""
        return np.bincount(self.cells.ravel(), values.ravel(), self.cell_count + 1)[:-1].astype(np.float64, copy=False)


def _grid(shape: tuple[int, ...], box: Sequence[float] | NDArray[np.float32]) -> _Grid | None:
    x1, y1, x2, y2 = (float(edge) for edge in box)
    left, top = max(0, int(x1)), max(0, int(y1))
    right, bottom = min(shape[1], int(np.ceil(x2))), min(shape[0], int(np.ceil(y2)))
    if right - left < EDGE_PX or bottom - top < EDGE_PX:
        return None
    scale = min(1.0, GRID_PX / (x2 - x1))
    columns, rows = max(2, round((right - left) * scale)), max(2, round((bottom - top) * scale))
    across = _places(columns, left, right, x1, x2)
    down = _places(rows, top, bottom, y1, y2)
    inside = across[None] ** 2 + down[:, None] ** 2 <= 1
    if not inside.any():
        return None
    count = int(np.clip(min(x2 - x1, y2 - y1) * scale // CELL_PX, 1, CELLS))
    column_cells, row_cells = (np.clip((axis + 1) / 2 * count, 0, count - 1).astype(np.intp) for axis in (across, down))
    cells = np.where(inside, row_cells[:, None] * count + column_cells[None], count * count)
    return _Grid(
        region=(left, top, right, bottom),
        size=(columns, rows),
        face_px=(x2 - x1) * scale,
        inside=inside,
        cells=cells,
        cell_count=count * count,
    )


def _places(samples: int, start: int, stop: int, edge: float, other_edge: float) -> NDArray[np.float64]:
    """The middles of the samples between start and stop, from -1 to 1 across the inner part of the face."""
    middles = start + (np.arange(samples) + 0.5) * (stop - start) / samples
    return np.asarray(((middles - edge) / (other_edge - edge) * 2 - 1) / INNER)


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """What the cells of a face say."""

    all: int
    judged: int
    """Those with texture."""
    showing: int
    sure: int
    unchanged: float
    """Share of the pixels of those that show."""
    correlation: float


def _compare(before: Plane, after: Plane, is_unchanged: NDArray[np.bool_], grid: _Grid, kept: Kept) -> _Cells:
    """before, after: (rows, columns), the detail of both pictures; is_unchanged: of their pixels."""
    samples = grid.sums(np.ones_like(before))
    power, left, shared = grid.sums(before * before), grid.sums(after * after), grid.sums(before * after)
    is_large = samples >= min(LEAST_SAMPLES, samples.max())
    is_judged = is_large & (power > LEAST_TEXTURE**2 * samples)

    def alike(correlation: float, gain: float) -> NDArray[np.bool_]:
        is_alike = shared > correlation * kept.correlation * np.sqrt(power * left)
        return np.asarray(is_judged & is_alike & (shared > gain * kept.gain * power))

    showing = alike(LEAST_CORRELATION, LEAST_GAIN)
    norm = float(np.sqrt(power[is_judged].sum() * left[is_judged].sum()))
    return _Cells(
        all=int(is_large.sum()),
        judged=int(is_judged.sum()),
        showing=int(showing.sum()),
        sure=int(alike(SURE_CORRELATION, SURE_GAIN).sum()),
        unchanged=float(grid.sums(is_unchanged.astype(np.float32))[showing].sum() / max(samples[showing].sum(), 1)),
        correlation=float(shared[is_judged].sum()) / norm if norm else 0.0,
    )


def _has_hole(before: Plane, after: Plane, grid: _Grid, kept: Kept, tolerance: float) -> bool:
    """Whether there is a window in which the original shows pixel by pixel. before, after: (rows, columns), both pictures."""
    side = max(CELL_PX, int(HOLE_PART * min(grid.size)))
    if min(grid.size) < side:
        return False
    original, anonymized = detail(before, grid.face_px), detail(after, grid.face_px)
    power, left, shared, unchanged, inside = (
        _window_means(values, side)
        for values in (
            original * original,
            anonymized * anonymized,
            original * anonymized,
            np.abs(before - after) <= tolerance,
            grid.inside,
        )
    )
    least = max(LEAST_TEXTURE, HOLE_DETAIL * tolerance)
    is_alike = shared > SURE_CORRELATION * kept.correlation * np.sqrt(np.maximum(power * left, 0))
    is_judged = (inside > HOLE_INSIDE) & (power > least**2)
    return bool((is_judged & is_alike & (shared > SURE_GAIN * kept.gain * power) & (unchanged > HOLE_UNCHANGED)).any())


def _window_means(values: NDArray[np.generic], side: int) -> Plane:
    """The mean over every square of a side that lies within the values: (rows - side + 1, columns - side + 1)."""
    means = cv2.boxFilter(values.astype(np.float32), -1, (side, side), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(means[: values.shape[0] - side + 1, : values.shape[1] - side + 1], np.float32)

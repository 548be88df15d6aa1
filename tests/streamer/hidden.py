"""Pictures, boxes and settings of filters at random, and which samples the masks of the boxes touch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

import streamer
from models.faces import Boxes
from streamer.config import FilterSettings
from streamer.filters import FILTERS, mask_shape
from streamer.masks import FaceMask, face_mask
from streamer.pictures import PIXEL_FORMATS, ColorTags, PictureLayout, Plane

FACE = next((Path(streamer.__file__).parent / "demo_faces").glob("*.jpg"))
SIZE = (64, 48)
CLASSIC = sorted(set(FILTERS) - {"gan"})
"""Filters that need neither keypoints nor a network."""
FACELESS = ["blackout", "solid", "image"]
"""Filters whose fill depends on nothing of the picture."""

lengths = st.one_of(st.sampled_from([0.5, 1.0, 2.0]), st.floats(1, 90, width=32))
box = st.tuples(st.floats(-40, 70, width=32), st.floats(-40, 60, width=32), lengths, lengths)
some_boxes = st.lists(box, min_size=1, max_size=4).map(
    lambda rows: np.array([[x, y, x + width, y + height] for x, y, width, height in rows], np.float32)
)
filter_settings = st.builds(
    FilterSettings,
    name=st.sampled_from(CLASSIC),
    mask=st.sampled_from(["ellipse", "box"]),
    margin=st.sampled_from([0.0, 0.05, 0.5]),
    soft_edge=st.sampled_from([0.0, 0.1, 0.7]),
    cells=st.sampled_from([1, 8, 64]),
    image=st.just(str(FACE)),
)
layouts = st.builds(
    PictureLayout,
    width=st.just(SIZE[0]),
    height=st.just(SIZE[1]),
    pixel_format=st.sampled_from(sorted(PIXEL_FORMATS)),
    color=st.builds(
        ColorTags, range=st.sampled_from([0, 1, 2]), matrix=st.sampled_from([1, 2, 6, 9]), transfer=st.sampled_from([2, 16, 18])
    ),
)


def noise(layout: PictureLayout, seed: int = 0) -> tuple[Plane, ...]:
    planes = layout.planes(np.zeros(layout.nbytes, np.uint8))
    rng = np.random.default_rng(seed)
    for plane in planes:
        plane[:] = rng.integers(0, 1 << PIXEL_FORMATS[layout.pixel_format].bits, plane.shape)
    return planes


def masks_of(layout: PictureLayout, boxes: Boxes, setting: FilterSettings) -> list[FaceMask]:
    form = PIXEL_FORMATS[layout.pixel_format]
    steps = (1 << form.chroma_x_shift, 1 << form.chroma_y_shift)
    found = [
        face_mask(row, SIZE, shape=mask_shape(setting), margin=setting.margin, soft_edge=setting.soft_edge, steps=steps)
        for row in boxes
    ]
    return [mask for mask in found if mask is not None]


def weights(layout: PictureLayout, boxes: Boxes, setting: FilterSettings) -> list[NDArray[np.uint8]]:
    """For each plane the greatest weight that any mask has at a sample, or in chroma at any pixel that the sample colours."""
    luma = np.zeros((layout.height, layout.width), np.uint8)
    for mask in masks_of(layout, boxes, setting):
        x1, y1, x2, y2 = mask.region
        np.maximum(luma[y1:y2, x1:x2], mask.alpha, out=luma[y1:y2, x1:x2])
    grids = [luma.reshape(rows, layout.height // rows, columns, layout.width // columns) for rows, columns in layout.plane_shapes]
    return [grid.max(axis=(1, 3)) for grid in grids]

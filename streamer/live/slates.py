"""The plain picture that goes out while there is none of the camera: the stream's name and what is wrong."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from streamer.pictures import PictureLayout, Plane, color_samples

FIRST_LAYOUT = PictureLayout(width=640, height=360, pixel_format="yuv420p")
"""Of a slate before anything is known of the camera."""

_BACKGROUND = 0.12
_NAME = 0.92
_TEXT = 0.72
"""Parts of white."""
_MARGIN = 0.06
"""Of the picture's width, on either side."""
_NAME_HEIGHT, _TEXT_HEIGHT = 0.13, 0.085
"""Of the picture's height, unless the line is too long for that."""
_SMALLEST_FONT_PX = 7
_LINE_SPACING = 1.3


@lru_cache(maxsize=8)
def slate_planes(layout: PictureLayout, name: str, text: str) -> tuple[Plane, ...]:
    """The planes of a dark picture of this layout, 8 bits, with the name and the text below it. Not to be changed: it is kept."""
    ink = _ink(layout.width, layout.height, name, text)
    black = color_samples((0.0, 0.0, 0.0), layout)
    white = color_samples((1.0, 1.0, 1.0), layout)
    luma = np.rint(black[0] + (white[0] - black[0]) * np.maximum(ink, _BACKGROUND)).astype(np.uint8)
    chroma = [np.full(shape, grey, np.uint8) for shape, grey in zip(layout.plane_shapes[1:], black[1:], strict=True)]
    return (luma, *chroma)


def _ink(width: int, height: int, name: str, text: str) -> NDArray[np.float32]:
    """(height, width): the brightness of the writing from 0 to 1."""
    picture = Image.new("L", (width, height))
    draw = ImageDraw.Draw(picture)
    lines = [
        (line, _fitting_font(line, width, height * part), round(255 * brightness))
        for line, part, brightness in ((name, _NAME_HEIGHT, _NAME), (text, _TEXT_HEIGHT, _TEXT))
        if line
    ]
    top = (height - sum(font.size * _LINE_SPACING for _, font, _ in lines)) / 2
    for line, font, brightness in lines:
        draw.text((width / 2, top + font.size * _LINE_SPACING / 2), line, fill=brightness, font=font, anchor="mm")
        top += font.size * _LINE_SPACING
    return np.asarray(picture, np.float32) / np.float32(255)


def _fitting_font(line: str, width: int, height_px: float) -> ImageFont.FreeTypeFont:
    """As large as wanted, smaller where the line would leave the picture; never too small to be read."""
    font = _font(max(height_px, _SMALLEST_FONT_PX))
    room = width * (1 - 2 * _MARGIN)
    needed = font.getlength(line)
    return font if needed <= room else _font(max(font.size * room / needed, _SMALLEST_FONT_PX))


def _font(size_px: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow comes without FreeType"
    return font

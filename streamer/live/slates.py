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
"""Of the picture's height, less where the text is long."""
_SMALLEST_FONT_PX = 7
_LINE_SPACING = 1.3
_MOST_LINES = 3
_SHRINKING = 0.85


@lru_cache(maxsize=4)
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
    room = width * (1 - 2 * _MARGIN)
    name_font = _font(max(height * _NAME_HEIGHT, _SMALLEST_FONT_PX))
    name_font = _font(max(min(1.0, room / name_font.getlength(name)) * name_font.size, _SMALLEST_FONT_PX))
    text_font, wrapped = _wrapped(text, room, height * _TEXT_HEIGHT)
    lines = [(name, name_font, _NAME), *((line, text_font, _TEXT) for line in wrapped)]
    top = (height - sum(font.size * _LINE_SPACING for _, font, _ in lines)) / 2
    for line, font, brightness in lines:
        middle = (width / 2, top + font.size * _LINE_SPACING / 2)
        draw.text(middle, line, fill=round(255 * brightness), font=font, anchor="mm")
        top += font.size * _LINE_SPACING
    return np.asarray(picture, np.float32) / np.float32(255)


def _wrapped(text: str, room: float, height_px: float) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """A font, as large as wanted or smaller, and the lines that the text is broken into with it; what does not fit is cut off."""
    size = max(height_px, _SMALLEST_FONT_PX)
    while True:
        font = _font(size)
        lines = _broken(text, font, room)
        fits = len(lines) <= _MOST_LINES and all(font.getlength(line) <= room for line in lines)
        if fits or size == _SMALLEST_FONT_PX:
            return font, [_cut(line, font, room) for line in lines[:_MOST_LINES]]
        size = max(size * _SHRINKING, _SMALLEST_FONT_PX)


def _broken(text: str, font: ImageFont.FreeTypeFont, room: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _cut(line: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    while len(line) > 1 and font.getlength(line) > room:
        line = line[:-1]
    return line


def _font(size_px: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow comes without FreeType"
    return font

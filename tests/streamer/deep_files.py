"""PNG and TIFF files with 16 bits a sample and tags of the test's choice."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamer.deep_images import deep_png


def deep_png_file(pixels: NDArray[np.uint16], orientation: int) -> bytes:
    """16 bits a sample, with an eXIf chunk before the pixels."""
    exif = Image.Exif()
    exif[274] = orientation
    body = b"eXIf" + exif.tobytes()[6:]
    data = deep_png(pixels, None, "x")
    return data[:33] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


def deep_tiff_file(pixels: NDArray[np.uint16], tags: dict[int, int], order: str, *, is_big: bool = False) -> bytes:
    """One raw strip, 16 bits a sample, with these further tags; is_big: as a BigTIFF."""
    height, width, channels = pixels.shape
    strip = pixels.astype(f"{order}u2").tobytes()
    head = 16 if is_big else 8
    values: dict[int, list[int]] = {256: [width], 257: [height], 258: [16] * channels, 259: [1], 262: [2 if channels > 2 else 1]}
    values |= {273: [head], 277: [channels], 278: [height], 279: [len(strip)]}
    values |= {tag: [value] for tag, value in tags.items()}
    count, entry, inline = ("Q", "HHQ", 8) if is_big else ("H", "HHI", 4)
    start = head + len(strip)
    outside_at = start + struct.calcsize(order + count) + len(values) * (struct.calcsize(order + entry) + inline) + inline
    directory, outside = struct.pack(order + count, len(values)), b""
    for tag, numbers in sorted(values.items()):
        kind, form = (4, "I") if max(numbers) > 65535 else (3, "H")
        data = struct.pack(f"{order}{len(numbers)}{form}", *numbers)
        directory += struct.pack(order + entry, tag, kind, len(numbers))
        if len(data) > inline:
            directory += struct.pack(order + ("Q" if is_big else "I"), outside_at + len(outside))
            outside += data
        else:
            directory += data.ljust(inline, b"\0")
    mark = b"II" if order == "<" else b"MM"
    header = struct.pack(order + "HHHQ", 43, 8, 0, start) if is_big else struct.pack(order + "HI", 42, start)
    return mark + header + strip + directory + bytes(inline) + outside

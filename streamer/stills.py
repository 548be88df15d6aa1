"""Still pictures that FFmpeg opens like videos of one frame: told by their containers, and refused.

As videos they would lose what makes them photos; the formats that are kept as photos have a path of their own (`images.py`).
"""

from __future__ import annotations

from pathlib import Path

import av.container

from streamer.errors import InputError

_BRANDS = {"avif": "AVIF", "heic": "HEIC", "heix": "HEIC", "heim": "HEIC", "heis": "HEIC", "mif1": "HEIF", "miaf": "HEIF"}
"""Major brands of the files that hold pictures as MP4 holds videos; sequences of pictures have others."""
_NAMES = {"j2k": "JPEG 2000", "jpegxl": "JPEG XL", "jpegls": "JPEG-LS", "webp": "WebP", "ico": "icon"}
_RENAMED = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "TIFF": ".tif"}
"""Formats that are photos to Veil when their suffix says so."""


def refuse_still(path: Path, container: av.container.InputContainer) -> None:
    """Raises InputError where an opened file is a still picture."""
    kind = _kind_of_still(path, container)
    # Raw pictures of cameras are TIFF as well, under suffixes of their own.
    if kind in _RENAMED and not (kind == "TIFF" and path.suffix):
        raise InputError(f"{path}: is a {kind} picture, which its name does not say; rename it to {path.stem}{_RENAMED[kind]}")
    if kind is not None:
        raise InputError(f"{path}: is a still picture ({kind}) of no kind that Veil reads; save it as JPEG or PNG first")


def _kind_of_still(path: Path, container: av.container.InputContainer) -> str | None:
    """The name of the format; None for what moves."""
    form = container.format.name
    if form.endswith("_pipe"):
        name = form.removesuffix("_pipe")
        return _NAMES.get(name, name.upper())
    if form == "image2":
        return path.suffix[1:].upper() or "picture"
    if form == "ico":
        return _NAMES[form]
    if form == "gif":
        return "GIF" if container.streams.video and container.streams.video[0].frames == 1 else None
    return _BRANDS.get(container.metadata.get("major_brand", "")) if form.startswith("mov,") else None

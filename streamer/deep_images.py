"""PNG and TIFF files with 16 bits a sample, of which Pillow reads but the grey ones and writes none."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_PNG_HEAD_BYTES = 8 + 25
"""Signature and header chunk; further chunks may follow."""
_PHOTOMETRIC_TAG, _ORIENTATION_TAG = 262, 274
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_UPRIGHT = 1
_SHORT = 3
"""Type of a TIFF entry: 16 bits."""


def read_deep(path: Path) -> NDArray[np.uint16]:
    """The pixels as they are stored, not set upright: (height, width, channels) grey, RGB, or RGB and alpha; 0 is black.

    Raises ValueError or struct.error where they cannot be decoded.
    """
    data = bytearray(path.read_bytes())
    is_negative = data.startswith((b"II", b"MM")) and _make_plain(data)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is None or read.dtype != np.uint16:
        raise ValueError("its 16-bit pixels cannot be decoded")
    pixels = read.astype(np.uint16, copy=False)
    if pixels.ndim == 2:
        return (~pixels if is_negative else pixels)[:, :, None]
    if is_negative:
        raise ValueError("its 16-bit pixels have white as 0 and more than one channel: save it as grey or RGB")
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB).astype(np.uint16, copy=False)


def _make_plain(tiff: bytearray) -> bool:
    """Mark a TIFF in place as upright and with 0 for black; whether it said that 0 is white.

    OpenCV heeds the two tags for some kinds of pixels and not for others.
    """
    order, is_big = _tiff_form(tiff)
    is_negative = False
    for tag, kind, at in _tiff_entries(tiff):
        (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), tiff, at + (12 if is_big else 8))
        is_white_zero = tag == _PHOTOMETRIC_TAG and value == _WHITE_IS_ZERO
        is_negative |= is_white_zero
        if is_white_zero or tag == _ORIENTATION_TAG:
            plain = _BLACK_IS_ZERO if is_white_zero else _UPRIGHT
            struct.pack_into(f"{order}HHQH6x" if is_big else f"{order}HHIH2x", tiff, at, tag, _SHORT, 1, plain)
    return is_negative


def _tiff_entries(tiff: bytearray) -> Iterator[tuple[int, int, int]]:
    """Tag, type and place of each entry of the first directory."""
    order, is_big = _tiff_form(tiff)
    offset, count, entry_bytes = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    (directory_at,) = struct.unpack_from(order + offset, tiff, 8 if is_big else 4)
    (entries,) = struct.unpack_from(order + count, tiff, directory_at)
    for number in range(entries):
        at = directory_at + struct.calcsize(count) + number * entry_bytes
        tag, kind = struct.unpack_from(f"{order}HH", tiff, at)
        yield tag, kind, at


def _tiff_form(tiff: bytearray) -> tuple[str, bool]:
    """The byte order as `struct` writes it, and whether offsets have 64 bits."""
    order = "<" if tiff[0] == ord("I") else ">"
    return order, struct.unpack_from(f"{order}H", tiff, 2)[0] == 43


def deep_png(pixels: NDArray[np.uint16], profile: bytes | None, software: str) -> bytes:
    """OpenCV's PNG with the chunks that it cannot write: ICC profile and Software.

    pixels: (height, width, channels), uint16: grey, grey and alpha, RGB, or RGB and alpha. Raises OSError where the encoder fails.
    """
    bgr = {1: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    if pixels.shape[2] == 2:
        pixels = np.concatenate((np.repeat(pixels[:, :, :1], 3, axis=2), pixels[:, :, 1:]), axis=2)
    code = bgr[pixels.shape[2]]
    done, encoded = cv2.imencode(".png", pixels if code is None else cv2.cvtColor(pixels, code))
    if not done:
        raise OSError("the PNG encoder failed")
    data = encoded.tobytes()
    chunks = _chunk(b"tEXt", b"Software\0" + software.encode("ascii"))
    if profile is not None:
        chunks = _chunk(b"iCCP", b"ICC\0\0" + zlib.compress(profile)) + chunks
    return data[:_PNG_HEAD_BYTES] + chunks + data[_PNG_HEAD_BYTES:]


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def deep_tiff(pixels: NDArray[np.uint16], profile: bytes | None, resolution: tuple[float, float] | None, software: str) -> bytes:
    """A TIFF of one deflated strip with 16 bits a sample, which neither Pillow nor OpenCV writes with a profile.

    Tag numbers and types are those of TIFF 6.0: 3 = 16 bits, 4 = 32 bits, 5 = a fraction, 2 = text, 7 = bytes.
    """
    height, width, channels = pixels.shape
    strip = zlib.compress(np.ascontiguousarray(pixels, "<u2").tobytes())
    has_alpha = channels in (2, 4)
    entries: list[tuple[int, int, int, bytes]] = [
        (256, 4, 1, struct.pack("<I", width)),
        (257, 4, 1, struct.pack("<I", height)),
        (258, 3, channels, struct.pack(f"<{channels}H", *[16] * channels)),
        (259, 3, 1, struct.pack("<H", 8)),
        (262, 3, 1, struct.pack("<H", 2 if channels >= 3 else 1)),
        (273, 4, 1, struct.pack("<I", 8)),
        (277, 3, 1, struct.pack("<H", channels)),
        (278, 4, 1, struct.pack("<I", height)),
        (279, 4, 1, struct.pack("<I", len(strip))),
    ]
    if resolution is not None:
        entries += [(282 + i, 5, 1, struct.pack("<II", round(resolution[i] * 100), 100)) for i in (0, 1)]
        entries.append((296, 3, 1, struct.pack("<H", 2)))
    text = software.encode("ascii") + b"\0"
    entries.append((305, 2, len(text), text))
    if has_alpha:
        entries.append((338, 3, 1, struct.pack("<H", 2)))
    if profile is not None:
        entries.append((34675, 7, len(profile), profile))
    strip += bytes(len(strip) % 2)
    directory_at = 8 + len(strip)
    values_at = directory_at + 2 + 12 * len(entries) + 4
    directory, values = struct.pack("<H", len(entries)), b""
    for tag, kind, count, value in sorted(entries):
        directory += struct.pack("<HHI", tag, kind, count)
        if len(value) <= 4:
            directory += value.ljust(4, b"\0")
        else:
            directory += struct.pack("<I", values_at + len(values))
            values += value + bytes(len(value) % 2)
    return b"II*\0" + struct.pack("<I", directory_at) + strip + directory + bytes(4) + values

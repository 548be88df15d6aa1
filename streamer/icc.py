"""ICC profiles without the words in them: what the numbers of a picture mean, and nothing about who made it with what."""

from __future__ import annotations

import struct

_HEADER_BYTES = 128

_COLOR_TAGS = frozenset(
    {b"wtpt", b"bkpt", b"chad", b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC", b"lumi", b"cicp", b"gamt"}
    | {b"A2B0", b"A2B1", b"A2B2", b"B2A0", b"B2A1", b"B2A2", b"D2B0", b"D2B1", b"D2B2", b"B2D0", b"B2D1", b"B2D2"}
)
"""The tags that colour conversion reads; all others are names, texts, dates, measurements or for the maker's own use."""

_TEXTS = {b"desc": "RGB", b"cprt": "none"}
"""Tags that every profile must have, with what they say from now on."""


def without_words(profile: bytes) -> bytes | None:
    """The same colours with only the tags that describe them, the header's device, maker, date and identity cleared.

    None where the bytes are no ICC profile.
    """
    tags = _tags(profile)
    if tags is None:
        return None
    is_version_4 = profile[8] >= 4
    entries = [(name, data) for name, data in tags if name in _COLOR_TAGS]
    entries += [(name, _text(name, text, is_version_4=is_version_4)) for name, text in _TEXTS.items()]
    return _assembled(_cleared_header(profile), entries)


def _tags(profile: bytes) -> list[tuple[bytes, bytes]] | None:
    if len(profile) < _HEADER_BYTES + 4 or profile[36:40] != b"acsp":
        return None
    (count,) = struct.unpack_from(">I", profile, _HEADER_BYTES)
    if len(profile) < _HEADER_BYTES + 4 + 12 * count:
        return None
    tags = []
    for number in range(count):
        name, offset, size = struct.unpack_from(">4sII", profile, _HEADER_BYTES + 4 + 12 * number)
        if offset + size > len(profile):
            return None
        tags.append((name, profile[offset : offset + size]))
    return tags


def _cleared_header(profile: bytes) -> bytearray:
    """Keeps version, class, colour spaces, intent and illuminant (ICC.1:2022, table 17)."""
    header = bytearray(profile[:_HEADER_BYTES])
    header[4:8] = bytes(4)  # preferred CMM
    header[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # date
    header[40:64] = bytes(24)  # platform, flags, manufacturer, model, attributes
    header[80:128] = bytes(48)  # creator, profile identity
    return header


def _text(name: bytes, text: str, *, is_version_4: bool) -> bytes:
    if is_version_4:
        encoded = text.encode("utf-16-be")
        return b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(encoded), 28) + encoded
    ascii_text = text.encode("ascii") + b"\0"
    if name == b"desc":
        return b"desc" + struct.pack(">II", 0, len(ascii_text)) + ascii_text + bytes(4 + 4 + 2 + 1 + 67)
    return b"text" + bytes(4) + ascii_text


def _assembled(header: bytearray, entries: list[tuple[bytes, bytes]]) -> bytes:
    table = bytearray(struct.pack(">I", len(entries)))
    body = bytearray()
    start = _HEADER_BYTES + 4 + 12 * len(entries)
    places: dict[bytes, int] = {}
    for name, data in entries:
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, places[data], len(data))
    struct.pack_into(">I", header, 0, start + len(body))
    return bytes(header + table + body)

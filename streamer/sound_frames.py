"""Where the frames of sound that counts its own bytes end: MPEG audio, AAC with ADTS headers, AC-3 and E-AC-3."""

from __future__ import annotations

_LAYER_1 = tuple(range(32, 449, 32))
_MPEG_KBITS = {
    (1, 1): _LAYER_1,
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""By version and layer (ISO 11172-3 and 13818-3, 2.4.2.3)."""
_MPEG_RATES_HZ = {0b11: (44100, 48000, 32000), 0b10: (22050, 24000, 16000), 0b00: (11025, 12000, 8000)}
"""By the version's bits."""
_AC3_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_LAST_AC3_BITSTREAM = 10
"""Higher numbers are E-AC-3."""

_ADTS_HEADER_BYTES = 7
_ADTS_RATES = 13


def frame_bytes(codec: str, data: bytes, at: int = 0) -> int:
    """Length of the frame that begins at a place, as its header says it; 0 where none begins there, or it does not say.

    codec: mp1, mp2, mp3, aac (with ADTS headers), ac3 or eac3; all others have none. The data may end before the frame does.
    """
    header = data[at : at + 8]
    if len(header) < _ADTS_HEADER_BYTES:
        return 0
    match codec:
        case "mp1" | "mp2" | "mp3":
            return _mpeg_bytes(header)
        case "aac":
            return _adts_bytes(header)
        case "ac3" | "eac3":
            return _ac3_bytes(header)
    return 0


def adts_header_bytes(data: bytes, at: int = 0) -> int:
    """7 or 9 where an ADTS header begins at a place (ISO 14496-3, 1.A.2.2), else 0."""
    if len(data) - at < _ADTS_HEADER_BYTES or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return 0
    has_checksum = data[at + 1] & 1 == 0
    return 9 if has_checksum else _ADTS_HEADER_BYTES


def _mpeg_bytes(header: bytes) -> int:
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate, kbits, padding = header[2] >> 2 & 3, header[2] >> 4, header[2] >> 1 & 1
    if header[0] != 0xFF or header[1] < 0xE0 or version not in _MPEG_RATES_HZ or layer > 3 or rate > 2 or not 0 < kbits < 15:
        return 0
    is_first = version == 0b11
    bits = 1000 * _MPEG_KBITS[1 if is_first else 2, layer][kbits - 1]
    rate_hz = _MPEG_RATES_HZ[version][rate]
    if layer == 1:
        return 4 * (12 * bits // rate_hz + padding)
    return (144 if is_first or layer == 2 else 72) * bits // rate_hz + padding


def _adts_bytes(header: bytes) -> int:
    own = adts_header_bytes(header)
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if own and header[2] >> 2 & 15 < _ADTS_RATES and length > own else 0


def _ac3_bytes(header: bytes) -> int:
    if header[:2] != b"\x0b\x77":
        return 0
    if header[5] >> 3 > _LAST_AC3_BITSTREAM:
        return 2 * (((header[2] & 7) << 8 | header[3]) + 1)
    rate, size = header[4] >> 6, header[4] & 63
    if rate > 2 or size >= 2 * len(_AC3_KBITS):
        return 0
    kbits = _AC3_KBITS[size // 2]
    return 2 * (2 * kbits, 320 * kbits // 147 + size % 2, 3 * kbits)[rate]

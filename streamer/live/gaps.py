"""Pictures that were lost on their way, of which the decoder says nothing.

Where a whole picture of H.264 is missing, FFmpeg takes the one before for it and goes on: those behind it come out as ghosts,
not marked. Each picture says the number of the last one that it may build on, so that a gap can be seen (ITU-T H.264, 7.4.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_START = b"\x00\x00\x01"
_SLICE, _KEY_SLICE, _SEQUENCE_PARAMETERS = 1, 5, 7
_SLICE_HEADER_BYTES = 24
"""More than the part of it that is read takes."""
_HIGH_PROFILES = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244))


class _Bits:
    """Reads the bits of a unit, whose first byte is left out. Raises ValueError at its end."""

    def __init__(self, unit: bytes) -> None:
        plain = unit[1:].replace(b"\x00\x00\x03", b"\x00\x00")
        self._bits = "".join(f"{byte:08b}" for byte in plain)
        self._at = 0

    def take(self, count: int) -> int:
        bits = self._bits[self._at : self._at + count]
        if len(bits) < count:
            raise ValueError("the unit is too short")
        self._at += count
        return int(bits, 2) if count else 0

    def golomb(self) -> int:
        zeros = self._bits.find("1", self._at) - self._at
        if zeros < 0:
            raise ValueError("the unit is too short")
        self._at += zeros
        return self.take(zeros + 1) - 1

    def signed_golomb(self) -> int:
        value = self.golomb()
        return (value + 1) // 2 if value % 2 else -(value // 2)


@dataclass(frozen=True, kw_only=True)
class _Sequence:
    """What sequence parameters say of numbers."""

    number_bits: int
    has_color_planes: bool
    may_have_gaps: bool


class Gaps:
    """Of one stream of H.264 with start codes, as it comes over networks; finds none in anything else."""

    def __init__(self, parameters: bytes | None) -> None:
        """parameters: the decoder's `extradata`, if there is any."""
        self._sequence: _Sequence | None = None
        self._last: int | None = None
        for unit in _units(parameters or b""):
            self._learn(unit)

    def precede(self, packet: bytes) -> bool:
        """Whether a picture is missing between the last packet's and this one's that this one may build on."""
        for unit in _units(packet):
            kind = unit[0] & 0x1F
            if kind == _SEQUENCE_PARAMETERS:
                self._learn(unit)
            elif kind in (_SLICE, _KEY_SLICE):
                return self._follow(unit, is_key=kind == _KEY_SLICE)
        return False

    def _follow(self, unit: bytes, *, is_key: bool) -> bool:
        sequence = self._sequence
        if sequence is None or sequence.may_have_gaps:
            return False
        bits = _Bits(unit[:_SLICE_HEADER_BYTES])
        try:
            for _ in range(3):
                bits.golomb()
            bits.take(2 if sequence.has_color_planes else 0)
            number = bits.take(sequence.number_bits)
        except ValueError:
            return True
        last, modulus = self._last, 1 << sequence.number_bits
        if unit[0] & 0x60:  # others may build on it
            self._last = number
        return not is_key and last is not None and number not in (last, (last + 1) % modulus)

    def _learn(self, unit: bytes) -> None:
        if not unit or unit[0] & 0x1F != _SEQUENCE_PARAMETERS:
            return
        try:
            self._sequence = _sequence(_Bits(unit))
        except ValueError:
            self._sequence = None


def _units(data: bytes) -> Iterator[bytes]:
    """The units between start codes, without them."""
    at = data.find(_START) if data[:3] in (_START, b"\x00\x00\x00") else -1
    while at >= 0:
        begin = at + len(_START)
        at = data.find(_START, begin)
        unit = data[begin:] if at < 0 else data[begin:at]
        if unit:
            yield unit


def _sequence(bits: _Bits) -> _Sequence:
    """Sequence parameters up to where numbers may have gaps (7.3.2.1.1)."""
    profile = bits.take(8)
    bits.take(16)
    bits.golomb()
    has_color_planes = False
    if profile in _HIGH_PROFILES:
        color_format = bits.golomb()
        has_color_planes = color_format == 3 and bool(bits.take(1))
        bits.golomb()
        bits.golomb()
        bits.take(1)
        if bits.take(1):
            for number in range(12 if color_format == 3 else 8):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    number_bits = bits.golomb() + 4
    match bits.golomb():
        case 0:
            bits.golomb()
        case 1:
            bits.take(1)
            bits.signed_golomb()
            bits.signed_golomb()
            for _ in range(bits.golomb()):
                bits.signed_golomb()
    bits.golomb()
    return _Sequence(number_bits=number_bits, has_color_planes=has_color_planes, may_have_gaps=bool(bits.take(1)))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_golomb()) % 256
        last = following or last

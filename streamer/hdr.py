"""What HDR video says of its brightness: out of decoded frames, into encoders."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import msgspec


class HdrMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """SMPTE ST 2086 and CTA-861.3 descriptions of the picture's brightness."""

    primaries: tuple[tuple[float, float], ...] = ()
    """CIE x y of red, green, blue and white; empty where unknown."""
    luminance: tuple[float, float] | None = None
    """Least and greatest luminance of the mastering display, cd/m2."""
    light_level: tuple[int, int] | None = None
    """Greatest and greatest frame-average light level, cd/m2."""


def hdr_of_side_data(attached: dict[str, bytes]) -> HdrMetadata | None:
    """What FFmpeg's AVMasteringDisplayMetadata (10 rationals, 2 flags) and AVContentLightMetadata (2 numbers) say; None without."""
    primaries: tuple[tuple[float, float], ...] = ()
    luminance = light_level = None
    mastering = attached.get("MASTERING_DISPLAY_METADATA")
    if mastering is not None and len(mastering) >= 88:
        numbers = struct.unpack("<20i2i", mastering[:88])
        values = [numbers[i] / numbers[i + 1] if numbers[i + 1] else 0.0 for i in range(0, 20, 2)]
        if numbers[20]:
            primaries = tuple((values[i], values[i + 1]) for i in range(0, 8, 2))
        if numbers[21]:
            luminance = (values[8], values[9])
    light = attached.get("CONTENT_LIGHT_LEVEL")
    if light is not None and len(light) >= 8:
        most, average = struct.unpack("<2I", light[:8])
        light_level = (most, average)
    if not primaries and luminance is None and light_level is None:
        return None
    return HdrMetadata(primaries=primaries, luminance=luminance, light_level=light_level)


@dataclass(frozen=True, kw_only=True)
class EncoderParameters:
    """What an encoder must be told to write the description again."""

    options: dict[str, str]
    """Additions to the encoder's options, each a part of a list with colons."""
    losses: tuple[str, ...]
    """What it cannot write, a sentence each."""


@dataclass(frozen=True, kw_only=True)
class _Notation:
    option: str
    display: str
    light_level: str
    chromaticity_unit: float
    luminance_unit: float
    """x264 and x265 count in units of 0.00002 and 0.0001 cd/m2, as the standard does; SVT-AV1 takes the numbers themselves."""


_NOTATIONS = {
    "libx264": _Notation(
        option="x264-params", display="mastering-display", light_level="cll", chromaticity_unit=0.00002, luminance_unit=0.0001
    ),
    "libx265": _Notation(
        option="x265-params", display="master-display", light_level="max-cll", chromaticity_unit=0.00002, luminance_unit=0.0001
    ),
    "libsvtav1": _Notation(
        option="svtav1-params", display="mastering-display", light_level="content-light", chromaticity_unit=1, luminance_unit=1
    ),
}


def encoder_parameters(hdr: HdrMetadata, encoder: str) -> EncoderParameters:
    """How to tell an encoder, by FFmpeg's name, of this description."""
    notation = _NOTATIONS.get(encoder)
    if notation is None:
        return EncoderParameters(
            options={}, losses=(f"{encoder} drops the description of the HDR mastering display and its light level.",)
        )
    parts, losses = [], []
    if hdr.primaries and hdr.luminance is not None:
        parts.append(f"{notation.display}={_display(hdr.primaries, hdr.luminance, notation)}")
    elif hdr.primaries or hdr.luminance is not None:
        losses.append("The description of the HDR mastering display is incomplete and is dropped.")
    if hdr.light_level is not None:
        parts.append(f"{notation.light_level}={hdr.light_level[0]},{hdr.light_level[1]}")
    return EncoderParameters(options={notation.option: ":".join(parts)} if parts else {}, losses=tuple(losses))


def _display(primaries: tuple[tuple[float, float], ...], luminance: tuple[float, float], notation: _Notation) -> str:
    """G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min), which these encoders share."""
    red, green, blue, white = primaries
    points = "".join(
        f"{name}({_pair(point, notation.chromaticity_unit)})"
        for name, point in (("G", green), ("B", blue), ("R", red), ("WP", white))
    )
    least, greatest = luminance
    return f"{points}L({_pair((greatest, least), notation.luminance_unit)})"


def _pair(values: tuple[float, float], unit: float) -> str:
    return ",".join(f"{value:.6f}" if unit == 1 else str(round(value / unit)) for value in values)

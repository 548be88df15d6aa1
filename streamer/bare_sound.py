"""Copied sound without what stands beside it: tags with pictures of people, comments, places.

They stand in packets, where a tool put a whole file of sound into another format, and in the parameters of codecs. What cannot be
told to be sound does not travel on.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from streamer.sound_frames import adts_header_bytes, frame_bytes

_TAG = re.compile(
    rb"ID3[\x02-\x04]\x00.[\x00-\x7f]{4}|APETAGEX.{24}|TAG[\x00\x20-\xff]{94}.{31}",
    re.DOTALL,
)
"""How ID3v2 tags begin, the beginning or end of APE tags, and whole ID3v1 tags; none of it occurs in sound by chance."""
_ID3_HEADER_BYTES = 10
_APE_HEADER_BYTES = 32
_FRAMED = frozenset({"mp1", "mp2", "mp3", "ac3", "eac3"})
_WITHOUT_PARAMETERS = _FRAMED | {"dts", "truehd", "mlp"}
_MOST_PARAMETER_BYTES = 128
"""Of codecs whose parameters are a few numbers."""
_STREAM_INFO_BYTES = 34
_ALAC_BYTES = 36
_VORBIS_IDENTIFICATION_BYTES = 30


def bare_parameters(codec: str, parameters: bytes) -> bytes:
    """A codec's parameters (`extradata`) without comments, pictures and whatever else it does not need to decode.

    codec: FFmpeg's name. Raises ValueError where they cannot be understood.
    """
    if not parameters or codec in _WITHOUT_PARAMETERS or codec.startswith("pcm_"):
        return b""
    if codec in _REBUILT:
        return _REBUILT[codec](parameters)
    if len(parameters) > _MOST_PARAMETER_BYTES:
        raise ValueError(f"its parameters of {len(parameters)} bytes hold more than {codec} needs")
    return parameters


class BareSound:
    """The sound of one track; takes its packets in their order, because a tag may go on over several."""

    def __init__(self, codec: str, *, has_parameters: bool) -> None:
        """codec: FFmpeg's name. has_parameters: AAC without any must have ADTS headers."""
        self.other_bytes = 0
        """Cut off so far."""
        self.unknown_packets = 0
        """Left out so far, because nothing in them could be told to be sound."""
        self._codec = codec
        self._has_parameters = has_parameters
        self._left = 0

    def losses(self, track: int) -> list[str]:
        """A sentence for each kind of thing that was left out so far."""
        found = []
        if self.other_bytes:
            found.append(f"Tags inside the sound of track {track} are dropped ({self.other_bytes} bytes).")
        if self.unknown_packets:
            found.append(f"{self.unknown_packets} packets of track {track} are dropped: nothing in them can be told to be sound.")
        return found

    def clean(self, packet: bytes) -> bytes:
        """The sound of a packet: one slice of it, with its ADTS header; empty where there is none."""
        if self._codec.startswith("pcm_"):
            return packet
        begin = self._after_tags(packet, self._skip(packet))
        end = self._end(packet, begin)
        while self._codec == "aac" and (header := adts_header_bytes(packet, begin)) and _TAG.match(packet, begin + header):
            # Who wrote the header took a tag for sound.
            begin = self._after_tags(packet, begin + header)
            end = self._end(packet, begin) if adts_header_bytes(packet, begin) else max(begin, end)
        tag = _TAG.search(packet, end)
        if tag is not None:
            self._after_tags(packet, tag.start())
        if begin == end < len(packet):
            self.unknown_packets += 1
        else:
            self.other_bytes += len(packet) - (end - begin)
        return packet[begin:end]

    def _skip(self, packet: bytes) -> int:
        skipped = min(self._left, len(packet))
        self._left -= skipped
        return skipped

    def _after_tags(self, packet: bytes, at: int) -> int:
        """Where the tags end that begin at a place; remembers how much of the last one is still to come."""
        while True:
            if self._codec in _FRAMED:
                at = len(packet) - len(packet[at:].lstrip(b"\0"))
            tag = _TAG.match(packet, at)
            if tag is None:
                return at
            end = at + _tag_bytes(tag[0])
            self._left = max(0, end - len(packet))
            at = min(end, len(packet))

    def _end(self, packet: bytes, begin: int) -> int:
        """Where the sound ends that begins at a place; the same place where there is none."""
        if self._codec in _FRAMED:
            end = begin
            while (length := frame_bytes(self._codec, packet, end)) and end + length <= len(packet):
                end += length
            return end
        if self._codec == "aac" and (adts_header_bytes(packet, begin) or not self._has_parameters):
            length = frame_bytes("aac", packet, begin)
            return begin + length if begin + length <= len(packet) else begin
        if not _may_begin(self._codec, packet[begin : begin + 8]):
            return begin
        tag = _TAG.search(packet, begin)
        return max(begin, _tag_begin(tag)) if tag is not None else len(packet)


def without_adts_header(packet: bytes) -> bytes:
    """An AAC packet as containers with track parameters want it; MPEG streams put a header before each.

    The parameters that `track_parameters` makes of such a stream are already those without headers.
    """
    return packet[adts_header_bytes(packet) :]


def aac_config(packet: bytes) -> bytes:
    """The AudioSpecificConfig (ISO 14496-3, 1.6.2.1) of a packet with an ADTS header. Raises ValueError without one."""
    if not adts_header_bytes(packet):
        raise ValueError("a packet of AAC without parameters")
    object_type, rate_index = (packet[2] >> 6) + 1, packet[2] >> 2 & 0xF
    channels = (packet[2] & 1) << 2 | packet[3] >> 6
    return (object_type << 11 | rate_index << 7 | channels << 3).to_bytes(2, "big")


def _tag_bytes(tag: bytes) -> int:
    """Length of the whole tag; where the end of an APE tag was found, of that end alone."""
    if tag.startswith(b"ID3"):
        size = tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]
        has_footer = bool(tag[5] & 0x10)
        return _ID3_HEADER_BYTES + size + has_footer * _ID3_HEADER_BYTES
    if tag.startswith(b"APE"):
        return _APE_HEADER_BYTES + _is_ape_header(tag) * _ape_size(tag)
    return len(tag)


def _tag_begin(tag: re.Match[bytes]) -> int:
    """The oldest APE tags have nothing before their items; may be negative where the size is damaged."""
    if tag[0].startswith(b"APE") and not _is_ape_header(tag[0]):
        return min(tag.start(), tag.end() - _ape_size(tag[0]))
    return tag.start()


def _is_ape_header(tag: bytes) -> bool:
    return bool(tag[23] & 0x20)


def _ape_size(tag: bytes) -> int:
    """Of the items and what stands at their end."""
    return int.from_bytes(tag[12:16], "little")


def _may_begin(codec: str, start: bytes) -> bool:
    """Whether a packet that begins like this is sound, and not one of the headers that files of these codecs begin with."""
    match codec:
        case "vorbis":
            return bool(start) and start[0] & 1 == 0
        case "opus":
            return start not in (b"OpusHead", b"OpusTags")
        case "flac":
            return start[:1] == b"\xff" and start[1:2] in (b"\xf8", b"\xf9")
    return True


def _bare_vorbis(parameters: bytes) -> bytes:
    """The three headers with an empty second one, which holds the comments (Vorbis I, 5)."""
    identification, setup = _xiph_headers(parameters)
    if len(identification) != _VORBIS_IDENTIFICATION_BYTES or identification[:7] != b"\x01vorbis" or setup[:7] != b"\x05vorbis":
        raise ValueError("its Vorbis headers are damaged")
    comments = b"\x03vorbis" + bytes(8) + b"\x01"
    return bytes((2, len(identification), len(comments))) + identification + comments + setup


def _xiph_headers(parameters: bytes) -> tuple[bytes, bytes]:
    """The first and the last of three headers, in both ways in which FFmpeg packs them."""
    if parameters[:2] == _VORBIS_IDENTIFICATION_BYTES.to_bytes(2, "big"):
        at, headers = 0, []
        for _ in range(3):
            length = int.from_bytes(parameters[at : at + 2], "big")
            headers.append(parameters[at + 2 : at + 2 + length])
            at += 2 + length
        return headers[0], headers[2]
    if parameters[:1] != b"\x02":
        raise ValueError("its Vorbis headers are damaged")
    at, lengths = 1, [0, 0]
    for number in range(2):
        while parameters[at : at + 1] == b"\xff":
            lengths[number] += 255
            at += 1
        lengths[number] += int.from_bytes(parameters[at : at + 1], "big")
        at += 1
    return parameters[at : at + lengths[0]], parameters[at + sum(lengths) :]


def _bare_opus(parameters: bytes) -> bytes:
    """The identification header alone (RFC 7845, 5.1)."""
    if parameters[:8] != b"OpusHead" or len(parameters) < 19:
        raise ValueError("its Opus header is damaged")
    has_mapping = parameters[18] != 0
    return parameters[: 21 + parameters[9] if has_mapping else 19]


def _bare_flac(parameters: bytes) -> bytes:
    """STREAMINFO alone, without the blocks behind it that hold comments and pictures (RFC 9639, 8)."""
    info = parameters[8:] if parameters[:4] == b"fLaC" else parameters
    if len(info) < _STREAM_INFO_BYTES or (info is not parameters and parameters[4] & 0x7F != 0):
        raise ValueError("its FLAC header is damaged")
    return info[:_STREAM_INFO_BYTES]


def _bare_alac(parameters: bytes) -> bytes:
    """The atom that begins with its length and name, as long as the decoder needs it."""
    if parameters[4:8] != b"alac" or len(parameters) < _ALAC_BYTES:
        raise ValueError("its ALAC header is damaged")
    return _ALAC_BYTES.to_bytes(4, "big") + parameters[4:_ALAC_BYTES]


_REBUILT: dict[str, Callable[[bytes], bytes]] = {
    "vorbis": _bare_vorbis,
    "opus": _bare_opus,
    "flac": _bare_flac,
    "alac": _bare_alac,
}

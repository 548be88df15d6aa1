"""The parameters of sound and subtitle tracks on their way from one container to another."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import cast

import av
import av.container
import av.stream

from streamer.opening import open_input, read_packets
from streamer.sound import add_flac

_MOST_PACKETS_TO_FIRST = 5000


def track_parameters(path: Path, indices: Sequence[int], muxer: str, *, reencoded: Collection[int] = ()) -> bytes:
    """A small file in the format of `muxer` with the first packet of each of these tracks, in their order.

    Many formats say what a track is only in its packets, so a header alone could not be opened again. Language and the mark of the
    default track are kept, nothing else. Empty without tracks. Tracks in `reencoded` are described as the FLAC that `LosslessSound`
    makes of them.
    Raises ValueError or av.FFmpegError where the format cannot hold them.
    """
    if not indices:
        return b""
    memory = BytesIO()
    with open_input(path) as container, av.open(memory, "w", format=muxer) as small:
        copies = {
            index: _reencoded(container.streams[index], small) if index in reencoded else _copy_of(container.streams[index], small)
            for index in indices
        }
        waiting = set(copies) - set(reencoded)
        for count, packet in enumerate(read_packets(container)):
            if not waiting or count > _MOST_PACKETS_TO_FIRST:
                break
            if packet.stream_index in waiting:
                waiting.discard(packet.stream_index)
                packet.pts = packet.dts = 0
                packet.stream = copies[packet.stream_index]
                small.mux(packet)
        for index in reencoded:
            _mux_silence(small, cast(av.AudioStream, copies[index]))
    return memory.getvalue()


def sound_parameters(stream: av.AudioStream, packet: bytes) -> bytes:
    """The same for a track of a live stream, with a packet of it as it comes.

    As NUT, which holds everything that a camera sends; Matroska takes no G.711. Raises ValueError or av.FFmpegError.
    """
    memory = BytesIO()
    with av.open(memory, "w", format="nut") as small:
        copy = small.add_stream_from_template(stream, opaque=True)
        if has_adts_headers(stream):
            # Only MPEG streams and plain AAC files can do with what stands before each packet.
            copy.codec_context.extradata = _aac_config(packet)
            packet = without_adts_header(packet)
        first = av.Packet(packet)
        first.pts = first.dts = 0
        first.time_base = stream.time_base or Fraction(1, 1000)
        first.stream = copy
        small.mux(first)
    return memory.getvalue()


def add_tracks(output: av.container.OutputContainer, parameters: bytes) -> list[av.stream.Stream]:
    """Add the tracks that `track_parameters` described, in their order."""
    if not parameters:
        return []
    with av.open(BytesIO(parameters)) as small:
        return [_copy_of(template, output) for template in small.streams]


def _copy_of(template: av.stream.Stream, output: av.container.OutputContainer) -> av.stream.Stream:
    copy = output.add_stream_from_template(template, opaque=True)
    if template.language:
        copy.metadata["language"] = template.language
    copy.disposition = template.disposition & av.stream.Disposition.default
    return copy


def _reencoded(template: av.stream.Stream, output: av.container.OutputContainer) -> av.stream.Stream:
    assert isinstance(template, av.AudioStream)
    copy = add_flac(output, template)
    if template.language:
        copy.metadata["language"] = template.language
    return copy


def _mux_silence(output: av.container.OutputContainer, stream: av.AudioStream) -> None:
    context = stream.codec_context
    frame = av.AudioFrame(format=context.format.name, layout=context.layout.name, samples=16)
    frame.sample_rate, frame.pts = context.sample_rate, 0
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def without_adts_header(packet: bytes) -> bytes:
    """An AAC packet as containers with track parameters want it; MPEG streams put a header before each.

    The parameters that `track_parameters` makes of such a stream are already those without headers.
    """
    if len(packet) < 7 or packet[0] != 0xFF or packet[1] & 0xF6 != 0xF0:
        return packet
    has_checksum = packet[1] & 1 == 0
    return packet[9 if has_checksum else 7 :]


def _aac_config(packet: bytes) -> bytes:
    """The AudioSpecificConfig (ISO 14496-3, 1.6.2.1) of a packet with an ADTS header. Raises ValueError without one."""
    if len(packet) < 7 or packet[0] != 0xFF or packet[1] & 0xF6 != 0xF0:
        raise ValueError("a packet of AAC without parameters")
    object_type, rate_index = (packet[2] >> 6) + 1, packet[2] >> 2 & 0xF
    channels = (packet[2] & 1) << 2 | packet[3] >> 6
    return (object_type << 11 | rate_index << 7 | channels << 3).to_bytes(2, "big")


def has_adts_headers(stream: av.stream.Stream) -> bool:
    context = stream.codec_context
    return context is not None and context.name == "aac" and not context.extradata


def obstacle(path: Path, index: int, muxer: str) -> str:
    """Why the format of `muxer` cannot hold this track; empty where it can. Found out by trying."""
    try:
        track_parameters(path, [index], muxer)
    except (av.FFmpegError, ValueError) as error:
        return str(error)
    return ""

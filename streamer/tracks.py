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

from streamer.bare_sound import BareSound, aac_config, bare_parameters, without_adts_header
from streamer.opening import Packet, open_input, read_packets
from streamer.sound import add_flac
from streamer.sound_frames import adts_header_bytes

_MOST_PACKETS_TO_FIRST = 5000


def track_parameters(path: Path, indices: Sequence[int], muxer: str, *, reencoded: Collection[int] = ()) -> bytes:
    """A small file in the format of `muxer` with the first packet of each of these tracks, in their order.

    Many formats say what a track is only in its packets, so a header alone could not be opened again. Language and the mark of the
    default track are kept, nothing else: sound is laid bare as `bare_sound` does. Empty without tracks. Tracks in `reencoded` are
    described as the FLAC that `LosslessSound` makes of them.
    Raises ValueError or av.FFmpegError where the format cannot hold them, or nothing in a track can be told to be sound.
    """
    if not indices:
        return b""
    memory = BytesIO()
    with open_input(path) as container, av.open(memory, "w", format=muxer) as small:
        copies = {
            index: _reencoded(container.streams[index], small)
            if index in reencoded
            else _bare_copy(container.streams[index], small)
            for index in indices
        }
        waiting = {index: bare_sound_of(container.streams[index]) for index in indices if index not in reencoded}
        for count, packet in enumerate(read_packets(container)):
            if not waiting or count > _MOST_PACKETS_TO_FIRST:
                break
            if packet.stream_index not in waiting:
                continue
            first = _first(packet, waiting[packet.stream_index])
            if first is not None:
                del waiting[packet.stream_index]
                first.stream = copies[packet.stream_index]
                small.mux(first)
        for index, bare in waiting.items():
            if bare is not None and bare.unknown_packets:
                raise ValueError(f"nothing in the packets of track {index} can be told to be sound")
        for index in reencoded:
            _mux_silence(small, cast(av.AudioStream, copies[index]))
    return memory.getvalue()


def sound_parameters(stream: av.AudioStream, packet: bytes) -> bytes:
    """The same for a track of a live stream, with a packet of it that `bare_sound_of` left.

    As NUT, which holds everything that a camera sends; Matroska takes no G.711. Raises ValueError or av.FFmpegError.
    """
    memory = BytesIO()
    with av.open(memory, "w", format="nut") as small:
        copy = _bare_copy(stream, small)
        if has_adts_headers(stream):
            # Only MPEG streams and plain AAC files can do with what stands before each packet.
            copy.codec_context.extradata = aac_config(packet)
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


def bare_sound_of(stream: av.stream.Stream) -> BareSound | None:
    """What lays the packets of this track bare; None where it is no sound."""
    if not isinstance(stream, av.AudioStream) or stream.codec_context is None:
        return None
    return BareSound(stream.codec_context.codec.canonical_name, has_parameters=bool(stream.codec_context.extradata))


def _first(packet: Packet, bare: BareSound | None) -> Packet | None:
    """A packet as the first of a track; None where it holds no sound. What FFmpeg attached to it stays behind."""
    if bare is not None:
        sound = bare.clean(bytes(packet))
        if not sound or (has_adts_headers(packet.stream) and not adts_header_bytes(sound)):
            return None
        copy: Packet = av.Packet(sound)
        copy.duration, copy.time_base, copy.is_keyframe = packet.duration, packet.time_base, packet.is_keyframe
        packet = copy
    packet.pts = packet.dts = 0
    return packet


def _bare_copy(template: av.stream.Stream, output: av.container.OutputContainer) -> av.stream.Stream:
    copy = _copy_of(template, output)
    if isinstance(template, av.AudioStream):
        context = template.codec_context
        parameters = bytes(context.extradata or b"")
        if parameters:
            copy.codec_context.extradata = bare_parameters(context.codec.canonical_name, parameters)
    return copy


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

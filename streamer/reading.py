"""A video file as upright pictures with exact timestamps, and its other tracks as packets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.container
import av.packet
import av.stream

from streamer import frames
from streamer.bare_sound import BareSound, without_adts_header
from streamer.encoders import OutputPlan
from streamer.errors import InputError
from streamer.messages import AudioPacket, StreamOpened
from streamer.opening import Packet, open_input, read_packets
from streamer.pictures import Plane
from streamer.probe import MediaInfo, probe
from streamer.sound import LosslessSound
from streamer.timeline import Epochs, Timeline
from streamer.tracks import bare_sound_of, has_adts_headers, track_parameters

_LARGEST_SHORTFALL_S = 1.0
_ROUNDING_S = 0.001
_LONGEST_PRIMING_S = 0.1
"""Hidden sound up to this long before the beginning is what the decoder needs to start; more was cut away by somebody."""

_MOST_REORDERED = 32
"""Pictures between one and another that is shown earlier; decoders have room for half of that."""
_MOST_MARKED = 256
"""Damaged packets that are remembered until their pictures are shown: more than any decoder holds back."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedFrame:
    """A picture as it left the decoder, to be copied into a slot before the next one is asked for."""

    pts: int
    """In units of the stream's time base, later than that of the frame before."""
    duration: int
    time_s: float
    """Seconds from the first frame."""
    is_corrupt: bool
    """The decoder or demuxer marked it as damaged, or it may be predicted from one that was."""
    picture: av.VideoFrame
    info: MediaInfo

    def write_into(self, planes: tuple[Plane, ...]) -> None:
        """Write what is shown of it into planes of the stream's layout: converted, upright, padded by repeating its border."""
        frames.copy_into(self.picture, planes, self.info.layout, self.info.orientation, self.info.shown)


class Damage:
    """Which pictures cannot be trusted.

    Damage spreads to every picture that is predicted from a damaged one, and only the first of them carries the decoder's mark:
    none is trusted until a keyframe that is shown later than the damage.
    """

    def __init__(self) -> None:
        self.lost_packets = 0
        self.corrupt_pictures = 0
        self._marked: deque[int] = deque(maxlen=_MOST_MARKED)
        self._is_spreading = False
        self._latest: int | None = None
        self._shown_since = 0

    def mark(self, packet: Packet) -> None:
        """The demuxer says that this packet is damaged."""
        if packet.pts is not None:
            self._marked.append(packet.pts)
        else:  # which picture it leads to cannot be known
            self._spread_from(None)

    def lose(self, packet: Packet | None) -> None:
        """The decoder could make nothing of this packet, or of one shortly before."""
        self.lost_packets += 1
        self._spread_from(packet.pts if packet is not None else None)

    def touches(self, picture: av.VideoFrame) -> bool:
        """To be asked once for each picture, in the order of display."""
        if picture.is_corrupt or picture.pts in self._marked:
            self._spread_from(picture.pts)
        elif picture.key_frame and (self._is_behind(picture) or self._shown_since > _MOST_REORDERED):
            self._is_spreading = False
        self._shown_since += 1
        self.corrupt_pictures += self._is_spreading
        return self._is_spreading

    def _is_behind(self, picture: av.VideoFrame) -> bool:
        """Shown later than the damage."""
        return picture.pts is None or self._latest is None or picture.pts > self._latest

    def _spread_from(self, pts: int | None) -> None:
        self._is_spreading = True
        self._shown_since = 0
        if pts is not None:
            self._latest = pts if self._latest is None else max(self._latest, pts)


class VideoReader:
    """Decodes one file from its first to its last picture, whatever is damaged in between.

    `notes` and `is_damaged` are complete when the iteration has ended.
    """

    def __init__(self, path: Path, plan: OutputPlan | None = None, *, threads: int = 0) -> None:
        """plan: says which tracks to copy and for which container; without it all sound is copied, as for Matroska.

        threads: of the decoder, 0 = one per core. Raises InputError as `probe` does.
        """
        self.info = probe(path)
        self.notes: list[str] = []
        self.is_damaged = False
        self._path = path
        self._threads = threads
        self._stream = 0
        self._muxer = plan.muxer if plan is not None else "matroska"
        chosen = plan.tracks if plan is not None else tuple(track.index for track in self.info.audio if track.codec)
        self._tracks = {index: number for number, index in enumerate(chosen)}
        self._reencoded = plan.reencoded if plan is not None else ()
        self._sounds: dict[int, LosslessSound] = {}
        self._bare: dict[int, BareSound | None] = {}
        self._epochs = Epochs(-self.info.start)
        self._clocks: dict[int, Timeline] = {}
        self._damage = Damage()
        self._picture_packets = 0
        self._end_s = 0.0

    def opened(self, stream: int) -> StreamOpened:
        """The message that announces this file as the given stream."""
        self._stream = stream
        info = self.info
        return StreamOpened(
            stream=stream,
            layout=info.layout,
            time_base=_pair(info.time_base),
            average_rate=_pair(info.average_rate or Fraction(0)),
            peak_rate=_pair(info.peak_rate or Fraction(0)),
            sample_aspect_ratio=_pair(info.sample_aspect_ratio),
            audio=track_parameters(self._path, list(self._tracks), self._muxer, reencoded=self._reencoded),
            frames_estimated=info.frames_estimated,
            duration_s=info.duration_s,
        )

    def __iter__(self) -> Iterator[DecodedFrame | AudioPacket]:
        """Frames in the order of their display, packets in the order of the file; to be iterated once.

        Raises InputError where the pictures change their size or format midway, or become transparent.
        """
        self._note_size()
        clock = Timeline(self.info.time_base, self._epochs, may_jump=self.info.clock_jumps)
        waiting: DecodedFrame | None = None
        first_pts: int | None = None
        with open_input(self._path) as container:
            pictures = container.streams[self.info.video_index]
            assert isinstance(pictures, av.VideoStream)
            pictures.thread_type = "AUTO"
            pictures.codec_context.thread_count = self._threads
            self._sounds = {index: LosslessSound(_sound(container, index)) for index in self._reencoded}
            self._bare = {index: bare_sound_of(container.streams[index]) for index in self._tracks if index not in self._sounds}
            declared_s = container.duration / av.time_base if container.duration else None
            for packet in self._packets(container):
                if packet is not None and packet.stream_index != self.info.video_index:
                    yield from self._copies(packet, packet.stream)
                    continue
                for picture in self._decode(pictures, packet):
                    pts = clock.place(picture.pts, picture.duration)
                    first_pts = pts if first_pts is None else first_pts
                    if waiting is not None:
                        yield replace(waiting, duration=pts - waiting.pts)
                    waiting = DecodedFrame(
                        pts=pts,
                        duration=picture.duration or self._usual_duration(),
                        time_s=float((pts - first_pts) * self.info.time_base),
                        is_corrupt=self._damage.touches(picture),
                        picture=picture,
                        info=self.info,
                    )
            for index in self._sounds:
                yield from self._copies(None, container.streams[index])
        if waiting is None:
            raise InputError(f"{self._path}: no picture can be decoded")
        yield replace(waiting, duration=self._last_duration(waiting))
        self._note_damage(declared_s)
        self.notes += [note for index, bare in self._bare.items() if bare is not None for note in bare.losses(index)]
        self._note_clock(clock)

    def _packets(self, container: av.container.InputContainer) -> Iterator[Packet | None]:
        """All packets, then None, which flushes the picture decoder; an error of the file ends them early."""
        try:
            for packet in read_packets(container):
                stamp = packet.pts if packet.pts is not None else packet.dts
                if stamp is not None:
                    self._end_s = max(self._end_s, float((stamp + (packet.duration or 0)) * _base(packet)))
                self._picture_packets += packet.stream_index == self.info.video_index
                yield packet
        except av.FFmpegError as error:
            self.is_damaged = True
            self.notes.append(f"The file cannot be read to its end: {error.strerror}.")
        yield None

    def _decode(self, pictures: av.VideoStream, packet: Packet | None) -> list[av.VideoFrame]:
        if packet is not None and packet.is_corrupt:
            self._damage.mark(packet)
        try:
            decoded = pictures.codec_context.decode(cast("av.packet.Packet[av.VideoStream] | None", packet))
        except av.FFmpegError:
            # The decoder goes on with later packets.
            self._damage.lose(packet)
            return []
        for picture in decoded:
            self._check_unchanged(picture)
        return decoded

    def _check_unchanged(self, picture: av.VideoFrame) -> None:
        info = self.info
        where = f"at {picture.time or 0:.1f} s"
        if (picture.width, picture.height) != info.source_size:
            raise InputError(
                f"{self._path}: the picture changes its size from {info.source_size[0]}x{info.source_size[1]} to "
                f"{picture.width}x{picture.height} {where}: split the file there"
            )
        if frames.ring_format(picture.format, info.orientation) != info.layout.pixel_format:
            raise InputError(
                f"{self._path}: the pixel format changes from {info.source_format} to {picture.format.name} {where}: "
                "split the file there"
            )
        if not frames.is_opaque(picture):
            raise InputError(f"{self._path}: becomes transparent (alpha channel) {where}, which cannot be kept")

    def _copies(self, packet: Packet | None, stream: av.stream.Stream) -> Iterator[AudioPacket]:
        """The packets for the output that a packet of this stream leads to; None ends the stream."""
        number = self._tracks.get(stream.index)
        if number is None or (packet is not None and self._is_hidden(packet)):
            return
        sound = self._sounds.get(stream.index)
        if sound is not None:
            for encoded in sound.encode(cast("av.packet.Packet[av.AudioStream] | None", packet)):
                yield self._copied(cast(Packet, encoded), bytes(encoded), number, stream)
        elif packet is not None:
            bare = self._bare[stream.index]
            data = bare.clean(bytes(packet)) if bare is not None else bytes(packet)
            if data:
                data = without_adts_header(data) if has_adts_headers(stream) else data
                yield self._copied(packet, data, number, stream)

    def _copied(self, packet: Packet, data: bytes, number: int, stream: av.stream.Stream) -> AudioPacket:
        base = _base(packet)
        clock = self._clocks.setdefault(number, Timeline(base, self._epochs, may_jump=self.info.clock_jumps))
        stamp = packet.dts if packet.dts is not None else packet.pts
        pts = packet.pts if packet.pts is not None else stamp
        if self._muxer in ("matroska", "webm") and stamp is not None and pts is not None and stream.name != "opus":
            # For a packet of sound before the beginning Matroska would move all tracks to a later time (of Opus it knows better).
            stamp, pts = max(stamp, 0), max(pts, 0)
        duration = packet.duration or 0
        placed = clock.place(stamp, duration)
        return AudioPacket(
            stream=self._stream,
            track=number,
            pts=placed if pts is None or stamp is None else pts + placed - stamp,
            dts=placed,
            duration=duration,
            time_base=_pair(base),
            is_keyframe=packet.is_keyframe,
            data=data,
        )

    def _is_hidden(self, packet: Packet) -> bool:
        """Whether the packet lies outside what the file's edit list shows: cut away by somebody, it must not travel on."""
        if not packet.is_discard:
            return False
        if packet.pts is None or packet.pts >= 0 or self._muxer not in ("mp4", "mov"):
            return True
        return (packet.pts + (packet.duration or 0)) * _base(packet) < -_LONGEST_PRIMING_S

    def _last_duration(self, frame: DecodedFrame) -> int:
        """MP4 gives durations in the order of decoding, so that the one of the picture shown last is only in the track's."""
        is_whole = self.info.packets_expected is not None and self._picture_packets >= self.info.packets_expected
        if self.info.end_pts is None or not is_whole:
            return frame.duration
        said = self.info.end_pts - frame.pts
        # What is a millisecond longer or less is rounding.
        return said if (said - frame.duration) * self.info.time_base > _ROUNDING_S else frame.duration

    def _usual_duration(self) -> int:
        rate = self.info.average_rate
        return max(1, round(1 / (rate * self.info.time_base))) if rate else 1

    def _note_size(self) -> None:
        layout, shown = self.info.layout, self.info.shown
        if (shown.width, shown.height) != self.info.source_size:
            self.notes.append(
                f"Of the stored picture of {self.info.source_size[0]}x{self.info.source_size[1]} only the {shown.width}x"
                f"{shown.height} that players show are kept."
            )
        width, height = self.info.orientation.size(shown.width, shown.height)
        if (width, height) != (layout.width, layout.height):
            self.notes.append(
                f"The picture of {width}x{height} is padded to {layout.width}x{layout.height}, because chroma is subsampled: "
                "the last column or row is repeated."
            )

    def _note_damage(self, declared_s: float | None) -> None:
        expected = self.info.packets_expected
        found = []
        if expected is not None and self._picture_packets < expected:
            found.append(f"The file is truncated: {self._picture_packets} of {expected} pictures are there.")
        elif expected is None and declared_s is not None and not self.info.clock_jumps:
            missing_s = declared_s - self._end_s
            if missing_s > _LARGEST_SHORTFALL_S:
                found.append(f"The file is truncated: its last {missing_s:.1f} s are missing.")
        if self._damage.lost_packets:
            found.append(f"{self._damage.lost_packets} packets of the video could not be decoded.")
        lost_sound = sum(sound.lost_packets for sound in self._sounds.values())
        if lost_sound:
            found.append(f"{lost_sound} packets of sound could not be decoded.")
        if self._damage.corrupt_pictures:
            found.append(f"{self._damage.corrupt_pictures} frames are damaged or follow a damaged one.")
        self.is_damaged = self.is_damaged or bool(found)
        self.notes += found

    def _note_clock(self, clock: Timeline) -> None:
        if clock.repaired:
            self.notes.append(f"{clock.repaired} timestamps of frames were missing, repeated or out of order and were mended.")
        if clock.seams:
            self.notes.append(f"The clock of the file jumps {clock.seams} times; the jumps were closed.")


def _sound(container: av.container.InputContainer, index: int) -> av.AudioStream:
    stream = container.streams[index]
    assert isinstance(stream, av.AudioStream)
    return stream


def _pair(value: Fraction) -> tuple[int, int]:
    return value.numerator, value.denominator


def _base(packet: Packet) -> Fraction:
    return packet.time_base or Fraction(1, av.time_base)

"""A video file as upright pictures with exact timestamps, and its other tracks as packets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container

from streamer import frames
from streamer.encoders import OutputPlan
from streamer.errors import InputError
from streamer.messages import AudioPacket, StreamOpened
from streamer.pictures import Plane
from streamer.probe import MediaInfo, open_input, probe
from streamer.timeline import Epochs, Timeline
from streamer.tracks import track_parameters

_LARGEST_SHORTFALL_S = 1.0


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
        """Write the picture into planes of the stream's layout: converted, set upright, padded by repeating its border."""
        frames.copy_into(self.picture, planes, self.info.layout, self.info.orientation)


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
        chosen = plan.tracks if plan is not None else tuple(t.index for t in self.info.audio if t.codec)
        self._tracks = {index: number for number, index in enumerate(chosen)}
        self._corrupt_stamps: set[int] = set()
        self._awaits_keyframe = False
        self._faults = 0
        self._corrupt_frames = 0

    def opened(self, stream: int) -> StreamOpened:
        """The message that announces this file as the given stream."""
        self._stream = stream
        info = self.info
        return StreamOpened(
            stream=stream,
            layout=info.layout,
            time_base=_pair(info.time_base),
            average_rate=_pair(info.average_rate or Fraction(0)),
            sample_aspect_ratio=_pair(info.sample_aspect_ratio),
            audio=track_parameters(self._path, list(self._tracks), self._muxer),
            frames_estimated=info.frames_estimated,
            duration_s=info.duration_s,
        )

    def __iter__(self) -> Iterator[DecodedFrame | AudioPacket]:
        """Frames in the order of their display, packets in the order of the file.

        Raises InputError where the pictures change their size or format midway, or become transparent.
        """
        self._note_padding()
        epochs = Epochs(-self.info.start)
        clock = Timeline(self.info.time_base, epochs, may_jump=self.info.clock_jumps)
        clocks: dict[int, Timeline] = {}
        with open_input(self._path) as container:
            pictures = container.streams[self.info.video_index]
            assert isinstance(pictures, av.VideoStream)
            pictures.thread_type = "AUTO"
            pictures.codec_context.thread_count = self._threads
            last_frame: DecodedFrame | None = None
            first: int | None = None
            packets = 0
            end_s = 0.0
            declared = container.duration
            for packet in self._packets(container):
                if packet is not None and packet.stream_index != self.info.video_index:
                    index = packet.stream_index
                    end_s = max(end_s, _end_s(packet))
                    if index in self._tracks:
                        timeline = clocks.setdefault(index, Timeline(_base(packet), epochs, may_jump=self.info.clock_jumps))
                        copied = self._copy(packet, timeline)
                        if copied is not None:
                            yield copied
                    continue
                if packet is not None:
                    packets += 1
                    end_s = max(end_s, _end_s(packet))
                for picture in self._decode(pictures, packet):
                    pts = clock.place(picture.pts, picture.duration)
                    first = pts if first is None else first
                    frame = DecodedFrame(
                        pts=pts,
                        duration=picture.duration,
                        time_s=float((pts - first) * self.info.time_base),
                        is_corrupt=self._is_corrupt(picture),
                        picture=picture,
                        info=self.info,
                    )
                    if last_frame is not None:
                        yield _lasting(last_frame, pts - last_frame.pts)
                    last_frame = frame
            if last_frame is not None:
                yield _lasting(last_frame, last_frame.duration or self._usual_duration())
        self._note_damage(packets, end_s, declared)
        self._note_clock(clock)
        if first is None:
            raise InputError(f"{self._path}: no picture can be decoded")

    def _packets(self, container: av.container.InputContainer) -> Iterator[av.Packet | None]:
        """All packets, then None, which flushes the picture decoder; an error of the file ends them early."""
        try:
            for packet in container.demux():
                if packet.size:
                    yield packet
        except av.FFmpegError as error:
            self.is_damaged = True
            self.notes.append(f"The file cannot be read to its end: {error.strerror}.")
        yield None

    def _decode(self, pictures: av.VideoStream, packet: av.Packet | None) -> list[av.VideoFrame]:
        if packet is not None and packet.is_corrupt and packet.pts is not None:
            self._corrupt_stamps.add(packet.pts)
        try:
            decoded = pictures.decode(packet)
        except av.FFmpegError:
            # The decoder can go on with later packets; what it makes of them until the next keyframe is not trusted.
            self._faults += 1
            self._awaits_keyframe = True
            return []
        for picture in decoded:
            self._check_unchanged(picture)
        return decoded

    def _check_unchanged(self, picture: av.VideoFrame) -> None:
        info = self.info
        if (picture.width, picture.height) != info.source_size:
            raise InputError(
                f"{self._path}: the picture changes its size from {info.source_size[0]}x{info.source_size[1]} to "
                f"{picture.width}x{picture.height} at {picture.time or 0:.1f} s: split the file there"
            )
        if frames.ring_format(picture.format, info.orientation) != info.layout.pixel_format:
            raise InputError(
                f"{self._path}: the pixel format changes from {info.source_format} to {picture.format.name} "
                f"at {picture.time or 0:.1f} s: split the file there"
            )
        if not frames.is_opaque(picture):
            raise InputError(
                f"{self._path}: becomes transparent (alpha channel) at {picture.time or 0:.1f} s, which cannot be kept"
            )

    def _is_corrupt(self, picture: av.VideoFrame) -> bool:
        """Damage spreads to every frame that is predicted from it, and only the first of them carries the decoder's mark."""
        if picture.is_corrupt or picture.pts in self._corrupt_stamps:
            self._awaits_keyframe = True
        elif picture.key_frame:
            self._awaits_keyframe = False
        self._corrupt_frames += self._awaits_keyframe
        return self._awaits_keyframe

    def _copy(self, packet: av.Packet, timeline: Timeline) -> AudioPacket | None:
        # Packets outside the edit list were cut away by somebody: they are never shown and must not travel on.
        if packet.is_discard:
            return None
        stamp = packet.dts if packet.dts is not None else packet.pts
        duration = packet.duration or 0
        placed = timeline.place(stamp, duration)
        shift = placed - stamp if stamp is not None else 0
        return AudioPacket(
            stream=self._stream,
            track=self._tracks[packet.stream_index],
            pts=packet.pts + shift if packet.pts is not None else placed,
            dts=placed,
            duration=duration,
            time_base=_pair(_base(packet)),
            is_keyframe=packet.is_keyframe,
            data=bytes(packet),
        )

    def _usual_duration(self) -> int:
        rate = self.info.average_rate
        return max(1, round(1 / (rate * self.info.time_base))) if rate else 1

    def _note_padding(self) -> None:
        info = self.info
        size = info.orientation.size(*info.source_size)
        if size != (info.layout.width, info.layout.height):
            self.notes.append(
                f"The picture of {size[0]}x{size[1]} is padded to {info.layout.width}x{info.layout.height}, "
                "because chroma is subsampled: the last column or row is repeated."
            )

    def _note_damage(self, packets: int, end_s: float, container_duration: int | None) -> None:
        expected = self.info.packets_expected
        if expected is not None and packets < expected:
            self.is_damaged = True
            self.notes.append(f"The file is truncated: {packets} of {expected} pictures are there.")
        elif expected is None and container_duration is not None and not self.info.clock_jumps:
            missing_s = container_duration / av.time_base - end_s
            if missing_s > _LARGEST_SHORTFALL_S:
                self.is_damaged = True
                self.notes.append(f"The file is truncated: its last {missing_s:.1f} s are missing.")
        if self._faults:
            self.is_damaged = True
            self.notes.append(f"{self._faults} packets of the video could not be decoded.")
        if self._corrupt_frames:
            self.is_damaged = True
            self.notes.append(f"{self._corrupt_frames} frames are damaged or follow a damaged one.")

    def _note_clock(self, clock: Timeline) -> None:
        if clock.repaired:
            self.notes.append(f"{clock.repaired} timestamps of frames were missing, repeated or out of order and were mended.")
        if clock.seams:
            self.notes.append(f"The clock of the file jumps {clock.seams} times; the jumps were closed.")


def _lasting(frame: DecodedFrame, duration: int) -> DecodedFrame:
    return DecodedFrame(
        pts=frame.pts, duration=duration, time_s=frame.time_s, is_corrupt=frame.is_corrupt, picture=frame.picture, info=frame.info
    )


def _pair(value: Fraction) -> tuple[int, int]:
    return value.numerator, value.denominator


def _base(packet: av.Packet) -> Fraction:
    return packet.time_base or Fraction(1, av.time_base)


def _end_s(packet: av.Packet) -> float:
    stamp = packet.pts if packet.pts is not None else packet.dts
    return float((stamp + (packet.duration or 0)) * _base(packet)) if stamp is not None else 0.0

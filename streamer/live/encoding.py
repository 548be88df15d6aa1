"""The encoder of a live stream: one H.264 stream for all of its outputs, at the times that the pictures have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO

import av
import av.codec
import msgspec
import numpy as np
from av.video.frame import PictureType
from loguru import logger

from streamer import frames
from streamer.errors import OutputError
from streamer.live.config import LiveVideoSettings
from streamer.live.messages import CLOCK, EncodedPacket
from streamer.pictures import PIXEL_FORMATS, ColorTags, PictureLayout, Plane

_PIXEL_FORMAT = "yuv420p"
"""The only one that every player and browser shows."""
_BUFFER_S = 1.5
"""Time over which `max_kilobits` holds."""
NOMINAL_RATE = 25.0
"""Pictures a second for the encoder's level and `max_kilobits`, where nothing else is known; they come when they come."""
_PIXELS_FOR_TWO_THREADS = 1_500_000
_X264_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_NVENC_PRESETS = tuple(f"p{number}" for number in range(1, 8))


@dataclass(frozen=True, kw_only=True)
class EncoderKind:
    """An encoder of FFmpeg and how it is told to encode without delay and with no other keyframes than ours."""

    codec: str
    options: Callable[[LiveVideoSettings], dict[str, str]]


def _x264_options(settings: LiveVideoSettings) -> dict[str, str]:
    return {
        "preset": settings.preset if settings.preset in _X264_PRESETS else "superfast",
        # It counts pictures instead of time: to know how long a picture lasts, it would have to wait for the next one.
        "tune": "zerolatency",
        "crf": str(settings.quality),
        "x264-params": "keyint=infinite:scenecut=0",
    }


def _nvenc_options(settings: LiveVideoSettings) -> dict[str, str]:
    return {
        "preset": settings.preset if settings.preset in _NVENC_PRESETS else "p3",
        "tune": "ull",
        "rc": "vbr",
        "cq": str(settings.quality),
        "zerolatency": "1",
        "delay": "0",
        "g": "1000000",
        "no-scenecut": "1",
    }


ENCODERS: dict[str, EncoderKind] = {
    "h264": EncoderKind(codec="libx264", options=_x264_options),
    "h264_nvenc": EncoderKind(codec="h264_nvenc", options=_nvenc_options),
}


@dataclass(frozen=True, kw_only=True)
class PictureShape:
    """All of a picture that an encoder cannot change on its way."""

    width: int
    height: int
    color: ColorTags
    sample_aspect_ratio: tuple[int, int]


def shape_of(layout: PictureLayout, sample_aspect_ratio: tuple[int, int]) -> PictureShape:
    """As pictures of this layout are encoded: 4:2:0, so an odd last column or row is left out."""
    return PictureShape(
        width=layout.width & ~1, height=layout.height & ~1, color=layout.color, sample_aspect_ratio=sample_aspect_ratio
    )


def frame_to_encode(planes: tuple[Plane, ...], layout: PictureLayout) -> av.VideoFrame:
    """A copy of the planes as 4:2:0 with 8 bits, of even size."""
    width, height = layout.width & ~1, layout.height & ~1
    form = PIXEL_FORMATS[layout.pixel_format]
    if (width, height) != (layout.width, layout.height):
        shifts = ((0, 0), *[(form.chroma_x_shift, form.chroma_y_shift)] * 2)
        planes = tuple(plane[: height >> y, : width >> x] for plane, (x, y) in zip(planes, shifts, strict=False))
        layout = msgspec.structs.replace(layout, width=width, height=height)
    frame = frames.frame_of_planes(planes, layout)
    return frame if layout.pixel_format == _PIXEL_FORMAT else frames.convert(frame, _PIXEL_FORMAT, layout)


class LiveEncoder:
    """Encodes pictures of one shape. Every picture goes in and comes out at once; nothing waits inside."""

    def __init__(
        self, settings: LiveVideoSettings, shape: PictureShape, *, before_pts: int, most_rate: float = NOMINAL_RATE
    ) -> None:
        """before_pts: the time of the first picture, which the encoder's own trial picture comes before. most_rate: the most
        pictures a second that are expected, as `max_kilobits` is shared out among so many.

        Raises OutputError where the encoder cannot be opened; a GPU's is replaced by the processor's, with a warning.
        """
        self.shape = shape
        self._rate = Fraction(most_rate).limit_denominator(1000)
        self._keyframe_ticks = round(settings.keyframe_s * CLOCK)
        self._last_pts = before_pts - 1
        self._last_keyframe_pts: int | None = None
        try:
            self._open(settings, settings.encoder)
        except OutputError as error:
            if settings.encoder == "h264":
                raise
            logger.warning("the processor encodes instead: {}", error)
            self._open(settings, "h264")

    def encode(self, frame: av.VideoFrame, pts: int, duration: int, *, wants_keyframe: bool) -> list[EncodedPacket]:
        """The packets of this picture, usually one. Times in ticks of CLOCK; a time that is not later than the last is moved."""
        pts = max(pts, self._last_pts + 1)
        self._last_pts = pts
        is_due = self._last_keyframe_pts is None or pts - self._last_keyframe_pts >= self._keyframe_ticks
        if wants_keyframe or is_due:
            frame.pict_type = PictureType.I
            self._last_keyframe_pts = pts
        else:
            frame.pict_type = PictureType.NONE
        frame.pts, frame.time_base = pts, Fraction(1, CLOCK)
        return [self._packet(packet, duration) for packet in self._stream.encode(frame)]

    @property
    def last_pts(self) -> int:
        """Of the last picture that went in."""
        return self._last_pts

    def _packet(self, packet: av.Packet[av.VideoStream], duration: int) -> EncodedPacket:
        assert packet.pts is not None
        assert packet.dts is not None
        # Whoever begins to listen at a keyframe finds the parameters there, whatever became of those beside the stream.
        data = self._headers + bytes(packet) if packet.is_keyframe else bytes(packet)
        return EncodedPacket(pts=packet.pts, dts=packet.dts, duration=duration, is_keyframe=packet.is_keyframe, data=data)

    def _open(self, settings: LiveVideoSettings, encoder: str) -> None:
        """Open it as a track of a small file in memory, whose beginning then tells the publishers what the pictures are.

        NUT keeps the parameter sets in the form in which they are in the packets, which other formats change. Raises OutputError
        where the encoder does not work, or not at once.
        """
        kind, shape = ENCODERS[encoder], self.shape
        options = {**kind.options(settings), "bf": "0", "forced-idr": "1"}
        if settings.max_kilobits is not None:
            options |= {"maxrate": f"{settings.max_kilobits}k", "bufsize": f"{round(settings.max_kilobits * _BUFFER_S)}k"}
        memory = BytesIO()
        self._container = av.open(memory, "w", format="nut", options={"fflags": "+bitexact+flush_packets"})
        stream = self._container.add_stream(kind.codec, rate=self._rate, options=options)
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = shape.width, shape.height, _PIXEL_FORMAT
        context.time_base = Fraction(1, CLOCK)
        context.thread_count = 2 if shape.width * shape.height >= _PIXELS_FOR_TWO_THREADS else 1
        context.sample_aspect_ratio = Fraction(*shape.sample_aspect_ratio) if shape.sample_aspect_ratio[1] else Fraction(0)
        context.color_range, context.color_primaries = shape.color.range, shape.color.primaries
        context.color_trc, context.colorspace = shape.color.transfer, shape.color.matrix
        self._stream = stream
        try:
            trial = self._stream.encode(self._trial_picture())
        except av.FFmpegError as error:
            raise OutputError(f"{kind.codec} cannot be opened: {error.strerror}") from None
        if not trial:
            raise OutputError(f"{kind.codec} keeps pictures back")
        self._headers = bytes(context.extradata or b"")
        for packet in trial:
            packet.pts = packet.dts = 0
            self._container.mux(packet)
        self.parameters = memory.getvalue()

    def _trial_picture(self) -> av.VideoFrame:
        """Grey: what a decoder needs to know is seen from a first picture."""
        frame = av.VideoFrame(self.shape.width, self.shape.height, _PIXEL_FORMAT)
        for plane in frames.frame_planes(frame):
            plane[...] = np.uint8(128)
        frame.pts, frame.time_base = self._last_pts, Fraction(1, CLOCK)
        return frame

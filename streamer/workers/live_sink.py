"""Encodes the safe pictures of one live stream, and slates while there are none, once for all of its outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from loguru import logger

from streamer.live.encoding import NOMINAL_RATE, LiveEncoder, PictureShape, frame_to_encode, shape_of
from streamer.live.messages import (
    CLOCK,
    EncodingOpened,
    KeyframeWanted,
    LiveFrameWritten,
    LiveSinkSetup,
    Preview,
    PreviewWanted,
    SessionReady,
    Slate,
    SlateWritten,
)
from streamer.live.slates import FIRST_LAYOUT, slate_planes
from streamer.messages import AnonymizedFrame, Message
from streamer.pictures import PIXEL_FORMATS, PictureLayout, Plane, picture_render
from streamer.rings import RingReader, SlotMismatchError, SlotState
from streamer.workers import RingHandles

_PREVIEW_WIDTH = 320
_PREVIEW_QUALITY = 75
_SLATE_DURATION = CLOCK


class LiveSinkWorker:
    """It has no way to any other picture than those of the safe rings and those that it draws itself."""

    _setup: LiveSinkSetup
    _ring: RingReader

    def __init__(self, rings: RingHandles) -> None:
        self._inbox = rings["safe"]
        self._session: int | None = None
        self._layout = FIRST_LAYOUT
        self._sample_aspect_ratio = (1, 1)
        self._encoder: LiveEncoder | None = None
        self._shown: str | None = None
        """What the last picture was, so that a viewer gets a keyframe whenever it is something else."""
        self._wants_keyframe = False
        self._wants_preview = False
        self._refused = 0

    def process(self, message: Message) -> Iterable[Message]:
        match message:
            case LiveSinkSetup():
                self._setup = message
            case SessionReady():
                self._ring = self._inbox.reader(message.layout, message.safe_slots, SlotState.SAFE)
                self._session = message.session
                self._layout, self._sample_aspect_ratio = message.layout, message.sample_aspect_ratio
            case AnonymizedFrame():
                yield from self._write_frame(message)
                yield LiveFrameWritten(session=message.stream, number=message.number, slot=message.slot)
            case Slate():
                yield from self._write_slate(message)
                yield SlateWritten()
            case KeyframeWanted():
                self._wants_keyframe = True
            case PreviewWanted():
                self._wants_preview = True
            case _:
                pass

    def close(self) -> None:
        """Nothing is unfinished: every picture has left as it came."""

    def _write_frame(self, frame: AnonymizedFrame) -> Iterator[Message]:
        planes = self._safe_planes(frame)
        if planes is not None:
            yield from self._write(planes, self._layout, frame.pts, frame.duration, f"session {frame.stream}")

    def _safe_planes(self, frame: AnonymizedFrame) -> tuple[Plane, ...] | None:
        """A copy of the picture that this message promises; None where its slot holds something else, before the copy or after it.

        That is no reason to give up: a frame of a session that is over may come late, and its slot has another picture by then.
        """
        try:
            if frame.stream != self._session:
                raise SlotMismatchError(f"frame {frame.number} is of session {frame.stream}, which is over")
            copies = tuple(plane.copy() for plane in self._ring.planes(frame))
            self._ring.planes(frame)
        except SlotMismatchError as error:
            self._refused += 1
            logger.warning("a picture is left out", reason=str(error), refused=self._refused)
            return None
        return copies

    def _write_slate(self, slate: Slate) -> Iterator[Message]:
        shape = shape_of(self._layout, self._sample_aspect_ratio)
        layout = PictureLayout(width=shape.width, height=shape.height, pixel_format="yuv420p", color=shape.color)
        planes = slate_planes(layout, self._setup.name, slate.text)
        yield from self._write(planes, layout, slate.pts, _SLATE_DURATION, f"slate {slate.text}")

    def _write(self, planes: tuple[Plane, ...], layout: PictureLayout, pts: int, duration: int, what: str) -> Iterator[Message]:
        encoder = self._encoder
        shape = shape_of(layout, self._sample_aspect_ratio)
        if encoder is None or encoder.shape != shape:
            encoder = self._opened(shape, pts)
            yield EncodingOpened(video=encoder.parameters, width=shape.width, height=shape.height)
        wants_keyframe = self._wants_keyframe or what != self._shown
        self._wants_keyframe, self._shown = False, what
        yield from encoder.encode(frame_to_encode(planes, layout), pts, duration, wants_keyframe=wants_keyframe)
        if self._wants_preview:
            self._wants_preview = False
            yield Preview(name=self._setup.name, jpeg=preview_jpeg(planes, layout, self._sample_aspect_ratio))

    def _opened(self, shape: PictureShape, pts: int) -> LiveEncoder:
        """An encoder of this shape, whose times go on where those of the last one ended."""
        if self._encoder is not None:
            pts = max(pts, self._encoder.last_pts + 1)
        most_rate = self._setup.max_fps or NOMINAL_RATE
        self._encoder = LiveEncoder(self._setup.video, shape, before_pts=pts, most_rate=most_rate)
        logger.info("pictures are encoded", width=shape.width, height=shape.height)
        return self._encoder


def preview_jpeg(planes: tuple[Plane, ...], layout: PictureLayout, sample_aspect_ratio: tuple[int, int]) -> bytes:
    """A small picture as JPEG, at most 320 pixels wide, in the shape in which it is shown."""
    stretch = sample_aspect_ratio[0] / sample_aspect_ratio[1] if all(sample_aspect_ratio) else 1.0
    form = PIXEL_FORMATS[layout.pixel_format]
    width, height = (layout.width >> form.chroma_x_shift) << form.chroma_x_shift, layout.height
    shown_width = width * stretch
    scale = min(1.0, _PREVIEW_WIDTH / shown_width)
    size = (max(round(shown_width * scale), 1), max(round(height * scale), 1))
    rgb = picture_render(planes, layout)((0, 0, width, height), size)
    is_encoded, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _PREVIEW_QUALITY])
    assert is_encoded
    return np.asarray(jpeg, np.uint8).tobytes()

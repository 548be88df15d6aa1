"""What a viewer of the tests does: read an output with FFmpeg as any player does, and tell of everything that comes.

stream, playlist or file -> packets -> pictures -> time code, thumbnail; sound -> beeps
"""

from __future__ import annotations

import time
from typing import Any, cast

import av
import av.container
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from tests.live import time_code
from tests.live.beeps import BeepFinder
from tests.live.child import end_with_parent, heard, say
from tests.live.viewer import Beep, Ended, Opened, SeenFrame, SeenSound, ViewerSettings

_RETRY_S = 0.2
_FAST_START = {"fflags": "nobuffer", "analyzeduration": "500000", "probesize": "500000"}


class Watcher:
    """One connection to the output, from its opening to its end."""

    def __init__(self, settings: ViewerSettings, container: av.container.InputContainer) -> None:
        self._settings, self._container = settings, container
        self._video: Any = container.streams.video[0]
        self._video.codec_context.thread_count = 1
        self._has_keyframe = False
        self._number = 0
        self._beeps = BeepFinder()
        context = self._video.codec_context
        sound = container.streams.audio[0].codec_context.name if container.streams.audio else None
        say(Opened(at_s=time.monotonic(), size=(context.width, context.height), codec=context.name, sound=sound))

    def watch(self) -> None:
        """Until the stream ends. Raises av.FFmpegError."""
        for packet in self._container.demux():
            arrival_s = time.monotonic()
            if packet.stream.type == "audio":
                self._listen(packet, arrival_s)
            elif packet.stream is self._video:
                self._has_keyframe = self._has_keyframe or packet.is_keyframe
                if self._has_keyframe:
                    for frame in cast(list[VideoFrame], packet.decode()):
                        self._look(frame, arrival_s)

    def _listen(self, packet: Any, arrival_s: float) -> None:
        if packet.pts is None or not packet.size:
            return
        say(SeenSound(arrival_s=arrival_s, pts_s=float(packet.pts * packet.time_base), size=packet.size))
        for frame in packet.decode():
            assert isinstance(frame, AudioFrame)
            for at_s in self._beeps.hear(frame):
                say(Beep(pts_s=at_s))

    def _look(self, frame: VideoFrame, arrival_s: float) -> None:
        code = time_code.read(frame)
        latency_s = None if code is None else code.age_s
        thumbnail, thumbnail_size = None, None
        width = self._settings.thumbnail_px
        if width is not None and self._number % self._settings.thumbnail_every == 0:
            height = round(frame.height * width / frame.width)
            thumbnail = frame.to_ndarray(width=width, height=height, format="rgb24", interpolation="AREA").tobytes()
            thumbnail_size = (width, height)
        self._number += 1
        say(
            SeenFrame(
                arrival_s=arrival_s,
                pts_s=frame.time or 0.0,
                size=(frame.width, frame.height),
                is_keyframe=bool(frame.key_frame),
                is_corrupt=frame.is_corrupt,
                camera=None if code is None else code.camera,
                media_s=None if code is None else code.media_ms / 1000,
                latency_s=latency_s,
                thumbnail=thumbnail,
                thumbnail_size=thumbnail_size,
            )
        )


def watch(settings: ViewerSettings) -> None:
    """Raises av.FFmpegError, or IndexError where there are no pictures."""
    is_rtsp = settings.url.startswith("rtsp://")
    options = {**_FAST_START, "rtsp_transport": settings.transport} if is_rtsp else {}
    with av.open(settings.url, options=options, timeout=(settings.timeout_s, settings.timeout_s)) as container:
        Watcher(settings, container).watch()


def main() -> None:
    settings = next(heard(ViewerSettings))
    end_with_parent()
    while True:
        try:
            watch(settings)
            say(Ended(at_s=time.monotonic(), reason="end"))
        except (av.FFmpegError, IndexError) as error:
            # Without its text, which holds the address and its password.
            say(Ended(at_s=time.monotonic(), reason=type(error).__name__))
        if not settings.returns:
            break
        time.sleep(_RETRY_S)


if __name__ == "__main__":
    main()

"""Sound in codecs that none of our containers can hold, encoded again without loss."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
import av.audio
import av.packet

CODEC = "flac"
_SHORTEST_GAP_S = 0.1


class LosslessSound:
    """Decodes one track and encodes it as FLAC; times stay what they are."""

    def __init__(self, stream: av.AudioStream) -> None:
        context = stream.codec_context
        self._stream = stream
        self.rate = context.sample_rate
        self.layout = context.layout.name
        self.format = sample_format(context)
        encoder = av.CodecContext.create(CODEC, "w")
        assert isinstance(encoder, av.AudioCodecContext)
        encoder.sample_rate, encoder.layout, encoder.format = self.rate, self.layout, av.AudioFormat(self.format)
        self._encoder = encoder
        self._resampler = av.AudioResampler(format=self.format, layout=self.layout, rate=self.rate)
        self._next: int | None = None
        self.lost_packets = 0

    def encode(self, packet: av.packet.Packet[av.AudioStream] | None) -> Iterator[av.packet.Packet[av.AudioStream]]:
        """FLAC packets that a packet of the track completes, times in samples; None ends the track."""
        try:
            decoded = self._stream.codec_context.decode(packet)
        except av.FFmpegError:
            # A damaged packet leaves a gap as long as itself; the track goes on after it.
            self.lost_packets += 1
            return
        for frame in decoded:
            for resampled in self._resampler.resample(frame):
                resampled.pts = self._place(frame.time, resampled.samples)
                resampled.time_base = Fraction(1, self.rate)
                yield from self._encoder.encode(resampled)
        if packet is None:
            # FLAC's last packet is empty: it carries a checksum beside it that no container here takes.
            yield from (last for last in self._encoder.encode(None) if last.size)

    def _place(self, time_s: float | None, samples: int) -> int:
        """The time of the next samples: right after the last ones, unless the track has a gap there.

        Many old formats time their packets too coarsely to be taken at their word.
        """
        said = round(time_s * self.rate) if time_s is not None else self._next or 0
        is_gap = self._next is None or abs(said - self._next) > _SHORTEST_GAP_S * self.rate
        placed = said if is_gap or self._next is None else self._next
        self._next = placed + samples
        return placed


def sample_format(context: av.AudioCodecContext) -> str:
    """FLAC's own format that holds the decoder's samples: 24 bits for integers beyond 16, else 16."""
    return "s32" if context.format.name.startswith("s32") else "s16"


def add_flac(output: av.container.OutputContainer, stream: av.AudioStream) -> av.AudioStream:
    """A FLAC track with the parameters of what `LosslessSound` makes of this track."""
    context = stream.codec_context
    copy = cast(av.AudioStream, output.add_stream(CODEC, rate=context.sample_rate))
    copy.codec_context.layout = context.layout.name
    copy.codec_context.format = av.AudioFormat(sample_format(context))
    return copy

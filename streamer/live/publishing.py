"""What an anonymized stream is published to: servers, HLS playlists, recordings; one class for each way, one table of kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from streamer.live.addresses import OutputKind, output_kind
from streamer.live.config import OutputSettings
from streamer.live.messages import CLOCK, EncodedPacket
from streamer.live.muxing import LiveMuxer, Tracks, failing_as_output_error
from streamer.live.playlists import end_playlist, remove_leftovers, reopen_playlist
from streamer.live.recordings import RecordingFolder
from streamer.messages import AudioPacket
from streamer.redaction import redact

_MPEG_SOUNDS = frozenset({"aac", "mp2", "mp3", "ac3", "eac3"})
SOUNDS: dict[OutputKind, frozenset[str]] = {
    "rtsp": frozenset({"aac", "mp2", "mp3", "ac3", "opus", "pcm_alaw", "pcm_mulaw", "adpcm_g722"}),
    "rtmp": frozenset({"aac", "mp3"}),
    "srt": _MPEG_SOUNDS,
    "hls": _MPEG_SOUNDS,
    "recording": frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac"}),
}
"""FFmpeg's names of the codecs of sound that an output takes and that its readers know. Not found out by trying: some formats take
what nobody can play, and FLV ends the process."""

_SEGMENT_S = 2.0
_PLAYLIST_SEGMENTS = 6
_TIDY_EVERY_S = 10.0


class Output(Protocol):
    """One output. Whatever fails raises OutputError, one line without credentials; nothing may be written after that."""

    holds_back: bool
    """Whether a picture may wait for the next packet of either kind; where not, sound is given a packet ahead of it."""

    def open(self, tracks: Tracks, start: int) -> None:
        """Begin with a keyframe at this time, in ticks of CLOCK; called again after `close`, when the tracks change."""
        ...

    def write_picture(self, packet: EncodedPacket) -> bool:
        """False where it cannot be held: its time is not later than the last one's."""
        ...

    def write_sound(self, packet: AudioPacket) -> bool: ...

    def close(self, *, is_last: bool) -> None:
        """Complete what was begun; is_last: for good, not only to begin anew. Without `open` before, does nothing."""
        ...


class _MuxedOutput:
    """What the outputs have in common: a muxer that is there between `open` and `close`."""

    _open: LiveMuxer | None = None

    def write_picture(self, packet: EncodedPacket) -> bool:
        assert self._open is not None
        return self._open.write_picture(packet)

    def write_sound(self, packet: AudioPacket) -> bool:
        assert self._open is not None
        return self._open.write_sound(packet)

    def _close(self) -> bool:
        """Whether there was anything to complete."""
        if self._open is None:
            return False
        muxer, self._open = self._open, None
        muxer.close()
        return True


class ServerOutput(_MuxedOutput):
    """A connection to a server."""

    holds_back = False

    def __init__(self, settings: OutputSettings, muxer: str, options: dict[str, str]) -> None:
        self._settings = settings
        self._muxer = muxer
        self._options = options

    def open(self, tracks: Tracks, start: int) -> None:
        target = self._settings.to
        self._open = LiveMuxer(target, self._muxer, tracks, self._options, start=start, place=redact(target))

    def close(self, *, is_last: bool) -> None:
        self._close()


class PlaylistOutput(_MuxedOutput):
    """An HLS playlist and its segments in one folder, for any web server. It goes on after a restart where it was."""

    holds_back = True

    def __init__(self, settings: OutputSettings) -> None:
        self._playlist = Path(settings.to)
        stem = self._playlist.with_suffix("")
        # A segment ends at the first keyframe after its time; a little less, so that one that is due a tick before it will do.
        segment_s = 0.9 * min(settings.segment_s, _SEGMENT_S)
        self._options = {
            "hls_time": f"{segment_s:.3f}",
            "hls_list_size": str(_PLAYLIST_SEGMENTS),
            "hls_segment_filename": f"{stem}-%d.ts".replace("%", "%%").replace("%%d.ts", "%d.ts"),
            "hls_flags": "delete_segments+independent_segments+append_list+omit_endlist+temp_file",
        }

    def open(self, tracks: Tracks, start: int) -> None:
        with failing_as_output_error(self._playlist.parent):
            self._playlist.parent.mkdir(parents=True, exist_ok=True)
            reopen_playlist(self._playlist)
            remove_leftovers(self._playlist)
        target, place = f"file:{self._playlist}", self._playlist.parent
        self._open = LiveMuxer(target, "hls", tracks, self._options, start=start, place=place)

    def close(self, *, is_last: bool) -> None:
        if self._close() and is_last:
            with failing_as_output_error(self._playlist.parent):
                end_playlist(self._playlist)


_RECORDING_MUXERS = {
    # Fragments until it is complete, so that a crash costs no more than one of them; then an ordinary file.
    "mp4": ("mp4", {"movflags": "+hybrid_fragmented+frag_keyframe+delay_moov+default_base_moof", "fflags": "+flush_packets"}),
    "mkv": ("matroska", {"fflags": "+flush_packets"}),
}


class RecordingOutput(_MuxedOutput):
    """Files in a folder, a new one at the first keyframe after so many seconds."""

    holds_back = True

    def __init__(self, settings: OutputSettings, stream: str) -> None:
        """Finishes what a crash has left. Raises OutputError where the folder cannot be made or read."""
        self._place = settings.to
        self._segment_ticks = round(settings.segment_s * CLOCK)
        self._muxer, self._options = _RECORDING_MUXERS[settings.container]
        self._folder = RecordingFolder(
            Path(settings.to),
            stream,
            f".{settings.container}",
            keep_bytes=None if settings.keep_gigabytes is None else settings.keep_gigabytes * 1e9,
            keep_s=None if settings.keep_days is None else settings.keep_days * 86400,
        )
        self._folder.prepare()
        self._folder.tidy()
        self._tracks: Tracks | None = None
        self._temporary = Path()
        self._start = 0
        self._tidied = 0

    def open(self, tracks: Tracks, start: int) -> None:
        self._tracks = tracks
        self._temporary = self._folder.begin()
        self._start = self._tidied = start
        target = f"file:{self._temporary}"
        self._open = LiveMuxer(target, self._muxer, tracks, self._options, start=start, place=self._place)

    def write_picture(self, packet: EncodedPacket) -> bool:
        assert self._tracks is not None
        if packet.is_keyframe and packet.dts - self._start >= self._segment_ticks:
            self.close(is_last=False)
            self.open(self._tracks, packet.dts)
        if packet.dts - self._tidied >= _TIDY_EVERY_S * CLOCK:
            self._tidied = packet.dts
            self._folder.tidy()
        return super().write_picture(packet)

    def close(self, *, is_last: bool) -> None:
        if self._close():
            self._folder.finish(self._temporary)
            self._folder.tidy()


def _limit_us(settings: OutputSettings) -> str:
    """Where FFmpeg heeds a limit it can still say what is wrong; a process that hangs for longer is killed."""
    return str(round(0.8 * settings.timeout_s * 1e6))


def _rtsp(settings: OutputSettings, stream: str) -> Output:
    return ServerOutput(settings, "rtsp", {"rtsp_transport": settings.transport, "timeout": _limit_us(settings)})


def _rtmp(settings: OutputSettings, stream: str) -> Output:
    options = {"flvflags": "no_duration_filesize", "rtmp_live": "live", "rw_timeout": _limit_us(settings)}
    return ServerOutput(settings, "flv", options)


def _srt(settings: OutputSettings, stream: str) -> Output:
    return ServerOutput(settings, "mpegts", {})


def _hls(settings: OutputSettings, stream: str) -> Output:
    return PlaylistOutput(settings)


OUTPUTS: dict[OutputKind, Callable[[OutputSettings, str], Output]] = {
    "rtsp": _rtsp,
    "rtmp": _rtmp,
    "srt": _srt,
    "hls": _hls,
    "recording": RecordingOutput,
}


def make_output(settings: OutputSettings, stream: str) -> Output:
    """The output that these settings ask for, not open yet. stream: its name. Raises OutputError."""
    return OUTPUTS[output_kind(settings.to)](settings, stream)

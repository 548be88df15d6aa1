"""The kinds of outputs of a live stream: which text names which, and what sound each can hold. Imports nothing of FFmpeg."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from streamer.live.config import OutputSettings

OutputName = Literal["rtsp", "rtmp", "srt", "hls", "recording"]


@dataclass(frozen=True, kw_only=True)
class OutputKind:
    """What is known of a kind before it is opened."""

    name: OutputName
    schemes: tuple[str, ...] = ()
    """Of its URLs; none for paths."""
    sounds: frozenset[str]
    """FFmpeg's names of the codecs that it takes and that its readers know."""


_MPEG_SOUNDS = frozenset({"aac", "mp2", "mp3", "ac3", "eac3"})

OUTPUT_KINDS: dict[OutputName, OutputKind] = {
    kind.name: kind
    for kind in (
        OutputKind(
            name="rtsp",
            schemes=("rtsp", "rtsps"),
            sounds=frozenset({"aac", "mp2", "mp3", "ac3", "opus", "pcm_alaw", "pcm_mulaw", "adpcm_g722"}),
        ),
        OutputKind(name="rtmp", schemes=("rtmp", "rtmps"), sounds=frozenset({"aac", "mp3"})),
        OutputKind(name="srt", schemes=("srt",), sounds=_MPEG_SOUNDS),
        OutputKind(name="hls", sounds=_MPEG_SOUNDS),
        OutputKind(name="recording", sounds=frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac"})),
    )
}


def kind_of(to: str) -> OutputKind:
    """The kind of an output that is given as this URL or path. Raises ValueError for a URL that none of them takes."""
    scheme, separator, _ = to.partition("://")
    if not separator:
        return OUTPUT_KINDS["hls" if to.lower().endswith(".m3u8") else "recording"]
    for kind in OUTPUT_KINDS.values():
        if scheme.lower() in kind.schemes:
            return kind
    known = ", ".join(f"{name}://" for kind in OUTPUT_KINDS.values() for name in kind.schemes)
    raise ValueError(f"nothing is published to {scheme}://; use {known}, a path that ends in .m3u8, or a folder")


def place_of(output: OutputSettings) -> str:
    """What may be said of where an output goes: the path, or the URL without user, password, path and query."""
    scheme, separator, rest = output.to.partition("://")
    if not separator:
        folder = Path(output.to)
        return str(folder.parent if kind_of(output.to).name == "hls" else folder)
    try:
        parts = urlsplit(output.to)
        host, port = parts.hostname, parts.port
    except ValueError:
        return f"{scheme}://"
    # A password with a slash in it ends what a parser takes for the host, so that the host would be a part of it.
    if host is None or "@" in rest.partition("/")[2]:
        return f"{scheme}://"
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" + (f":{port}" if port else "")

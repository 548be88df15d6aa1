"""What the texts `input` and `to` stand for: URLs, webcams, files, folders; and when two of them are the same."""

from __future__ import annotations

import os
import re
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

InputKind = Literal["rtsp", "rtmp", "http", "udp", "srt", "webcam", "file"]
OutputKind = Literal["rtsp", "rtmp", "srt", "hls", "recording"]

_INPUTS: dict[str, InputKind] = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "rtmp": "rtmp",
    "rtmps": "rtmp",
    "http": "http",
    "https": "http",
    "udp": "udp",
    "srt": "srt",
}
_OUTPUTS: dict[str, OutputKind] = {"rtsp": "rtsp", "rtsps": "rtsp", "rtmp": "rtmp", "rtmps": "rtmp", "srt": "srt"}
DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, "http": 80, "https": 443}
_FILE_ENDINGS = (".mp4", ".m4v", ".mkv", ".mov", ".avi", ".webm", ".flv", ".ts", ".mpg", ".mpeg", ".m3u", ".jpg", ".png")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class AddressError(ValueError):
    """The text is no address; the message is the rest of a sentence that begins with its key, and shows no part of the text."""


class Place(NamedTuple):
    """Where a URL leads on the network."""

    scheme: str
    host: str
    port: int | None
    """None where the scheme has no default and the URL names none."""


def input_kind(text: str) -> InputKind:
    """What an `input` is. Raises AddressError."""
    scheme = scheme_of(text)
    if scheme is None:
        _check_path(text)
        return "webcam" if text.startswith("/dev/") else "file"
    if scheme not in _INPUTS:
        known = ", ".join(f"{name}://" for name in _INPUTS)
        raise AddressError(f"begins with {scheme}://; possible are {known}, a webcam such as /dev/video0 and the path of a file")
    place_of(text)
    return _INPUTS[scheme]


def output_kind(text: str) -> OutputKind:
    """What a `to` is. Raises AddressError."""
    scheme = scheme_of(text)
    if scheme is None:
        _check_path(text)
        if text.lower().endswith(_FILE_ENDINGS):
            raise AddressError(
                "is named like a file; recordings go into a folder (a / at the end makes this one), "
                "HLS to a path that ends in .m3u8"
            )
        return "hls" if text.endswith(".m3u8") else "recording"
    if scheme not in _OUTPUTS:
        known = ", ".join(f"{name}://" for name in _OUTPUTS)
        raise AddressError(f"begins with {scheme}://; possible are {known}, a path that ends in .m3u8 and a folder for recordings")
    place_of(text)
    return _OUTPUTS[scheme]


def scheme_of(text: str) -> str | None:
    """In small letters; None where the text is a path."""
    found = _SCHEME.match(text)
    return found[1].lower() if found else None


def place_of(url: str) -> Place:
    """Raises AddressError where the URL names no host or a wrong port."""
    if re.search(r"\s", url):
        raise AddressError("holds a space; in URLs it is written %20")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise AddressError(
            "has no valid host and port; @, /, ? and # in a user or password are written %40, %2F, %3F and %23"
        ) from None
    scheme = parts.scheme.lower()
    if not host and scheme not in ("srt", "udp"):
        raise AddressError("names no host")
    if port is None and scheme in ("srt", "udp"):
        raise AddressError(f"names no port; {scheme}:// needs one, as in {scheme}://HOST:PORT")
    return Place(scheme=scheme, host=host or "", port=port if port is not None else DEFAULT_PORTS.get(scheme))


def same_place(text: str) -> str:
    """A text that is equal for two addresses of the same thing: credentials, spelling and default ports do not count."""
    scheme = scheme_of(text)
    if scheme is None:
        return os.path.realpath(text)
    place, parts = place_of(text), urlsplit(text)
    host = "localhost" if place.host in _LOOPBACK else place.host.rstrip(".")
    path = re.sub("/+", "/", parts.path).rstrip("/")
    return f"{scheme}://{host}:{place.port}{path}?{parts.query}"


def has_literal_password(text: str) -> bool:
    """Whether a URL holds a password that is not a reference to a secret."""
    found = _SCHEME.match(text)
    userinfo, at, _ = text[found.end() :].rpartition("@") if found else ("", "", "")
    password = userinfo.partition(":")[2]
    return bool(at and password and "${secret:" not in password)


def is_loopback(host: str) -> bool:
    return host in _LOOPBACK or host.startswith("127.")


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:8700`, `[::1]:8700` or `:8700`, which is every address. Raises AddressError."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/@]*):([0-9]{1,5})", address)
    if found is None or not 1 <= int(found[2]) <= 65535:
        raise AddressError("must be a host and a port from 1 to 65535, as in 127.0.0.1:8700 or [::1]:8700")
    return found[1].strip("[]"), int(found[2])


def _check_path(text: str) -> None:
    if not text.strip():
        raise AddressError("is empty")
    if "\0" in text or "\n" in text:
        raise AddressError("holds a character that no path has")

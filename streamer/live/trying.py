"""The other end of `probing.py`: opens one input, or connects to one output, says in one line of JSON how it went, and ends."""

from __future__ import annotations

import itertools
import resource
import socket
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from streamer.live.addresses import input_kind, output_kind, place_of
from streamer.live.probing import Answer, Request
from streamer.redaction import redact, register_url

if TYPE_CHECKING:
    from av.container import InputContainer

_MOST_PACKETS = 1000
"""Of pictures that are read until one can be decoded."""


def main() -> int:
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))  # 0 is no file, but only 1 is nothing for a collector of crashes either
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    register_url(request.url)
    answer = _try_input(request) if request.kind == "input" else _try_output(request)
    sys.stdout.buffer.write(msgspec.json.encode(msgspec.structs.replace(answer, fact=redact(answer.fact))))
    return 0


def _try_output(request: Request) -> Answer:
    """Whether something listens there."""
    place = place_of(request.url)
    if output_kind(request.url) == "srt" or place.port is None:
        return Answer(works=True, fact="not tried, as nothing answers to a mere connection there")
    where = f"{place.host}:{place.port}"
    try:
        socket.create_connection((place.host, place.port), request.timeout_s).close()
    except OSError as error:
        return Answer(works=False, fact=f"{_sentence(error, request)}: {where}")
    return Answer(works=True, fact=f"{where} accepts connections")


def _try_input(request: Request) -> Answer:
    # Only here, because it takes longer to load than an output takes to be tried.
    import av

    kind = input_kind(request.url)
    started_s = time.monotonic()
    try:
        if kind in ("rtsp", "rtmp", "http"):
            place = place_of(request.url)
            socket.getaddrinfo(place.host, place.port)
        options = {"rtsp_transport": request.transport, "analyzeduration": "2000000"} if kind == "rtsp" else {}
        form = "v4l2" if kind == "webcam" else None
        with av.open(request.url, format=form, options=options, timeout=(request.timeout_s, request.timeout_s)) as container:
            return _describe(container)
    except (av.FFmpegError, OSError, ValueError) as error:
        # FFmpeg says that the data are invalid where it ran out of time.
        if time.monotonic() - started_s >= request.timeout_s - 0.1:
            return Answer(works=False, fact=f"does not answer within {request.timeout_s:g} s")
        return Answer(works=False, fact=_sentence(error, request))


def _describe(container: InputContainer) -> Answer:
    import av

    if not container.streams.video:
        return Answer(works=False, fact="sends no pictures")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context is None:
        return Answer(works=False, fact="sends pictures of a codec that this FFmpeg cannot decode")
    for packet in itertools.islice(container.demux(stream), _MOST_PACKETS):
        try:
            frame = next(iter(packet.decode()), None)
        except av.error.InvalidDataError:
            frame = None
        if frame is not None:
            rate = f", {float(stream.average_rate):g} fps" if stream.average_rate else ""
            sound = ", ".join(f"sound {one.codec_context.name}" for one in container.streams.audio) or "no sound"
            return Answer(works=True, fact=f"{context.name} {frame.width}x{frame.height}{rate}, {sound}")
    return Answer(works=False, fact=f"sends {context.name}, of which no picture can be decoded")


def _sentence(error: Exception, request: Request) -> str:
    """What is wrong, for people."""
    import av

    known: tuple[tuple[type[Exception], str], ...] = (
        (av.error.HTTPUnauthorizedError, "refuses the user or password (401)"),
        (av.error.HTTPForbiddenError, "refuses access (403)"),
        (av.error.HTTPNotFoundError, "there is no such stream (404)"),
        (av.error.HTTPError, "answers with an error"),
        (socket.gaierror, "the name of the host is not known"),
        (ConnectionRefusedError, "nobody listens there (connection refused)"),
        (TimeoutError, f"does not answer within {request.timeout_s:g} s"),
        (av.error.ExitError, f"does not answer within {request.timeout_s:g} s"),
        (av.error.DecoderNotFoundError, "sends a codec that this FFmpeg cannot decode"),
        (av.error.ProtocolNotFoundError, "this FFmpeg does not know the protocol"),
        (av.error.InvalidDataError, "answers with something that is no video"),
        (av.error.EOFError, "ends before the first picture"),
    )
    for kind, sentence in known:
        if isinstance(error, kind):
            return sentence
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return " ".join(reason.split())


if __name__ == "__main__":
    raise SystemExit(main())

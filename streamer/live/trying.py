"""The other end of `probing.py`: opens one input, or connects to one output, says in one line of JSON how it went, and ends."""

from __future__ import annotations

import signal
import socket
import sys
import time

import msgspec

from models.core_dumps import leave_no_core
from streamer.live.addresses import input_kind, output_kind, place_of
from streamer.live.probing import Answer, Request
from streamer.redaction import redact, register_url


def main() -> int:
    leave_no_core()
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    register_url(request.url)
    answer = _try_input(request) if request.kind == "input" else _try_output(request)
    sys.stdout.buffer.write(msgspec.json.encode(msgspec.structs.replace(answer, fact=redact(answer.fact))))
    return 0


def _try_input(request: Request) -> Answer:
    """As the daemon would: connect, and wait for the first picture that can be decoded."""
    # Only here, because it takes longer to load than an output takes to be tried.
    from streamer.live.messages import CameraSetup
    from streamer.live.reading import CameraLostError, LiveReader

    _end_after(request.timeout_s)
    setup = CameraSetup(
        session=0,
        url=request.url,
        transport=request.transport,
        loop=False,
        read_timeout_s=request.timeout_s,
        audio="copy",
        max_fps=None,
        origin_s=time.monotonic(),
        thorough_every_s=1.0,
    )
    try:
        if input_kind(request.url) in ("rtsp", "rtmp", "http"):
            socket.getaddrinfo(*place_of(request.url)[1:])
        opened = LiveReader(setup).opened()
    except socket.gaierror:
        return Answer(works=False, fact="the name of the host is not known")
    except CameraLostError as error:
        return Answer(works=False, fact=str(error))
    numerator, denominator = opened.average_rate
    facts = [
        f"{opened.codec} {opened.layout.width}x{opened.layout.height}",
        *([f"{numerator / denominator:.4g} fps"] if numerator else []),
        f"sound {opened.audio_codec}" if opened.audio_codec else "no sound",
    ]
    return Answer(works=True, fact=", ".join(facts))


def _try_output(request: Request) -> Answer:
    """Whether something listens there."""
    place = place_of(request.url)
    if output_kind(request.url) == "srt" or place.port is None:
        return Answer(works=True, fact="not tried, as nothing answers to a mere connection there")
    where = f"{place.host}:{place.port}"
    _end_after(request.timeout_s)
    try:
        socket.create_connection((place.host, place.port)).close()
    except socket.gaierror:
        return Answer(works=False, fact=f"{place.host}: the name of the host is not known")
    except OSError as error:
        return Answer(works=False, fact=f"{where}: {(error.strerror or type(error).__name__).lower()}")
    return Answer(works=True, fact=f"{where} accepts connections")


def _end_after(timeout_s: float) -> None:
    """The kernel ends this process then, whatever it is stuck in; the other end knows what that means."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)


if __name__ == "__main__":
    raise SystemExit(main())

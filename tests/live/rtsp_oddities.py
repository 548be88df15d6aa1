"""Streams on the tests' RTSP server that no camera should send: of a codec that nobody knows, and of sound alone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from urllib.parse import urlsplit

import av

from tests.live.beeps import beeps

_ODD_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=odd\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 X-NOBODY-KNOWS/90000\r\na=control:streamid=0\r\n"
)
_SAMPLE_RATE = 8000
_PACKET_S = 0.05


@contextmanager
def unknown_codec(url: str) -> Iterator[None]:
    """Announced, with packets of something."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), 10) as connection, _repeating() as repeat:
        answers = connection.makefile("rb")
        requests = (
            ("ANNOUNCE", url, f"Content-Type: application/sdp\r\nContent-Length: {len(_ODD_SDP)}\r\n", _ODD_SDP),
            ("SETUP", f"{url}/streamid=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record\r\n", ""),
            ("RECORD", url, "Session: {session}\r\n", ""),
        )
        session = ""
        for number, (method, target, headers, body) in enumerate(requests, 1):
            head = f"{method} {target} RTSP/1.0\r\nCSeq: {number}\r\n{headers.format(session=session)}\r\n"
            connection.sendall((head + body).encode())
            lines = list(iter(lambda: answers.readline().decode().strip(), ""))
            assert "200" in lines[0], lines
            session = next((line.split(":")[1].split(";")[0].strip() for line in lines if line.startswith("Session")), session)

        def send(number: int) -> None:
            head = bytes([0x80, 96]) + number.to_bytes(2, "big") + (number * 4500).to_bytes(4, "big") + b"odd!"
            packet = head + b"nothing that could be shown"
            connection.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)

        repeat(send)
        yield


@contextmanager
def sound_alone(url: str) -> Iterator[None]:
    """A microphone: beeps, and no pictures."""
    with av.open(url, "w", format="rtsp", options={"rtsp_transport": "tcp"}) as output, _repeating() as repeat:
        stream = output.add_stream("pcm_alaw", rate=_SAMPLE_RATE)
        stream.codec_context.layout = "mono"
        samples = round(_PACKET_S * _SAMPLE_RATE)

        def send(number: int) -> None:
            wave = beeps(number * samples, samples, _SAMPLE_RATE)[None]
            frame = av.AudioFrame.from_ndarray((wave * 32767).astype("int16"), "s16", "mono")
            frame.sample_rate, frame.time_base, frame.pts = _SAMPLE_RATE, Fraction(1, _SAMPLE_RATE), number * samples
            output.mux(stream.encode(frame))

        send(0)
        repeat(send)
        yield


@contextmanager
def _repeating() -> Iterator[Callable[[Callable[[int], None]], None]]:
    """Gives a function that lets another one be called again and again, with the numbers from 1 on, until the end."""
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def repeat(send: Callable[[int], None]) -> None:
        def run() -> None:
            number = 0
            while not ended.wait(_PACKET_S):
                number += 1
                send(number)

        threads.append(threading.Thread(target=run))
        threads[0].start()

    try:
        yield repeat
    finally:
        ended.set()
        for thread in threads:
            thread.join()

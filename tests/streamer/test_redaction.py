"""No credential survives in what is said, wherever it stands."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger

from streamer import redaction
from streamer.redaction import redact, register, register_url, secrets_in_url
from streamer.telemetry import configure_logging
from tests.streamer.running import REPOSITORY

PASSWORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Z")), min_size=6, max_size=20).map("s3".__add__)
"""Whatever people think of, but for spaces; long enough not to be a part of the sentences by chance."""
WORDS = st.sampled_from(
    ["", "cannot open", "Connection refused:", "'", '"', "(", "while", "at 12:03:04", "[rtsp @ 0x55]", "mail@example.org"]
)
SCHEMES = st.sampled_from(["rtsp", "RTSPS", "rtmp", "http", "https", "srt", "udp"])
HOSTS = st.sampled_from(["10.0.0.1", "camera.local:8554", "[::1]:554", "localhost"])
PATHS = st.sampled_from(["", "/", "/Streaming/Channels/101", "/cam?channel=1&subtype=0"])


def forget() -> None:
    """Between examples; between tests, conftest.py does."""
    redaction._spellings.clear()
    redaction._literals = None


@given(SCHEMES, st.sampled_from(["", "admin", "a.b"]), PASSWORDS, HOSTS, PATHS, WORDS, WORDS, st.booleans())
def test_a_password_in_any_url_of_any_sentence_is_hidden(
    scheme: str, user: str, password: str, host: str, path: str, before: str, after: str, is_encoded: bool
) -> None:
    written = quote(password, safe="") if is_encoded else password
    said = redact(f"{before} {scheme}://{user}:{written}@{host}{path} {after}")
    assert written not in said
    assert said == f"{before} {scheme}://***@{host}{path} {after}"


@given(PASSWORDS, st.sampled_from(["token", "access_token", "password", "pwd", "api_key", "auth", "sig", "streamid", "user"]))
def test_secret_values_of_a_query_are_hidden(secret: str, name: str) -> None:
    value = quote(secret, safe="")
    assert (
        redact(f"GET http://h/a.m3u8?quality=3&{name}={value}&x=1 failed") == f"GET http://h/a.m3u8?quality=3&{name}=***&x=1 failed"
    )


@given(PASSWORDS, WORDS, WORDS)
def test_a_registered_secret_is_hidden_outside_of_urls_too(secret: str, before: str, after: str) -> None:
    forget()
    register(secret)
    spellings = (secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1], json.dumps(secret)[1:-1])
    for spelling in (*spellings, re.sub("%..", lambda found: found[0].lower(), quote(secret, safe=""))):
        said = redact(f"{before}{spelling}{after}")
        assert spelling not in said
        assert said == f"{before}***{after}"


@given(SCHEMES, PASSWORDS, HOSTS, PATHS)
def test_a_process_that_was_handed_a_url_hides_its_password_everywhere(scheme: str, password: str, host: str, path: str) -> None:
    forget()
    register_url(f"{scheme}://admin:{quote(password, safe='')}@{host}{path}")
    header = base64.b64encode(f"admin:{password}".encode()).decode()
    assert redact(f"user admin, {password}! Authorization: Basic {header}") == "user admin, ***! Authorization: Basic ***"


@given(st.lists(PASSWORDS, min_size=2, max_size=4))
@settings(max_examples=30)
def test_secrets_that_hold_each_other_are_all_hidden(secrets: list[str]) -> None:
    forget()
    every = [*secrets, "".join(secrets)]
    register(*every)
    said = redact(" ".join(every))
    assert not any(secret in said for secret in every)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://user:p@ss@host/a", "rtsp://***@host/a"),
        ("rtsp://user:p/a?s#s@host/a", "rtsp://***@host/a"),
        ("rtsp://TOKEN@host/a", "rtsp://***@host/a"),
        ("rtsp://host/a", "rtsp://host/a"),
        (
            "opened rtsp://a:b@h/1, then srt://h:9?streamid=x:y&latency=20",
            "opened rtsp://***@h/1, then srt://h:9?streamid=***&latency=20",
        ),
        ("rtmp://a.example/live/ab12-cd34-ef56-gh78", "rtmp://a.example/live/***"),
        ("rtmp://a.example/live/door", "rtmp://a.example/live/door"),
        ("http://h/a?v=eyJhbGciOiJIUzI1NiJ9.e30.abc1", "http://h/a?v=***"),
        ("http://h/a?token=ab#cd&e=1", "http://h/a?token=***&e=1"),
        ("http://h/a?resolution=1280x720&channel=1", "http://h/a?resolution=1280x720&channel=1"),
        ("12:30 mail@example.org has no URL", "12:30 mail@example.org has no URL"),
        ("rtsp://u:${secret:door}@h/a", "rtsp://***@h/a"),
    ],
)
def test_what_is_shown_of_a_url(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


def test_secrets_too_short_to_be_found_leave_the_text_alone() -> None:
    register("ab", "")
    assert redact("about a cab") == "about a cab"


@pytest.mark.parametrize("text", ["/dev/video0", "camera:1234@host", "rtsp://host/a?channel=1", "rtsp://viewer:@host/a"])
def test_what_holds_no_password_has_none_to_hide(text: str) -> None:
    assert [secret for secret in secrets_in_url(text) if secret != base64.b64encode(b"viewer:").decode()] == []


def test_every_part_of_a_log_line_is_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    register("hunter2-and-more")
    configure_logging("source-1", "INFO")
    try:
        raise OSError("rtsp://admin:pa@ss@camera/1 says hunter2-and-more")
    except OSError:
        logger.bind(to="rtmp://u:w0rd@h/a", password="hunter2-and-more").exception("no answer from rtsp://admin:1234@camera/1")
    shown = capsys.readouterr().err
    assert "rtsp://***@camera/1 says ***" in shown
    assert not any(secret in shown for secret in ("pa@ss", "w0rd", "hunter2", "1234@"))
    assert "no answer from rtsp://***@camera/1" in shown


def test_what_nobody_catches_is_redacted() -> None:
    program = (
        "import sys, threading; from streamer.telemetry import configure_logging; configure_logging('veil', 'INFO')\n"
        "def fail(): raise OSError('rtsp://admin:' + 'pass' + 'word@h')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "fail()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stderr.count("OSError: rtsp://***@h") == 2
    assert "password" not in ended.stderr

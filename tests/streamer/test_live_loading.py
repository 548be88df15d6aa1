"""Files of live streams: what fits together is taken, what does not is named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.errors import ExitCode, UsageError
from streamer.live.loading import load_serve_settings

CAMERA = "rtsp://192.0.2.1/a"
TWO = "streams:\n  - {input: 'rtsp://192.0.2.1/a', outputs: 'rtsp://192.0.2.9/a'}\n  - {input: 'rtsp://192.0.2.2/b', outputs: %s}\n"


def stream(more: str, *, source: str = CAMERA, outputs: str = "rtsp://192.0.2.9/a") -> str:
    return f"streams:\n  - input: {source}\n    outputs: {outputs}\n    {more}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "door.yaml"


def refusal(file: Path, text: str) -> str:
    """What is said of the file, without its path."""
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_serve_settings(file)
    said = str(caught.value)
    assert said.startswith(f"{file}: ")
    assert "\n" not in said
    assert caught.value.exit_code == ExitCode.USAGE
    return said.removeprefix(f"{file}: ")


def test_three_lines_are_enough(file: Path) -> None:
    file.write_text(f"streams:\n  - input: {CAMERA}\n    outputs: rtsp://127.0.0.1:8554/a\n")
    (one,) = load_serve_settings(file).settings.streams
    assert (one.name, one.input, [target.to for target in one.targets]) == ("camera1", CAMERA, ["rtsp://127.0.0.1:8554/a"])


def test_streams_without_a_name_are_counted(file: Path) -> None:
    file.write_text(
        "streams:\n  - {input: rtsp://a/1, outputs: rtsp://z/1}\n  - {input: rtsp://a/2, outputs: rtsp://z/2, name: door}\n"
        "  - {input: rtsp://a/3, outputs: rtsp://z/3}\n"
    )
    assert [one.name for one in load_serve_settings(file).settings.streams] == ["camera1", "door", "camera3"]


def test_the_addresses_of_all_enabled_streams_are_there_with_their_keys(file: Path) -> None:
    file.write_text(
        "streams:\n  - {input: rtsp://a/1, outputs: rtsp://z/1, enabled: false}\n"
        "  - {input: rtsp://a/2, outputs: [rtsp://z/2, {to: rec}]}\n  - {input: rtsp://a/3, outputs: {to: x.m3u8}}\n"
    )
    loaded = load_serve_settings(file)
    assert [address.key for address in loaded.inputs] == ["streams[1].input", "streams[2].input"]
    assert [address.key for address in loaded.outputs] == [
        "streams[1].outputs[0]",
        "streams[1].outputs[1].to",
        "streams[2].outputs.to",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "streams is missing"),
        ("streams:", "streams must be a list of at least 1, each a group of settings, each on its own line, is null"),
        ("streams: []", "streams must be a list of at least 1, each a group of settings, each on its own line, is []"),
        ("streams: [a]", "streams[0] must be a group of settings, each on its own line, is a"),
        ("streams:\n  - outputs: a", "streams[0].input is missing"),
        ("1: 2", "1 is not a setting; known here: streams, detector_processes,"),
        (stream("detector: {threshold: 1.7}"), "streams[0].detector.threshold must be a number above 0 and below 1, is 1.7"),
        (stream("detectr: {}"), "streams[0].detectr is not a setting; did you mean detector?"),
        (stream("name: Front Door"), "streams[0].name must be text that matches ^[a-z0-9]"),
        (stream("name: no"), "streams[0].name must be text that matches ^[a-z0-9][a-z0-9_-]{0,31}$ or null, is false"),
        (stream("", outputs="3"), "streams[0].outputs must be text or a group of settings, each on its own line or a list,"),
        (stream("", outputs="[a, 3]"), "streams[0].outputs[1] must be text or a group of settings, each on its own line, is 3"),
        (stream("", outputs="[{to: a, segment_s: 0}]"), "streams[0].outputs[0].segment_s must be a number at least 1 and at most"),
        (stream("", outputs="{to: a, size: 3}"), "streams[0].outputs.size is not a setting; known here: to, transport,"),
        (stream("", outputs="[{}]"), "streams[0].outputs[0].to is missing"),
        (stream("zones: [{points: [[0, 0], [1, 2], [0, 1]]}]"), "streams[0].zones[0].points must be a list of at least 3, each"),
        (
            stream("zones: [{points: [[0, 0], [1, 0]]}]"),
            "streams[0].zones[0].points must be a list of at least 3, each a list of 2,",
        ),
        (stream("zones: [{points: [[0, 0], [1], [0, 1]]}]"), "streams[0].zones[0].points must be a list of at least 3, each"),
        (stream("name: a\n    name: b"), "is not valid YAML at line 5 (name is there twice)"),
        (stream("loop: [" * 5000), "is not valid YAML (it is nested too deeply)"),
        (stream("loop: 2026-02-31"), "is not valid YAML (day is out of range for month)"),
    ],
)
def test_a_wrong_value_is_named_with_its_path(file: Path, text: str, message: str) -> None:
    assert refusal(file, text).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (stream("enabled: false"), "streams has no stream that is enabled"),
        (stream("", outputs="[]"), "streams[0].outputs names no output"),
        (
            TWO % "rtsp://192.0.2.9/b" + "  - {input: rtsp://c/c, outputs: rtsp://z/z, name: camera1}",
            "streams[2].name must differ from ",
        ),
        (stream("name: |\n      door"), "streams[0].name ends with a line break"),
        (TWO % "rtsp://192.0.2.9/a", "streams[1].outputs is the same as streams[0].outputs: rtsp://192.0.2.9/a"),
        (
            TWO % "'RTSP://u:password@192.0.2.9:554//a/'",
            "streams[1].outputs is the same as streams[0].outputs: RTSP://***@192.0.2.9",
        ),
        (
            stream("", outputs="[rtsp://localhost/a, rtsp://127.0.0.1:554/a]"),
            "streams[0].outputs[1] is the same as streams[0].outputs[0]",
        ),
        (stream("", outputs="[rec, {to: ./rec/../rec/}]"), "streams[0].outputs[1].to is the same as streams[0].outputs[0]: ./rec/"),
        (
            TWO % "rtsp://viewer@192.0.2.1/a",
            "streams[1].outputs is the same as streams[0].input, whose pictures are not anonymized",
        ),
        (stream("", outputs="[rec, rec/door]"), "streams[0].outputs[1] lies inside the folder of streams[0].outputs[0]: rec/door"),
        (stream("", outputs="[rec/door, rec]"), "streams[0].outputs[0] lies inside the folder of streams[0].outputs[1]: rec/door"),
        (stream("", source="rec/clip.mp4", outputs="rec"), "streams[0].input lies in the folder of recordings"),
        (
            stream("look_ahead_s: 1.4"),
            "streams[0].max_latency_ms must be at least 1600, 200 more than look_ahead_s (1.4 s), is 1500",
        ),
        (stream("loop: true"), "streams[0].loop is only for files"),
        (stream("transport: udp", source="rtmp://a/b"), "streams[0].transport is only for rtsp://"),
        (stream("", outputs="[{to: rec, transport: udp}]"), "streams[0].outputs[0].transport is only for rtsp://"),
        (stream("", outputs="rec/door.MP4"), "streams[0].outputs is named like a file; recordings go into a folder (a / at"),
        (stream("", outputs="[{to: door.mkv}]"), "streams[0].outputs[0].to is named like a file; recordings go into a folder"),
        (stream("", source="ftp://a/b"), "streams[0].input begins with ftp://; possible are rtsp://, rtsps://, rtmp://"),
        (
            stream("", outputs="http://a/b"),
            "streams[0].outputs begins with http://; possible are rtsp://, rtsps://, rtmp://, rtmps://, srt",
        ),
        (stream("", source="rtsp:///a"), "streams[0].input names no host"),
        (stream("", source="rtsp://a:x/b"), "streams[0].input has no valid host and port; @, /, ? and # in a user or password"),
        (stream("", source="'rtsp://a/b c'"), "streams[0].input holds a space; in URLs it is written %20"),
        (stream("", source="udp://@"), "streams[0].input names no port; udp:// needs one, as in udp://HOST:PORT"),
        (stream("", source="''"), "streams[0].input is empty"),
        (stream("zones: [{points: [[0, 0], [0.5, 0.5], [1, 1]]}]"), "streams[0].zones[0].points must enclose an area"),
        (
            stream("zones: [{points: [[0, 0], [1, 0], [0, 1]], schedule: [always]}]"),
            "streams[0].zones[0].schedule must be days, times",
        ),
        (
            stream("zones: [{points: [[0, 0], [1, 0], [0, 1]], schedule: ['25:00-26:00']}]"),
            "streams[0].zones[0].schedule must be days,",
        ),
        (stream("") + "http: {address: '0.0.0.0:8700'}", "http.token is needed where http.address (0.0.0.0:8700) can be reached"),
        (stream("") + "http: {address: ':8700'}", "http.token is needed where http.address (:8700) can be reached"),
        (
            stream("") + "http: {address: '127.0.0.1'}",
            "http.address must be a host and a port from 1 to 65535, as in 127.0.0.1:8700",
        ),
        (stream("") + "http: {address: '127.0.0.1:99999'}", "http.address must be a host and a port from 1 to 65535"),
        (stream("") + "http: {token: abc}", "http.token must have at least 12 characters"),
        (stream("") + "http: {token: 123456789012345}", "http.token must be text or null, is something else"),
    ],
)
def test_keys_that_contradict_each_other_are_named(file: Path, text: str, message: str) -> None:
    said = refusal(file, text)
    assert said.startswith(message)
    assert "password@" not in said
    assert "123456789012345" not in said


@pytest.mark.parametrize(
    "text",
    [
        stream("", outputs="[rtsp://192.0.2.9/a, rtsp://192.0.2.9/b, rtmp://192.0.2.9/a, rec/a, rec/ab, rec.m3u8]"),
        TWO % "rtsp://192.0.2.9:8554/a",
        stream("", source="/dev/video0"),
        stream("loop: true", source="no-such-file.mp4"),
        stream("zones: [{points: [[0, 0], [1, 1], [1, 0], [0, 1]], schedule: ['mon-fri 8:00-18:00', 'sat,sun']}]"),
        stream("look_ahead_s: 1.3"),
        stream("") + "http: {address: '[::1]:8700'}",
        stream("") + "http: {address: '0.0.0.0:8700', enabled: false}",
        stream("") + "http: {address: '0.0.0.0:8700', token: long-enough-for-this}",
    ],
)
def test_what_fits_together_is_taken(file: Path, text: str) -> None:
    file.write_text(text)
    assert load_serve_settings(file).settings.streams


def test_a_stream_that_is_left_out_may_use_what_another_uses(file: Path) -> None:
    file.write_text(
        "streams:\n  - {input: rtsp://a/1, outputs: rtsp://z/1}\n"
        "  - {input: rtsp://a/1, outputs: rtsp://z/1, enabled: false, look_ahead_s: 5}\n"
    )
    if_enabled = file.read_text().replace(", enabled: false", "")
    with pytest.raises(UsageError, match="max_latency_ms"):
        load_serve_settings(file)
    file.write_text(file.read_text().replace(", look_ahead_s: 5", ""))
    assert len(load_serve_settings(file).outputs) == 1
    assert "streams[1].outputs is the same as" in refusal(file, if_enabled.replace(", look_ahead_s: 5", ""))


def test_a_password_in_a_wrong_value_is_not_shown(file: Path) -> None:
    said = refusal(file, stream("loop: ['rtsp://u:password@h/a', 2]"))
    assert said == "streams[0].loop must be true or false, is ['rtsp://***@h/a', 2]"

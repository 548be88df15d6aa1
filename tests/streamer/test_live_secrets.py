"""Credentials by reference: found where they should be, encoded where they must be, never told."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer import environment
from streamer.errors import UsageError
from streamer.live.loading import load_serve_settings
from streamer.live.secrets import Secrets
from streamer.redaction import redact

SECRET = "p@ss/word?#1"


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "secrets.yaml"
    path.touch(0o600)
    return path


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: Path) -> Path:
    """All three places hold a secret `door`; the folder of the first is given."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(environment, "_taken", {})
    monkeypatch.setenv("VEIL_SECRET_DOOR", "from-environment")
    private.write_text("door: from-file\n")
    (tmp_path / "door").write_text("from-credential\n")
    return tmp_path


def test_the_three_places_are_asked_in_their_order(places: Path, private: Path) -> None:
    secrets = Secrets(str(private))
    assert secrets.resolve("${secret:door}") == "from-credential"
    (places / "door").unlink()
    assert secrets.resolve("${secret:door}") == "from-file"
    assert Secrets().resolve("${secret:door}") == "from-environment"
    assert "VEIL_SECRET_DOOR" not in os.environ
    assert redact("from-credential from-file from-environment") == "*** *** ***"


@pytest.mark.parametrize(("name", "variable"), [("front-door", "FRONT_DOOR"), ("Door.2", "DOOR_2")])
def test_names_become_those_of_variables(name: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_taken", {})
    monkeypatch.setenv(f"VEIL_SECRET_{variable}", "found-it")
    assert Secrets().resolve(f"${{secret:{name}}}") == "found-it"


def secrets_with(private: Path, value: str) -> Secrets:
    private.write_text(f"door: {value}\n")
    return Secrets(str(private))


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("rtsp://viewer:${secret:door}@h/a", "rtsp://viewer:p%40ss%2Fword%3F%231@h/a"),
        ("rtsp://${secret:door}@h/a", "rtsp://p%40ss%2Fword%3F%231@h/a"),
        ("rtmp://h/live/${secret:door}", f"rtmp://h/live/{SECRET}"),
        ("srt://h:9?passphrase=${secret:door}", f"srt://h:9?passphrase={SECRET}"),
        ("${secret:door}", SECRET),
        ("rtsp://h/a", "rtsp://h/a"),
        ("rtsp://h/$a/${b}", "rtsp://h/$a/${b}"),
    ],
)
def test_values_are_encoded_only_in_the_user_and_password_of_a_url(private: Path, text: str, resolved: str) -> None:
    assert secrets_with(private, SECRET).resolve(text) == resolved


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Z")), min_size=1))
def test_a_parser_of_urls_finds_the_very_password(tmp_path_factory: pytest.TempPathFactory, password: str) -> None:
    folder = tmp_path_factory.mktemp("credentials")
    (folder / "door").write_text(password)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CREDENTIALS_DIRECTORY", str(folder))
        url = urlsplit(Secrets().resolve("rtsp://admin:${secret:door}@camera.local:8554/a?b=1"))
    assert (unquote(url.password or ""), url.username, url.hostname, url.port) == (password, "admin", "camera.local", 8554)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("door: 1234", "1234"),
        ("door:   a b  ", "a b"),
        ("door: '#*&: x'", "#*&: x"),
        ('door: "quoted"', "quoted"),
        ("door: *alias#x", "*alias#x"),
        ("# a comment\n\n  # another\ndoor: yes", "yes"),
    ],
)
def test_a_value_is_the_rest_of_its_line(private: Path, line: str, value: str) -> None:
    private.write_text(f"{line}\nyard: other\n")
    assert Secrets(str(private)).resolve("${secret:door}") == value


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        ("door: a\n", 0o640, "is open to others (mode 0640); run: chmod 600 "),
        ("door: a\n", 0o604, "is open to others (mode 0604); run: chmod 600 "),
        ("door: hush-hush\ndoor: b\n", 0o600, ", line 2: door is there twice"),
        ("door hush-hush\n", 0o600, ", line 1: must be NAME: VALUE"),
        ("door:hush-hush\n", 0o600, ", line 1: must be NAME: VALUE"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_its_values(private: Path, content: str, mode: int, message: str) -> None:
    private.write_text(content)
    private.chmod(mode)
    with pytest.raises(UsageError) as caught:
        Secrets(str(private), name_key=lambda key: f"door.yaml: {key}")
    assert str(caught.value).startswith(f"door.yaml: secrets_file: {private}")
    assert message in str(caught.value)
    assert "hush" not in str(caught.value)


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, message in (
        ("pipe", "is not a file"),
        (".", "cannot be read|is not a file"),
        ("none", "cannot be read .No such file"),
    ):
        with pytest.raises(UsageError, match=message):
            Secrets(str(tmp_path / name))


def test_a_file_of_somebody_else_is_refused(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private.write_text("door: hush\n")
    owner = os.stat(private).st_uid
    if owner == 0:
        os.chown(private, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(UsageError, match="belongs to somebody else"):
        Secrets(str(private))


def test_a_missing_secret_is_named_with_its_key_and_the_three_places(places: Path, private: Path, tmp_path: Path) -> None:
    file = tmp_path / "door.yaml"
    file.write_text(f"secrets_file: {private}\nstreams:\n  - {{input: 'rtsp://u:${{secret:yard}}@h/a', outputs: rtsp://z/a}}\n")
    with pytest.raises(UsageError) as caught:
        load_serve_settings(file)
    assert str(caught.value) == (
        f"{file}: streams[0].input needs the secret yard, which is not there; it is looked for as $CREDENTIALS_DIRECTORY/yard, "
        f"in {private} and as the variable VEIL_SECRET_YARD"
    )


@pytest.mark.parametrize("text", ["rtsp://u:${secret:a b}@h", "rtsp://u:${secret:}@h", "rtsp://u:${secretdoor}@h", "${secret:door"])
def test_a_reference_that_is_none_is_not_taken_for_a_password(text: str) -> None:
    if text == "rtsp://u:${secretdoor}@h":
        assert Secrets().resolve(text) == text
        return
    with pytest.raises(UsageError, match=r"a reference is written \$\{secret:NAME\}"):
        Secrets().resolve(text, "streams[0].input")


def test_the_settings_keep_the_references(places: Path, tmp_path: Path) -> None:
    file = tmp_path / "door.yaml"
    file.write_text(
        "streams:\n  - {input: 'rtsp://u:${secret:door}@h/a', outputs: '${secret:yard}'}\n"
        "http: {address: '0.0.0.0:80', token: '${secret:page}'}\n"
    )
    (tmp_path / "yard").write_text("rtmp://a/b/stream-key-1-of-2026\n")
    (tmp_path / "page").write_text("a-long-enough-token")
    loaded = load_serve_settings(file)
    assert loaded.settings.streams[0].input == "rtsp://u:${secret:door}@h/a"
    assert loaded.inputs[0].url == "rtsp://u:from-credential@h/a"
    assert loaded.outputs[0].url == "rtmp://a/b/stream-key-1-of-2026"
    assert not any(secret in repr(loaded) for secret in ("from-credential", "stream-key", "long-enough"))
    assert redact("stream-key-1-of-2026 a-long-enough-token from-credential") == "*** *** ***"


def test_credentials_that_stand_in_the_file_are_hidden_too(tmp_path: Path) -> None:
    file = tmp_path / "door.yaml"
    file.write_text(
        "streams:\n  - {input: 'rtsp://u:pass%40word@h/a', outputs: 'srt://h:9?passphrase=hush-hush'}\n"
        "http: {token: a-long-enough-token}\n"
    )
    load_serve_settings(file)
    assert redact("pass@word pass%40word hush-hush a-long-enough-token") == "*** *** *** ***"

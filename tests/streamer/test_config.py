"""Settings from files and flags: what is right is taken, what is wrong is named in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from models import geometry
from models.backends import BACKEND_NAMES
from streamer.config import AnonymizeSettings, FilterSettings, make_settings, merge_values, read_settings_file
from streamer.docstrings import field_sentences, sentence_of
from streamer.errors import ExitCode, UsageError

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "configs" / "anonymize.yaml"


def keys_of(values: dict[str, Any], prefix: str = "") -> set[str]:
    keys = set()
    for key, value in values.items():
        keys |= keys_of(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return keys


def test_the_shipped_file_shows_every_key_with_its_default() -> None:
    values = yaml.safe_load(SHIPPED.read_text())

    assert make_settings(values, name_key=str) == AnonymizeSettings()
    assert keys_of(values) == keys_of(msgspec.to_builtins(AnonymizeSettings()))


def test_every_backend_can_be_set() -> None:
    assert {make_settings({"backend": name}, name_key=str).backend for name in BACKEND_NAMES} == set(BACKEND_NAMES)
    with pytest.raises(UsageError, match="backend must be one of auto, "):
        make_settings({"backend": "abacus"}, name_key=str)


def sentences_of_the_code(kind: type[msgspec.Struct], prefix: str = "") -> dict[str, str]:
    """The sentence of every key, read from the source of the settings."""
    sentences = {}
    for field in msgspec.structs.fields(kind):
        key = prefix + field.name
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            sentences |= {key: sentence_of(field.type)} | sentences_of_the_code(field.type, f"{key}.")
        else:
            sentences[key] = field_sentences(kind)[field.name]
    return sentences


def test_faces_are_evaluated_with_the_mask_of_serving() -> None:
    assert FilterSettings().margin == geometry.SERVED_MARGIN


def test_the_shipped_file_explains_every_key_in_the_words_of_the_code() -> None:
    explained: dict[str, str] = {}
    group, comment = "", ""
    for line in SHIPPED.read_text().splitlines():
        if found := re.match(r"( *)# (.*)", line):
            comment = found[2]
        elif found := re.match(r"( *)(\w+):", line):
            group = group if found[1] else ""
            key = f"{group}{found[2]}"
            explained[key] = comment
            if line.endswith(":"):
                group = f"{key}."

    assert explained == sentences_of_the_code(AnonymizeSettings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("detector: {threshold: 1.7}", "detector.threshold must be a number above 0 and below 1, is 1.7"),
        ("detector: {threshold: .nan}", "detector.threshold must be a number above 0 and below 1, is nan"),
        (
            "detector: {size: huge}",
            "detector.size must be one of default, full or a whole number at least 128",
        ),
        ("detector: {threshhold: 0.5}", "detector.threshhold is not a setting; did you mean threshold?"),
        ("tracker: {}\nspeed: 3", "speed is not a setting; known here: detector, tracker, filter, video,"),
        (
            "keep_metadata: [tags, gps]",
            "keep_metadata must be a list, each one of all, chapters, icc, subtitles, tags, is ['tags', 'gps']",
        ),
        ("filter: {cells: 2.5}", "filter.cells must be a whole number at least 1 and at most 64, is 2.5"),
        ("overwrite: maybe", "overwrite must be true or false, is maybe"),
        ("overwrite: 1", "overwrite must be true or false, is 1"),
        ("report: true\nreport: false", "is not valid YAML at line 2 (report is there twice)"),
        ("video:", "video must be a group of settings, each on its own line, is null"),
    ],
)
def test_a_wrong_value_is_named_with_file_key_and_what_it_must_be(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "clip.yaml"
    path.write_text(text)

    with pytest.raises(UsageError) as caught:
        read_settings_file(path)

    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", " must be a group of settings, each on its own line, is ['a', 'b']"),
        (b"detector: {threshold: 1", ": is not valid YAML at line 1"),
        (b"\xff\xfe\x00", ": cannot be read"),
        (None, ": there is no such file"),
    ],
)
def test_a_file_without_settings_is_refused_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "clip.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UsageError) as caught:
        read_settings_file(path)

    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "clip.yaml"
    path.write_text("# nothing yet\n")

    assert make_settings(read_settings_file(path), name_key=str) == AnonymizeSettings()


def test_flags_win_over_the_file_key_by_key() -> None:
    below = {"detector": {"threshold": 0.5, "size": "full"}, "report": True}

    merged = merge_values(below, {"detector": {"threshold": "0.2"}})
    settings = make_settings(merged, name_key=str, is_text=True)

    assert (settings.detector.threshold, settings.detector.size, settings.report) == (0.2, "full", True)


def test_a_flag_is_named_as_the_user_typed_it() -> None:
    with pytest.raises(UsageError, match=r"--detector-size must be one of default, full or a whole number .*, is 12"):
        make_settings({"detector": {"size": "12"}}, name_key={"detector.size": "--detector-size"}.__getitem__, is_text=True)

"""The manual and the schema say what the code says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from streamer.cli import main
from streamer.docstrings import field_sentences
from streamer.live.config import OutputSettings, ServeSettings, StreamSettings, ZoneSettings
from streamer.live.loading import load_serve_settings
from streamer.live.manual import manual
from streamer.live.schema import serve_schema

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = [CONFIGS / "stream.yaml", CONFIGS / "minimal.yaml"]


def test_the_shipped_manual_is_that_of_the_code() -> None:
    assert (CONFIGS / "stream.yaml").read_text() == manual(), "run: veil schema --yaml > configs/stream.yaml"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_each_shipped_file_loads_and_fits_the_schema(path: Path) -> None:
    assert load_serve_settings(path).settings.streams
    jsonschema.Draft202012Validator(serve_schema()).validate(yaml.safe_load(path.read_text()))


def test_a_file_with_nothing_but_a_camera_and_an_output_has_three_lines() -> None:
    assert len((CONFIGS / "minimal.yaml").read_text().splitlines()) == 3


def test_no_line_of_the_manual_is_too_long() -> None:
    assert max(map(len, manual().splitlines())) <= 132


def uncommented() -> dict[str, Any]:
    """The manual with every key at its default."""
    values: dict[str, Any] = yaml.safe_load(re.sub(r"^( *)#(?! \S)", r"\1", manual(), flags=re.MULTILINE))
    return values


def as_yaml(settings: msgspec.Struct) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(msgspec.json.encode(settings))
    return values


def test_every_key_is_in_the_manual_with_its_default() -> None:
    values = uncommented()
    full = values["streams"][0]
    output = as_yaml(OutputSettings(to="rtsp://127.0.0.1:8554/door"))
    points = full["zones"][0]["points"]
    stream = StreamSettings(input="rtsp://192.0.2.10/stream1", outputs="", name="door", zones=(ZoneSettings(points=points),))
    assert full == {**as_yaml(stream), "outputs": [output]}
    defaults = as_yaml(ServeSettings(streams=(StreamSettings(input="", outputs=""),)))
    assert {**values, "streams": None} == {**defaults, "streams": None}


@pytest.mark.parametrize("kind", [ServeSettings, StreamSettings, OutputSettings, ZoneSettings], ids=lambda kind: kind.__name__)
def test_every_key_of_the_manual_has_its_sentence(kind: type[msgspec.Struct]) -> None:
    text = " ".join(re.sub(r"^[ #]*", "", manual(), flags=re.MULTILINE).split())
    sentences = field_sentences(kind)
    nested = {"filter", "detector", "video", "http"}
    assert set(kind.__struct_fields__) - set(sentences) <= nested
    assert [sentence for sentence in sentences.values() if sentence not in text] == []


def test_the_schema_describes_every_key_and_its_bounds() -> None:
    definitions = serve_schema()["$defs"]
    stream = definitions["StreamSettings"]["properties"]
    assert stream["read_timeout_s"] == {
        "type": "number",
        "minimum": 0.5,
        "maximum": 120.0,
        "default": 2.0,
        "description": field_sentences(StreamSettings)["read_timeout_s"],
    }
    described = [facts for group in definitions.values() for facts in group["properties"].values()]
    assert [facts for facts in described if "description" not in facts and "$ref" not in facts] == []


@pytest.mark.parametrize(
    "text", ["{}", "streams: []", "streams: [{input: a}]", "streams: [{input: a, outputs: b, loop: 1}]", "a: 1"]
)
def test_the_schema_refuses_what_the_code_refuses(text: str) -> None:
    validator = jsonschema.Draft202012Validator(serve_schema())
    assert not validator.is_valid(yaml.safe_load(text))


def test_the_command_prints_both(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["schema"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == json.loads(msgspec.json.encode(serve_schema()))
    with pytest.raises(SystemExit):
        main(["schema", "--yaml"])
    assert capsys.readouterr().out == manual()

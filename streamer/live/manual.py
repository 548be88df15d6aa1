"""configs/stream.yaml, which is the manual of the settings: every key with its default and its sentence, made from the code.

A line that begins with # and a space explains; one that begins with # alone is a setting at its default.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import inspect

from streamer.docstrings import field_sentences, sentence_of
from streamer.live.config import OutputSettings, ServeSettings, StreamSettings, ZoneSettings

_WIDTH = 132

_HEAD = """\
Settings of `veil serve FILE`: every key with its default and what it does. What is not commented out is a file that works, for two
cameras; a file needs no more than `streams` with one `input` and one `outputs`. A line such as `#enabled: true` is a setting at its
default: take away the # (and those of the group around it) to change it. Times are in the unit that the name ends with: _s seconds,
_ms milliseconds. Unknown keys and values out of range are refused: `veil check FILE` says so without starting anything.
`${secret:NAME}` in a URL or a token is looked up as $CREDENTIALS_DIRECTORY/NAME (systemd's LoadCredential), in the file that
`secrets_file` names, and as the environment variable VEIL_SECRET_NAME (capitals, - and . become _)."""

_FULL_STREAM: Mapping[str, Any] = {
    "input": "rtsp://192.0.2.10/stream1",
    "outputs": ({"to": "rtsp://127.0.0.1:8554/door"},),
    "name": "door",
}
"""Every key is shown; these are not commented out."""

_SHORT_STREAM = """\
# A second camera, with no more than differs from the defaults.
- name: yard
  input: rtsp://192.0.2.11/stream1
  outputs: [rtsp://127.0.0.1:8554/yard, recordings/yard]
  audio: drop
  filter: {name: heavy-blur}
  zones:
    - points: [[0, 0], [1, 0], [1, 0.2], [0, 0.2]]
      schedule: [mon-fri 18:00-07:00, "sat,sun"]"""

_EXAMPLES: Mapping[type[msgspec.Struct], Mapping[str, Any]] = {
    ZoneSettings: {"points": ((0, 0), (0.5, 0), (0.5, 0.25), (0, 0.25))},
}
"""For keys that have no default."""


def manual() -> str:
    """The whole file."""
    lines = [f"# {line}" for line in textwrap.wrap(" ".join(_HEAD.split()), _WIDTH - 2)]
    fields = field_sentences(ServeSettings)
    lines += ["", f"# {fields['streams']}", "streams:", *_item(_group(StreamSettings, _FULL_STREAM), "  "), ""]
    lines += [f"  {line}" for line in _SHORT_STREAM.splitlines()]
    lines += [line for name in ServeSettings.__struct_fields__ if name != "streams" for line in ("", *_field(ServeSettings, name))]
    return "\n".join(lines) + "\n"


def _group(kind: type[msgspec.Struct], said: Mapping[str, Any]) -> list[str]:
    """The keys of a group; those that `said` lacks are commented out."""
    return [line for name in kind.__struct_fields__ for line in _field(kind, name, said)]


def _field(kind: type[msgspec.Struct], name: str, said: Mapping[str, Any] | None = None) -> list[str]:
    """A key with the sentence above it."""
    group = inspect.type_info(kind)
    assert isinstance(group, inspect.StructType)
    form = next(field for field in group.fields if field.name == name)
    below = _struct_in(form.type)
    sentence = field_sentences(kind).get(name) or (sentence_of(below) if below else "")
    lines = _explanation(sentence)
    if said is not None and name in said:
        if name == "outputs":
            (output,) = said[name]
            return [*lines, "outputs:", *_item(_group(OutputSettings, output), "  ")]
        return [*lines, f"{name}: {_yaml(said[name])}"]
    if isinstance(form.type, inspect.StructType):
        assert below is not None
        return [*lines, f"#{name}:", *(f"#  {line}" for line in _uncommented(_group(below, {})))]
    if below is not None and below in _EXAMPLES:
        item = _uncommented(_group(below, _EXAMPLES[below]))
        return [*lines, *_explanation("None by default; such as:"), f"#{name}:", *(f"#{line}" for line in _item(item, "  "))]
    default = form.default if form.default is not msgspec.NODEFAULT else form.default_factory()
    return [*lines, f"#{name}: {_yaml(default)}"]


def _struct_in(form: inspect.Type) -> type[msgspec.Struct] | None:
    match form:
        case inspect.StructType(cls=cls):
            return cls
        case inspect.VarTupleType(item_type=inspect.StructType(cls=cls)):
            return cls
    return None


def _item(lines: list[str], indent: str) -> Iterator[str]:
    """As an item of a list: the dash stands before the first key, the sentence about that above it."""
    is_first = True
    for line in lines:
        if is_first and not line.startswith("#"):
            yield f"{indent}- {line}"
            is_first = False
        else:
            yield f"{indent}{line}" if is_first else f"{indent}  {line}"


def _explanation(sentence: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(sentence, _WIDTH - 12)]


def _uncommented(lines: list[str]) -> list[str]:
    """Inside a group that is commented out as a whole."""
    return [line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in lines]


def _yaml(value: Any) -> str:
    """In one line, as people write it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) and value[:1].isalnum() else json.dumps(value)

"""The settings of the daemon as a JSON Schema, with the sentences below the fields as descriptions."""

from __future__ import annotations

from typing import Any

import msgspec

from streamer.docstrings import field_sentences
from streamer.live.config import ServeSettings

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def serve_schema() -> dict[str, Any]:
    """Types, bounds, defaults and descriptions; what several keys say together is known only to `veil check`."""
    (reference,), definitions = msgspec.json.schema_components([ServeSettings], ref_template="#/$defs/{name}")
    for kind in _groups_in(ServeSettings):
        properties = definitions[kind.__name__]["properties"]
        for name, sentence in field_sentences(kind).items():
            properties[name]["description"] = sentence
    return {"$schema": DIALECT, "title": "Settings of veil serve", **reference, "$defs": definitions}


def _groups_in(kind: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """A group of settings and all groups below it, each once."""
    found: dict[type[msgspec.Struct], None] = {}

    def visit(form: msgspec.inspect.Type) -> None:
        match form:
            case msgspec.inspect.StructType(cls=cls, fields=fields):
                if cls not in found:
                    found[cls] = None
                    for field in fields:
                        visit(field.type)
            case msgspec.inspect.UnionType(types=types):
                for one in types:
                    visit(one)
            case msgspec.inspect.VarTupleType(item_type=item):
                visit(item)

    visit(msgspec.inspect.type_info(kind))
    return list(found)

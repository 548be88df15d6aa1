"""What is wrong with settings, as one line for the user: which key, what it must be, and what it is."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import inspect

from streamer.redaction import redact

_LONGEST_VALUE = 200
_NEVER_SHOWN = frozenset({"token"})
"""Keys whose values are secret, whatever they look like."""

_shortened = reprlib.Repr()
_shortened.maxstring = 10_000  # not cut before it is redacted


def explain(message: str, values: Any, kind: type, name_key: Callable[[str], str]) -> str:
    """The message of msgspec, which says where but not what was found, as a line for the user.

    message: of the ValidationError. values: what was converted. kind: the type that it was to become.
    name_key: how the user knows a key ("" is the whole), such as `streams[1].detector.threshold`.
    """
    place: list[tuple[str, inspect.Type, Any]] = [("", inspect.type_info(kind), values)]
    for key, index in re.findall(r"\.?([^.\[\]]+)|\[(\d+)\]", _path_in(message)):
        name, form, value = place[-1]
        if index:
            name, form, value = f"{name}[{index}]", _item_of(form, int(index)), value[int(index)]
        else:
            group = _variant(form, inspect.StructType)
            form = next(field.type for field in group.fields if field.encode_name == key)
            name, value = f"{name}.{key}".lstrip("."), value[key]
        place.append((name, form, value))
    # A list of simple things is shown as a whole.
    while place[-1][0].endswith("]") and _variant(place[-1][1], inspect.StructType) is None:
        place.pop()
    return _sentence(message, *place[-1], name_key)


def _path_in(message: str) -> str:
    found = re.search(r"`\$([^`]*)`$", message)
    return found[1] if found else ""


def _sentence(message: str, name: str, form: inspect.Type, value: Any, name_key: Callable[[str], str]) -> str:
    group = _variant(form, inspect.StructType)
    if group is not None and isinstance(value, Mapping):
        known = [field.encode_name for field in group.fields]
        missing = re.match(r"Object missing required field `([^`]+)`", message)
        if missing:
            return f"{name_key(f'{name}.{missing[1]}'.lstrip('.'))} is missing"
        unknown = next(str(key) for key in value if key not in known)
        near = difflib.get_close_matches(unknown, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return f"{name_key(f'{name}.{unknown}'.lstrip('.'))} is not a setting; {hint}"
    is_secret = name.rpartition(".")[2] in _NEVER_SHOWN
    return f"{name_key(name)} must be {_expected(form)}, is {'something else' if is_secret else _shown(value)}".lstrip()


def _variant(form: inspect.Type, kind: type) -> Any:
    """The form, or that one of its variants, which is of this kind; None where there is none."""
    variants = form.types if isinstance(form, inspect.UnionType) else (form,)
    return next((one for one in variants if isinstance(one, kind)), None)


def _item_of(form: inspect.Type, index: int) -> inspect.Type:
    several = _variant(form, inspect.VarTupleType)
    item: inspect.Type = several.item_type if several else _variant(form, inspect.TupleType).item_types[index]
    return item


def _shown(value: Any) -> str:
    """A value as YAML would spell it, without secrets."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else _shortened.repr(value)
    text = " ".join(redact(text).split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _expected(form: inspect.Type) -> str:
    """What a value of this type may be, in words."""
    match form:
        case inspect.UnionType(types=types):
            return " or ".join(_expected(one) for one in types)
        case inspect.LiteralType(values=values):
            return str(values[0]) if len(values) == 1 else f"one of {', '.join(map(str, values))}"
        case inspect.IntType() | inspect.FloatType():
            kind = "a whole number" if isinstance(form, inspect.IntType) else "a number"
            bounds = [("above", form.gt), ("at least", form.ge), ("below", form.lt), ("at most", form.le)]
            said = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
            return f"{kind} {' and '.join(said)}".rstrip()
        case inspect.StrType(pattern=pattern):
            return f"text that matches {pattern}" if pattern else "text"
        case inspect.BoolType():
            return "true or false"
        case inspect.NoneType():
            return "null"
        case inspect.VarTupleType(item_type=item, min_length=least):
            return f"a list{f' of at least {least}' if least else ''}, each {_expected(item)}"
        case inspect.TupleType(item_types=items):
            return f"a list of {len(items)}, each {_expected(items[0])}"
        case _:
            return "a group of settings, each on its own line"

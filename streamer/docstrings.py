"""The sentences below the fields of settings, which Python does not keep: read from the source, for the schema and the manual."""

from __future__ import annotations

import ast
import inspect
import itertools
from functools import cache
from types import ModuleType

import msgspec


def sentence_of(group: type[msgspec.Struct]) -> str:
    """The first paragraph of the docstring of a group of settings, in one line."""
    return " ".join((group.__doc__ or "").strip().split("\n\n")[0].split())


def field_sentences(group: type[msgspec.Struct]) -> dict[str, str]:
    """The docstring of every field, in one line, those of the bases first; fields without one are left out."""
    sentences: dict[str, str] = {}
    for kind in reversed(group.__mro__):
        if issubclass(kind, msgspec.Struct) and kind is not msgspec.Struct:
            module = inspect.getmodule(kind)
            assert module is not None
            sentences |= _sentences_of_module(module).get(kind.__name__, {})
    return sentences


@cache
def _sentences_of_module(module: ModuleType) -> dict[str, dict[str, str]]:
    classes = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef)]
    return {node.name: _sentences_in(node.body) for node in classes}


def _sentences_in(body: list[ast.stmt]) -> dict[str, str]:
    sentences = {}
    for field, after in itertools.pairwise(body):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                sentences[name] = " ".join(text.split())
    return sentences

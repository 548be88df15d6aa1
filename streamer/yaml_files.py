"""Reads YAML that people write: what a lenient reader would pass over in silence is an error here, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from streamer.errors import UsageError


def read_yaml(path: Path) -> Any:
    """What the file says, None where it says nothing. Raises UsageError with one line that begins with the path."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise UsageError(f"{path}: is not valid YAML{where} ({getattr(error, 'problem', error)})") from None
    except RecursionError:
        raise UsageError(f"{path}: is not valid YAML (it is nested too deeply)") from None
    except ValueError as error:  # such as a date that does not exist
        raise UsageError(f"{path}: is not valid YAML ({error})") from None


class _StrictLoader(yaml.SafeLoader):
    """The library's safe loader, which however takes the last of two equal keys in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

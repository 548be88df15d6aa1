"""Credentials by reference: what `${secret:NAME}` in a URL or a token stands for, and where it is looked for."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from streamer.environment import PREFIX, take_secrets
from streamer.errors import UsageError
from streamer.redaction import SHORTEST_SECRET, register

_REFERENCE = re.compile(r"\$\{secret:([A-Za-z0-9][A-Za-z0-9_.-]*)\}")
_LINE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*)\s*:\s+(?:(?P<mark>[\"'])(?P<quoted>.*)(?P=mark)|(?P<plain>.*?))\s*")
_MALFORMED = re.compile(r"\$\{secret\b[^}]*\}?")


class Secrets:
    """The secrets of a daemon: looked up when they are asked for, hidden in the log from then on."""

    def __init__(self, secrets_file: str | None = None, *, name_key: Callable[[str], str] = str) -> None:
        """secrets_file: path of a file of NAME: VALUE lines, or None. name_key: how the user knows a key.

        Raises UsageError where the file cannot be used, also because others may read it.
        """
        self._name_key = name_key
        self._file_name = secrets_file
        self.too_short: set[str] = set()
        """The names of those found so far that cannot be hidden."""
        self._file = {} if secrets_file is None else _read_secrets_file(Path(secrets_file), name_key("secrets_file"))

    def resolve(self, text: str, key: str = "") -> str:
        """The text with the values of its references; inside the user and password of a URL they are percent-encoded.

        key: where the text stands in the settings, for the error. Raises UsageError, which names the places and no values.
        """
        malformed = [found[0] for found in _MALFORMED.finditer(text) if not _REFERENCE.fullmatch(found[0])]
        if malformed:
            raise UsageError(f"{self._name_key(key)} holds {malformed[0]}; a reference is written ${{secret:NAME}}")
        scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text)
        userinfo = range(scheme.end(), text.rfind("@")) if scheme else range(0)

        def value_of(reference: re.Match[str]) -> str:
            value = self._look_up(reference[1], key)
            return quote(value, safe="") if reference.start() in userinfo else value

        return _REFERENCE.sub(value_of, text)

    def _look_up(self, name: str, key: str) -> str:
        variable = PREFIX + re.sub(r"[^A-Z0-9]", "_", name.upper())
        value = _credential(name)
        if value is None:
            value = self._file.get(name)
        if value is None:
            value = take_secrets().get(variable)
        if not value:
            in_file = f"{self._file_name}" if self._file_name else "the file that secrets_file names (there is none)"
            raise UsageError(
                f"{self._name_key(key)} needs the secret {name}, which is {'empty' if value == '' else 'not there'}; "
                f"it is looked for as $CREDENTIALS_DIRECTORY/{name}, in {in_file} and as the variable {variable}"
            )
        register(value)
        if len(value) < SHORTEST_SECRET:
            self.too_short.add(name)
        return value


def references_in(text: str) -> list[str]:
    """The names of the secrets that a text refers to."""
    return _REFERENCE.findall(text)


def _credential(name: str) -> str | None:
    """What systemd's LoadCredential has put there; a line break at its end does not count."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    try:
        return Path(folder, name).read_text("utf-8").rstrip("\r\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"{Path(folder, name)}: cannot be read ({reason})") from None


def _read_secrets_file(path: Path, key: str) -> Mapping[str, str]:
    """Not read as YAML, so that a value needs no quotes and no error shows a part of one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, encoding="utf-8") as file:
            _check_private(os.fstat(descriptor), path, key)
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"{key}: {path} cannot be read ({reason})") from None
    values: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise UsageError(f"{key}: {path}, line {number}: must be NAME: VALUE")
        if found["name"] in values:
            raise UsageError(f"{key}: {path}, line {number}: {found['name']} is there twice")
        values[found["name"]] = found["plain"] if found["plain"] is not None else found["quoted"]
    register(*values.values())
    return values


def _check_private(found: os.stat_result, path: Path, key: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{key}: {path} is not a file")
    if found.st_uid not in (0, os.geteuid()):
        raise UsageError(f"{key}: {path} belongs to somebody else; it must belong to you or to root")
    if found.st_mode & 0o077:
        raise UsageError(f"{key}: {path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}); run: chmod 600 {path}")

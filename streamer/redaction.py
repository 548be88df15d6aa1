"""Keeps credentials out of whatever this process says: logs, errors, pages.

Two nets over each other: URLs are found in any text and lose what is secret in them by the rules of URLs, and literal secrets that
this process was told of are replaced wherever they stand, in each of the spellings that programs give them.
"""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
SHORTEST_SECRET = 4
"""Characters; what is shorter would be found in every second word."""

_URL = re.compile(r"([A-Za-z*][A-Za-z0-9+.*-]*://)(\S*)")
"""Up to the next space, as a password may hold any other character. With *, because part of it may be hidden already."""
_QUERY_VALUE = re.compile(r"(?P<name>[^?&;#=\s]*)=(?P<value>(?:(?![&;#][^?&;#=\s]*=)\S)*)")
"""Up to the next name, as people forget to encode & and #."""
_SECRET_NAME = re.compile(
    r"pass|pwd|secret|token|auth|sign?\b|signature|key|credential|cookie|session|sid\b|streamid|jwt|hash|\bpin\b|user|login"
    r"|account|\bcode\b|\bp\b|\bu\b",
    re.IGNORECASE,
)
_SECRET_LOOKING = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_.~%+/=:-]{16,}")
"""Long and mixed, as only machines write."""

_spellings: set[str] = set()
_literals: re.Pattern[str] | None = None


def register(*secrets: str) -> None:
    """Hide these from now on, in all their spellings. Those of less than SHORTEST_SECRET characters cannot be hidden."""
    global _literals
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            _spellings.update(_spellings_of(secret))
    if _spellings:
        longest_first = sorted(_spellings, key=lambda text: (-len(text), text))
        _literals = re.compile("|".join(map(re.escape, longest_first)))


def register_url(url: str) -> None:
    """Hide from now on what is secret in a URL, wherever it stands: a process calls this for each URL that it is handed."""
    register(*secrets_in_url(url))


def secrets_in_url(url: str) -> list[str]:
    """The password, or a long user where there is none, and the values of the query and stream keys that look secret."""
    parts = _URL.match(url)
    if parts is None:
        return []
    userinfo, place = _split_userinfo(parts[2])
    user, colon, password = userinfo.partition(":")
    found = [password] if colon else [user] if _SECRET_LOOKING.fullmatch(user) else []
    path, query = _split_query(place)
    found += [pair["value"] for pair in _QUERY_VALUE.finditer(query) if _is_secret_value(pair["name"], pair["value"])]
    if _is_rtmp(parts[1]):
        found += [part for part in path.split("/")[1:] if _SECRET_LOOKING.fullmatch(part)]
    found += [unquote(secret) for secret in found]
    if userinfo:  # what the header of basic authentication holds
        found.append(base64.b64encode(unquote(f"{user}:{password}").encode()).decode())
    return [secret for secret in dict.fromkeys(found) if secret]


def redact(text: str) -> str:
    """The text without registered secrets, and with the userinfo and the secret-looking query values of all URLs hidden."""
    if _literals is not None:
        text = _literals.sub(HIDDEN, text)
    return _URL.sub(_redact_url, text) if "://" in text else text


def _redact_url(url: re.Match[str]) -> str:
    userinfo, place = _split_userinfo(url[2])
    path, query = _split_query(place)
    if _is_rtmp(url[1]):
        host, *parts = path.split("/")
        path = "/".join([host, *(HIDDEN if _SECRET_LOOKING.fullmatch(part) else part for part in parts)])
    return url[1] + (f"{HIDDEN}@" if userinfo else "") + path + _QUERY_VALUE.sub(_redact_pair, query)


def _split_userinfo(rest: str) -> tuple[str, str]:
    """What stands before the last @ of what follows the scheme, and what stands behind it."""
    userinfo, _, place = rest.rpartition("@")
    return userinfo, place


def _split_query(place: str) -> tuple[str, str]:
    """Host and path; query and fragment with the mark that begins them."""
    path = re.match(r"[^?#]*", place)
    assert path is not None
    return path[0], place[path.end() :]


def _redact_pair(pair: re.Match[str]) -> str:
    return f"{pair['name']}={HIDDEN}" if _is_secret_value(pair["name"], pair["value"]) else pair[0]


def _is_secret_value(name: str, value: str) -> bool:
    return bool(_SECRET_NAME.search(name) or _SECRET_LOOKING.match(value))


def _is_rtmp(scheme: str) -> bool:
    return scheme.lower().startswith("rtmp")


def _spellings_of(secret: str) -> set[str]:
    """As it is, in URLs, in JSON, and in the messages of Python's exceptions."""
    encoded = {quote(secret, safe=""), quote(secret), quote_plus(secret), quote(secret, safe="!$&'()*+,;=:")}
    lower = {re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), text) for text in encoded}
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1], ascii(secret)[1:-1]}
    return {secret, *encoded, *lower, *escaped}

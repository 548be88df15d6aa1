"""Names and messages as a terminal may get them: what would steer it or cannot be encoded is spelled out."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line breaks, overrides of the writing direction, and halves of surrogate pairs, by which Python stands for
the bytes of a file name that are not UTF-8."""


def printable(text: str, *, keep: str = "") -> str:
    r"""The text with each such character spelled as in Python: `\n`, `\x1b`; a byte that is not UTF-8 as `\xff`.

    keep: characters that are left as they are.
    """
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _spelled(found[0]), text)


def is_encodable(text: str) -> bool:
    """Whether the text can be written as UTF-8; file names need not be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _spelled(character: str) -> str:
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else character.encode("unicode_escape").decode()

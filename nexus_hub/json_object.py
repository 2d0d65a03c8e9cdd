"""JSON objects as the texts that were sent: passed on byte by byte, and read only where somebody looks inside.

PostgreSQL's `json` keeps such a text as it is; its `jsonb` sorts the members, rewrites the numbers and refuses U+0000
and lone surrogates, so that `escape_text` writes those as `nexus_hub.escape` does.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Self

from nexus_hub.json_text import write

_HIGH, _LOW = rb"[dD][89abAB][0-9a-fA-F]{2}", rb"[dD][c-fC-F][0-9a-fA-F]{2}"
_PAIR = re.compile(rb"\\u" + _HIGH + rb"\\u" + _LOW)
_LONE = re.compile(rb"\\u(?:(?=" + _HIGH + rb"(?!\\u" + _LOW + rb"))|(?<!\\u" + _HIGH + rb"\\u)(?=" + _LOW + rb"))")
"""The beginning of a surrogate's escape that is no part of a pair, in a text without escaped backslashes."""
_BACKSLASH, _PLACE = rb"\\", b"\xff"
"""An escaped backslash, and a byte that is in no UTF-8."""
_SLICE_BYTES = 512 * 1024
"""The bytes that are gone through in one go: another thread gets its turn after them."""


class JsonObject(Mapping[str, Any]):
    """A JSON object as its text in UTF-8; reading a member parses it, once. Its representation is its size."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Self:
        """Write a value, in ASCII; a number that JSON does not know becomes null."""
        if isinstance(value, cls):
            return value
        plain = value if isinstance(value, dict) else dict(value)
        try:
            return cls(write(plain))
        except ValueError:
            return cls(write(finite(plain)))

    @cached_property
    def _value(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.text, parse_int=_parse_int, strict=False)
        return value

    def __getitem__(self, key: str) -> Any:
        return self._value[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    def __len__(self) -> int:
        return len(self._value)

    def __str__(self) -> str:
        return str(self._value)

    def __repr__(self) -> str:
        return f"JsonObject({len(self.text)} bytes)"


def _parse_int(digits: str) -> int | float:
    """Read an integer; one of more digits than Python reads becomes an infinity, to look at and not to pass on."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def finite(value: Any) -> Any:
    """Return a copy in which null stands for each number that JSON does not know."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: finite(item) for key, item in value.items()}
        case list() | tuple():
            return [finite(item) for item in value]
        case _:
            return value


def split_texts(text: bytes) -> list[bytes]:
    """Split a JSON text at its quotes: in turn what stands outside of texts and what stands within them."""
    return text.replace(_BACKSLASH, b"").replace(b'\\"', b"").split(b'"')


def count_values(parts: list[bytes]) -> int:
    """Count the values in parts that stand outside of texts: commas, and brackets and braces that open."""
    outside = b"".join(parts)
    return sum(map(outside.count, (b",", b"[", b"{")))


def escape_text(text: bytes) -> bytes | None:
    """Write a JSON text so that jsonb takes it and `unescape` gives back what it was; None if it can stay as it is."""
    if b"\\u" not in text or _PLACE in text:
        return None
    escaped = b"".join(map(_escape_slice, _cut(text.replace(_BACKSLASH, _PLACE)))).replace(_PLACE, _BACKSLASH)
    return None if len(escaped) == len(text) else escaped


def _escape_slice(text: bytes) -> bytes:
    for refused in (b"001a", b"001A", b"0000"):
        text = text.replace(rb"\u" + refused, rb"\u001a" + refused)
    return _LONE.sub(rb"\\u001a", text) if rb"\ud" in text or rb"\uD" in text else text


def _cut(text: bytes) -> Iterator[bytes]:
    """Cut a text into slices before an escape, but not within a pair of surrogates."""
    begin = 0
    while begin < len(text):
        end = text.find(b"\\", begin + _SLICE_BYTES)
        if end < 0:
            end = len(text)
        elif _PAIR.match(text, max(end - 6, 0)):
            end += 6
        yield text[begin:end]
        begin = end

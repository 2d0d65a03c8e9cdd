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

_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_REFUSED = rb"0000|001[aA]|[dD][89a-fA-F][0-9a-fA-F]{2}"
_STORABLE = re.compile(rb"(?:[^\\]++|" + _PAIR + rb"|\\u(?!" + _REFUSED + rb")|\\[^u])*+", re.DOTALL)
"""A text up to the first escape that jsonb refuses, or that `escape` uses itself."""
_ESCAPES = re.compile(_PAIR + rb"|\\u(" + _REFUSED + rb")|\\[^u]", re.DOTALL)


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
            return cls(_write(plain))
        except ValueError:
            return cls(_write(finite(plain)))

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


def _write(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


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


def escape_text(text: bytes) -> bytes | None:
    """Write a JSON text so that jsonb takes it and `unescape` gives back what it was; None if it can stay as it is."""
    found = _STORABLE.match(text) if b"\\u" in text else None
    if found is None or found.end() == len(text):
        return None
    return _ESCAPES.sub(lambda escape: rb"\u001a" + escape[1].lower() if escape[1] else escape[0], text)

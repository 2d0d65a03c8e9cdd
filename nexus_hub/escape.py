"""Escape JSON that jsonb refuses, and undo it.

PostgreSQL's jsonb refuses U+0000 and lone surrogates, and knows no NaN or infinity; a tool's result may hold all of
them. Each such character becomes U+001A and its four hexadecimal digits, each such number a string of U+001A, `f` and
its name; a U+001A that was there before is written the same way, so that `unescape` gives back exactly what was taken.
"""

import math
import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")

_MARK = "\x1a"
_REFUSED = re.compile("[\x00\x1a\ud800-\udfff]")
_ESCAPED = re.compile("\x1a(0000|001a|d[89a-f][0-9a-f]{2})")
_NUMBERS = {f"{_MARK}f{name}": float(name) for name in ("nan", "inf", "-inf")}


def escape(value: Any) -> Any:
    """Return a copy of a JSON value that jsonb accepts."""
    match value:
        case str():
            return _REFUSED.sub(lambda match: f"{_MARK}{ord(match[0]):04x}", value)
        case float() if not math.isfinite(value):
            return f"{_MARK}f{value}"
        case dict():
            return {escape(key): escape(item) for key, item in value.items()}
        case list() | tuple():
            return [escape(item) for item in value]
        case _:
            return value


def unescape(value: Any) -> Any:
    """Undo `escape`: return the value it was given."""
    match value:
        case str() if value in _NUMBERS:
            return _NUMBERS[value]
        case str():
            return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), value)
        case dict():
            return {unescape(key): unescape(item) for key, item in value.items()}
        case list():
            return [unescape(item) for item in value]
        case _:
            return value


def unescape_row(row: Row) -> Row:
    """A row of the database, with what `escape` was given in each of its fields."""
    return replace(row, **{field.name: unescape(getattr(row, field.name)) for field in fields(row)})

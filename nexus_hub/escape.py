"""Escape JSON that jsonb refuses, and undo it.

PostgreSQL's jsonb refuses U+0000 and lone surrogates, and knows no NaN, no infinity and no number of any size; what
servers and users send may hold all of them. Each such character becomes U+001A and its four hexadecimal digits, each
such number a string of U+001A, `f` and its name, or of U+001A, `n` and its text; a U+001A that was there before is
written the same way, so that `unescape` gives back exactly what was taken.
"""

import math
import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from nexus_hub.json_text import Number

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")

_MARK = "\x1a"
_REFUSED = re.compile("[\x00\x1a\ud800-\udfff]")
_SURROGATE = re.compile("\x1a([dD][89a-fA-F][0-9a-fA-F]{2})")
_NUMBERS = {f"{_MARK}f{name}": float(name) for name in ("nan", "inf", "-inf")}
_NUMBER = re.compile("\x1an-?[0-9][0-9.eE+-]*")
_WIDEST = 1000
"""The digits before and after the point up to which a number is left to jsonb, which writes all of them."""
_MAYBE_WIDE = re.compile(rb"[0-9][eE][+-]?[0-9]|(?<![0-9.])[0-9.]{%d}" % (_WIDEST + 1))


def escape(value: Any) -> Any:
    """Return a copy of a JSON value that jsonb accepts."""
    match value:
        case str():
            return _escape_text(value) if _REFUSED.search(value) else value
        case float() if not math.isfinite(value):
            return f"{_MARK}f{value}"
        case Number() if len(value.text) > _WIDEST or abs(value.adjusted()) > _WIDEST:
            return f"{_MARK}n{value.text}"
        case dict():
            return {escape(key): escape(item) for key, item in value.items()}
        case list() | tuple():
            return [escape(item) for item in value]
        case _:
            return value


def fits_jsonb(text: bytes) -> bool:
    """Tell if jsonb takes all numbers of a JSON text as they are; false in doubt, as for an exponent in a string."""
    return _MAYBE_WIDE.search(text) is None


def unescape(value: Any) -> Any:
    """Undo `escape`: return the value it was given."""
    match value:
        case str() if value in _NUMBERS:
            return _NUMBERS[value]
        case str() if _NUMBER.fullmatch(value):
            return Number(value[2:])
        case str():
            return _unescape_text(value) if _MARK in value else value
        case dict():
            return {unescape(key): unescape(item) for key, item in value.items()}
        case list():
            return [unescape(item) for item in value]
        case _:
            return value


def _escape_text(text: str) -> str:
    """Escape a text without a call for each character, of which there may be millions."""
    text = text.replace(_MARK, f"{_MARK}001a").replace("\0", f"{_MARK}0000")
    apart = text.replace("\\", "\0").encode("utf-8", "backslashreplace").decode()  # there is no U+0000 in it any more
    return apart.replace("\\u", _MARK).replace("\0", "\\")


def _unescape_text(text: str) -> str:
    text = _SURROGATE.sub(lambda match: chr(int(match[1], 16)), text.replace(f"{_MARK}0000", "\0"))
    return text.replace(f"{_MARK}001a", _MARK).replace(f"{_MARK}001A", _MARK)


def unescape_row(row: Row) -> Row:
    """A row of the database, with what `escape` was given in each of its fields."""
    return replace(row, **{field.name: unescape(getattr(row, field.name)) for field in fields(row)})

"""Pages of lists; a cursor names the last row of a page."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nexus_hub.errors import InvalidRequest

LARGEST = 1000
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows of a list, and the cursor that the next page begins at; None on the last one."""

    items: list[Row]
    next_cursor: str | None


def check_limit(limit: int) -> int:
    """Return the size of a page if it is allowed.

    Raises:
        InvalidRequest: it is not within 1..1000.
    """
    if not 1 <= limit <= LARGEST:
        raise InvalidRequest(f"limit is {limit}; it must lie within 1 and {LARGEST}.")
    return limit


def encode(*key: object) -> str:
    """Make an opaque cursor of a row's sort key."""
    return base64.urlsafe_b64encode(json.dumps([str(part) for part in key]).encode()).decode().rstrip("=")


def decode(cursor: str | None, parsers: tuple[Callable[[str], Any], ...]) -> tuple[Any, ...]:
    """Read a cursor's sort key, each part through its parser; give as many Nones without a cursor.

    Raises:
        InvalidRequest: the hub did not make it.
    """
    if cursor is None:
        return (None,) * len(parsers)
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return tuple(parse(_storable(part)) for parse, part in zip(parsers, parts, strict=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise InvalidRequest("The cursor is not one that this hub gave; start again without it.") from None


def _storable(part: object) -> str:
    """Return the part as text that PostgreSQL accepts; a lone surrogate raises UnicodeEncodeError, a ValueError."""
    text = str(part)
    if b"\x00" in text.encode():
        raise ValueError
    return text


def page(rows: Sequence[Row], limit: int, key: Callable[[Row], str], *, selected: int | None = None) -> Page[Row]:
    """The page of rows that were read with `limit + 1`; `selected` is how many there were, if only some were read."""
    items = list(rows[:limit])
    more = (len(rows) if selected is None else selected) > len(items)
    return Page(items, key(items[-1]) if more else None)

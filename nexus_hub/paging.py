"""Lists in pages: a cursor names the last row that was given."""

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any

from nexus_hub.errors import InvalidRequest

LARGEST = 1000


def checked_limit(limit: int) -> int:
    """Check the size of a page.

    Raises:
        InvalidRequest: it is not within 1..1000.
    """
    if not 1 <= limit <= LARGEST:
        raise InvalidRequest(f"limit is {limit}; it must lie within 1 and {LARGEST}.")
    return limit


def encode(*key: object) -> str:
    """Write a row's sort key as an opaque cursor."""
    return base64.urlsafe_b64encode(json.dumps([str(part) for part in key]).encode()).decode().rstrip("=")


def decode(cursor: str | None, parsers: tuple[Callable[[str], Any], ...]) -> tuple[Any, ...]:
    """Read a cursor's sort key, each part through its parser; as many Nones without a cursor.

    Raises:
        InvalidRequest: it is none of ours.
    """
    if cursor is None:
        return (None,) * len(parsers)
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return tuple(parse(_storable(part)) for parse, part in zip(parsers, parts, strict=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise InvalidRequest("The cursor is not one that this hub gave; start again without it.") from None


def _storable(part: object) -> str:
    """Make text that PostgreSQL takes; a lone surrogate raises UnicodeEncodeError, a ValueError."""
    text = str(part)
    if b"\x00" in text.encode():
        raise ValueError
    return text


def page(rows: list[dict[str, Any]], limit: int, key: Callable[[dict[str, Any]], str]) -> dict[str, Any]:
    """Make `{"items", "next_cursor"}` of rows that were read with `limit + 1`."""
    items = rows[:limit]
    return {"items": items, "next_cursor": key(items[-1]) if len(rows) > limit else None}

"""Wishes of a client, in the query of the address that it was given: for how long and for how much it can wait."""

import math
from dataclasses import dataclass
from typing import Self

from starlette.datastructures import QueryParams

from nexus_hub.errors import InvalidRequest
from nexus_hub.gateway.pages import LEAST_CHARACTERS, MOST_CHARACTERS
from nexus_hub.settings import Settings

WAIT_SECONDS = 50.0
"""The longest that one of the hub's own tools waits where calls wait for ever."""
LONGEST_HANDLE_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """The client's own word, or else the settings': what one answer may hold, 0 for all, and how long a call may take.

    `handle_seconds` is the client's only: None where it has said nothing, 0 for ever.
    """

    page_characters: int = 0
    handle_seconds: float | None = None
    wait_seconds: float = WAIT_SECONDS

    @classmethod
    def read(cls, query: QueryParams, settings: Settings) -> Self:
        """Read the query's `page` and `handle`.

        Raises:
            InvalidRequest: they are no numbers, or outside their bounds.
        """
        page = _read_number(query, "page", LEAST_CHARACTERS, MOST_CHARACTERS)
        handle = _read_number(query, "handle", 1, LONGEST_HANDLE_SECONDS)
        known = settings.handle_seconds if handle is None else handle
        return cls(
            page_characters=settings.result_page_characters if page is None else int(page),
            handle_seconds=handle,
            wait_seconds=known or WAIT_SECONDS,
        )


def _read_number(query: QueryParams, name: str, least: float, most: float) -> float | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if value != 0 and not least <= value <= most:
        raise InvalidRequest(f"{name} is {text[:50]!r}; it must be 0, or within {least:g} and {most:g}.")
    return value

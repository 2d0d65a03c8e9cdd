"""Lists of the catalog: pages in the order of names, put together of texts that are ready."""

import binascii
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from mcp import MCPError
from mcp_types import INVALID_PARAMS

from nexus_hub.gateway.answers import complete
from nexus_hub.gateway.asked import Asked
from nexus_hub.gateway.entries import Entry, Kind
from nexus_hub.json_object import JsonObject
from nexus_hub.json_text import write

PAGE_ENTRIES = 1000
PAGE_BYTES = 2 * 1024 * 1024
"""A page ends with the entry that reaches so many bytes."""
MEMBERS: dict[Kind, str] = {
    "tool": "tools",
    "prompt": "prompts",
    "resource": "resources",
    "template": "resourceTemplates",
}


ShowEntry = Callable[[Asked, Entry, str], bytes]


def show_as_known(_asked: Asked, entry: Entry, name: str) -> bytes:
    """Give an entry as the catalog has it, under a name."""
    return entry.listed(name)


def list_page(
    asked: Asked,
    kind: Kind,
    own: Sequence[dict[str, Any]] = (),
    *,
    only_own: bool = False,
    show: ShowEntry = show_as_known,
) -> dict[str, Any]:
    """Give the page of a list that a client asks for, each entry as `show` has it.

    `own` are entries of the hub's own, which come first.

    Raises:
        MCPError: the cursor is none of this list's.
    """
    entries = {} if only_own else asked.view.entries(kind)
    after = _read_cursor(asked.params.get("cursor"), _list_name(asked, kind))
    names = [name for name in entries if name > after] if after else list(entries)
    texts = [write(one) for one in own] if not after else []
    size, last = sum(map(len, texts)), None
    for name in islice(names, PAGE_ENTRIES):
        if size >= PAGE_BYTES:
            break
        texts.append(show(asked, entries[name], name))
        size += len(texts[-1])
        last = name
    more = last is not None and last != names[-1]
    cursor = _make_cursor(_list_name(asked, kind), last) if more and last is not None else None
    return asked.splice.hold(_page_text(asked, kind, texts, cursor))


def _page_text(asked: Asked, kind: Kind, texts: Iterable[bytes], cursor: str | None) -> bytes:
    rest: dict[str, Any] = {} if cursor is None else {"nextCursor": cursor}
    if asked.is_modern:
        rest |= {"ttlMs": remaining_ms(asked, kind), "cacheScope": "private"}
    tail = write(rest)[1:] if rest else b"}"
    body = b'{"' + MEMBERS[kind].encode() + b'":[' + b",".join(texts) + b"]" + (b"," if rest else b"") + tail
    if not asked.is_modern:
        return body
    return complete(JsonObject(b"{}"), asked.version)[:-1] + b"," + body[1:]


def remaining_ms(asked: Asked, kind: Kind) -> int:
    """Give the time, in milliseconds, until the first of a kind's entries is to be read anew; 0 if there is none."""
    ends = [entry.fresh_until for entry in asked.view.entries(kind).values()]
    return max(int((min(ends) - time.monotonic()) * 1000), 0) if ends else 0


def _list_name(asked: Asked, kind: Kind) -> str:
    at = asked.view.server or asked.view.bundle
    return f"{kind}/{at.name if at else ''}"


def _make_cursor(list_name: str, last: str) -> str:
    return urlsafe_b64encode(json.dumps([list_name, last]).encode()).decode().rstrip("=")


def _read_cursor(cursor: Any, list_name: str) -> str:
    """Give the name that a page comes after; "" for the first page."""
    if cursor is None:
        return ""
    try:
        made_for, last = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if made_for == list_name and isinstance(last, str):
            return last
    except (binascii.Error, ValueError, TypeError, RecursionError):
        pass
    raise MCPError(INVALID_PARAMS, "The cursor is not one of this list's; start again without it.")

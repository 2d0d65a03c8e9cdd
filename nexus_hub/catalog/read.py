"""Reader of the catalog: a principal's own entries and those of system servers."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar
from uuid import UUID

from nexus_hub.catalog.brief import Brief, count_bytes, estimate_tokens, shorten
from nexus_hub.catalog.entries import NamedEntry, PromptEntry, ResourceEntry, ToolEntry
from nexus_hub.catalog.store import CATALOG
from nexus_hub.db.pool import Database
from nexus_hub.errors import NotFound
from nexus_hub.escape import escape, unescape, unescape_row
from nexus_hub.models import Principal, ServerRef
from nexus_hub.paging import Page, check_limit, decode, encode, page

Kind = Literal["tools", "resources", "prompts"]
NamedKind = Literal["tool", "prompt"]
Entry = ToolEntry | Brief | ResourceEntry | PromptEntry
EntryType = TypeVar("EntryType", bound=ToolEntry | ResourceEntry | PromptEntry)
Row = dict[str, Any]
LONGEST_QUERY = 2000
MOST_WORDS = 64
"""Words of a query that are looked for; a request for several tools at once has 20, and seldom over 40."""
MOST_RANKED = 500
"""Tools that a search puts in order: those that the rarest of its words speak of."""
LONGEST_TEXT = 2000
"""Characters of a title or a description that are looked through, or that a line is made of."""
PAGE_BYTES = 1024 * 1024
"""Bytes of definitions after which a page ends."""
LONGEST_REF = 100
"""Characters of a server's name or id; no server has that many."""


@dataclass(frozen=True, slots=True)
class WeighedPage(Page[Entry]):
    """A page of tools, and what they cost a model that is shown them: see nexus_hub.catalog.brief."""

    tokens: dict[str, int]


async def list_entries(
    database: Database,
    principal: Principal,
    kind: Kind,
    *,
    query: str | None = None,
    server: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
    compact: bool = False,
) -> Page[Entry]:
    """List a page of entries in the order of their names; it ends after 1 MiB of definitions at the latest.

    Of a query the first 2,000 characters are read. Tools with one are the 500 that it speaks of most, the best first;
    with `compact` they are a name and one line. Either of the two makes it a `WeighedPage`.

    Raises:
        InvalidRequest: a limit outside 1..1000, or a cursor that is none of this list's.
        TookTooLong: the database took too long for it.
    """
    filters = _seen_by(principal) | {
        "server": server and server[:LONGEST_REF],
        "limit": check_limit(limit) + 1,
        "most_bytes": PAGE_BYTES,
    }
    if kind == "tools":
        return await _list_tools(database, principal, query or None, cursor, compact, filters)
    after_name, after_id = decode(cursor, (str, UUID))
    filters |= {"query": query and query[:LONGEST_QUERY], "longest_text": LONGEST_TEXT}
    async with database.transaction(principal, bounded=True) as transaction:
        rows = await transaction.all(CATALOG[f"list_{kind}"], **filters, after_name=after_name, after_id=after_id)
    found = _cut(rows, limit, ("name", "id"))
    entry_type: type[ResourceEntry | PromptEntry] = ResourceEntry if kind == "resources" else PromptEntry
    return Page([_entry(entry_type, row) for row in found.items], found.next_cursor)


async def _list_tools(
    database: Database, principal: Principal, query: str | None, cursor: str | None, compact: bool, filters: Row
) -> Page[Entry]:
    filters |= {"compact": compact, "longest_text": LONGEST_TEXT}
    key: tuple[str, ...] = ("name", "id")
    if query:
        key = ("score", *key)
        filters |= {"query": query.strip()[:LONGEST_QUERY], "most_words": MOST_WORDS, "most_ranked": MOST_RANKED}
    parsers: dict[str, Callable[[str], Any]] = {"score": float, "name": str, "id": UUID}
    after = decode(cursor, tuple(parsers[part] for part in key))
    filters |= {f"after_{part}": value for part, value in zip(key, after, strict=True)}
    async with database.transaction(principal, bounded=True) as transaction:
        rows = await transaction.all(CATALOG["search_tools" if query else "list_tools"], **filters)
        all_bytes = (
            await transaction.only(CATALOG["tools_bytes"], int, **_seen_by(principal)) if query or compact else None
        )
    found = _cut(rows, filters["limit"] - 1, key)
    tools = [_entry(ToolEntry, row) for row in found.items]
    shown: list[Entry] = [shorten(tool) for tool in tools] if compact else [*tools]
    if all_bytes is None:
        return Page(shown, found.next_cursor)
    sizes = (count_bytes(asdict(one)) for one in shown) if compact else (row["definition_bytes"] for row in found.items)
    return WeighedPage(shown, found.next_cursor, estimate_tokens(all_bytes, sum(sizes)))


def _cut(rows: list[Row], limit: int, key: tuple[str, ...]) -> Page[Row]:
    """The page of rows that the limit, or the bytes of their definitions, have left."""
    selected = rows[0]["selected"] if rows else 0
    return page(rows, limit, lambda row: encode(*(row[part] for part in key)), selected=selected)


def _entry(entry_type: type[EntryType], row: Row) -> EntryType:
    return unescape_row(entry_type(**{field.name: row[field.name] for field in fields(entry_type)}))


def _seen_by(principal: Principal) -> Row:
    return {"all_users": principal.is_operator, "user_id": principal.user_id}


async def show(database: Database, principal: Principal, name: str) -> ToolEntry:
    """Show the tool of that namespaced name, as an item of the list has it, with its definition.

    Raises:
        NotFound: the principal may call no such tool.
    """
    async with database.transaction(principal) as transaction:
        row = await transaction.one(CATALOG["show_tool"], ToolEntry, namespaced_name=name, user_id=principal.user_id)
    if row is None:
        raise NotFound("tool", name)
    return unescape_row(row)


async def find(database: Database, principal: Principal, kind: NamedKind, name: str) -> NamedEntry:
    """Find the entry of that namespaced name, with its server, its own name and its definition as on the wire.

    Raises:
        NotFound: the principal sees no such entry.
    """
    async with database.transaction(principal) as transaction:
        row = await transaction.one(
            CATALOG[f"find_{kind}"], NamedEntry, namespaced_name=name, user_id=principal.user_id
        )
    if row is None:
        raise NotFound(kind, name)
    return unescape_row(row)


async def tool_definition(database: Database, ref: ServerRef, tool_name: str | None) -> dict[str, Any]:
    """Read a server's own tool as on the wire; one that is not in the catalog is empty."""
    async with database.transaction() as transaction:
        definition = await transaction.one(
            CATALOG["tool_definition"],
            dict,
            server_type=ref.server_type,
            server_ref_id=ref.server_ref_id,
            tool_name=escape(tool_name),
        )
    return unescape(definition) or {}

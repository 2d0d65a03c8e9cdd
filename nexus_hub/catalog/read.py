"""Reader of the catalog: a principal's own entries and those of system servers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeVar
from uuid import UUID

from nexus_hub.catalog.brief import Brief, count_bytes, estimate_tokens, shorten
from nexus_hub.catalog.entries import NamedEntry, PromptEntry, ResourceEntry, ToolEntry
from nexus_hub.catalog.store import CATALOG
from nexus_hub.db.pool import Database
from nexus_hub.errors import NotFound, NotOffered
from nexus_hub.escape import escape, unescape, unescape_row
from nexus_hub.models import Durable, Principal, ServerRef
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
class ToolToCall:
    """A tool as a call of it needs it: its definition as on the wire, the operator's word, and if it is offered."""

    definition: dict[str, Any]
    durable: Durable | None
    enabled: bool
    held: bool


@dataclass(frozen=True, slots=True)
class WeighedPage(Page[Entry]):
    """A page of tools, and what they cost a model that is shown them: see nexus_hub.catalog.brief."""

    tokens: dict[str, int]


@dataclass(frozen=True, slots=True)
class ToolFilters:
    """Filters of the tools that are seen: of a server (name or id), of servers with a tag, of a bundle, reading alone.

    `own` takes in those of users' own servers: of the user, for an operator of all users.
    """

    server: str | None = None
    tag: str | None = None
    read_only: bool = False
    bundle: str | None = None
    own: bool = True


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

    Of a query the first 2,000 characters are read. Tools are listed as by `list_tools`.

    Raises:
        InvalidRequest: a limit outside 1..1000, or a cursor that is none of this list's.
        TookTooLong: the database took too long for it.
    """
    if kind == "tools":
        filters = ToolFilters(server)
        return await list_tools(database, principal, filters, query=query, limit=limit, cursor=cursor, compact=compact)
    after_name, after_id = decode(cursor, (str, UUID))
    parameters = _seen_by(principal) | {
        "query": query and query[:LONGEST_QUERY],
        "server": server and server[:LONGEST_REF],
        "limit": check_limit(limit) + 1,
        "most_bytes": PAGE_BYTES,
        "longest_text": LONGEST_TEXT,
    }
    async with database.transaction(principal, bounded=True) as transaction:
        rows = await transaction.all(CATALOG[f"list_{kind}"], **parameters, after_name=after_name, after_id=after_id)
    found = _cut(rows, limit, ("name", "id"))
    entry_type: type[ResourceEntry | PromptEntry] = ResourceEntry if kind == "resources" else PromptEntry
    return Page([_entry(entry_type, row) for row in found.items], found.next_cursor)


async def list_tools(
    database: Database,
    principal: Principal,
    filters: ToolFilters,
    *,
    query: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
    compact: bool = False,
) -> Page[Entry]:
    """List a page of tools, with a query the 500 that it speaks of most, the best first, as PostgreSQL ranks them.

    With `compact` they are a name and one line. That, or a query, makes it a `WeighedPage`.

    Raises:
        InvalidRequest, TookTooLong: see `list_entries`.
    """
    parameters = _seen_by(principal, own=filters.own) | {
        "server": filters.server and filters.server[:LONGEST_REF],
        "tagged": None if filters.tag is None else await find_tagged(database, principal, filters),
        "read_only": filters.read_only,
        "limit": check_limit(limit) + 1,
        "most_bytes": PAGE_BYTES,
        "compact": compact,
        "longest_text": LONGEST_TEXT,
    }
    key: tuple[str, ...] = ("name", "id")
    if query:
        key = ("score", *key)
        parameters |= {"query": query.strip()[:LONGEST_QUERY], "most_words": MOST_WORDS, "most_ranked": MOST_RANKED}
    parsers: dict[str, Callable[[str], Any]] = {"score": float, "name": str, "id": UUID}
    after = decode(cursor, tuple(parsers[part] for part in key))
    parameters |= {f"after_{part}": value for part, value in zip(key, after, strict=True)}
    async with database.transaction(principal, bounded=True) as transaction:
        rows = await transaction.all(CATALOG["search_tools" if query else "list_tools"], **parameters)
        all_bytes = (
            await transaction.only(CATALOG["tools_bytes"], int, **_seen_by(principal, own=filters.own))
            if query or compact
            else None
        )
    found = _cut(rows, limit, key)
    return make_tool_page(found.items, found.next_cursor, all_bytes, compact=compact)


async def find_tagged(database: Database, principal: Principal, filters: ToolFilters) -> list[UUID]:
    """Find the servers with the tag; who sees which of them is held against that afterwards."""
    async with database.transaction() as transaction:
        return await transaction.all(
            CATALOG["tagged_servers"], UUID, tag=filters.tag, **_seen_by(principal, own=filters.own)
        )


async def read_tools(database: Database, principal: Principal, ids: Sequence[UUID], *, own: bool) -> list[Row]:
    """Read the rows of tools that a search in memory has found, as far as they are still there and seen.

    A row's `selected` says how many there would be, if they did not end after 1 MiB of definitions.

    Raises:
        TookTooLong: the database took too long for it.
    """
    async with database.transaction(principal, bounded=True) as transaction:
        return await transaction.all(
            CATALOG["found_tools"],
            ids=list(ids),
            most_bytes=PAGE_BYTES,
            **_seen_by(principal, own=own),
        )


def make_tool_page(
    rows: Sequence[Row], next_cursor: str | None, all_bytes: int | None, *, compact: bool
) -> Page[Entry]:
    """Make a page of rows; one that says what it costs a model if it is known what all tools would."""
    tools = [_entry(ToolEntry, row) for row in rows]
    shown: list[Entry] = [shorten(tool) for tool in tools] if compact else [*tools]
    if all_bytes is None:
        return Page(shown, next_cursor)
    sizes = (count_bytes(asdict(one)) for one in shown) if compact else (row["definition_bytes"] for row in rows)
    return WeighedPage(shown, next_cursor, estimate_tokens(all_bytes, sum(sizes)))


def make_brief_page(tools: Iterable[Brief], next_cursor: str | None, all_bytes: int) -> WeighedPage:
    """Make a page of tools in short, and say what it costs a model, and what all tools would."""
    shown: list[Entry] = [*tools]
    return WeighedPage(shown, next_cursor, estimate_tokens(all_bytes, sum(count_bytes(asdict(one)) for one in shown)))


def _cut(rows: list[Row], limit: int, key: tuple[str, ...]) -> Page[Row]:
    """The page of rows that the limit, or the bytes of their definitions, have left."""
    selected = rows[0]["selected"] if rows else 0
    return page(rows, limit, lambda row: encode(*(row[part] for part in key)), selected=selected)


def _entry(entry_type: type[EntryType], row: Row) -> EntryType:
    return unescape_row(entry_type(**{field.name: row[field.name] for field in fields(entry_type)}))


def _seen_by(principal: Principal, *, own: bool = True) -> Row:
    return {"all_users": principal.is_operator and own, "user_id": principal.user_id if own else None}


async def show(database: Database, principal: Principal, name: str) -> ToolEntry:
    """Show the tool of that namespaced name, as an item of the list has it, with its definition.

    Raises:
        NotFound, NotOffered: see `find`.
    """
    async with database.transaction(principal) as transaction:
        row = await transaction.one(CATALOG["show_tool"], ToolEntry, namespaced_name=name, user_id=principal.user_id)
    if row is None:
        raise await explain_missing(database, principal, "tool", name)
    return unescape_row(row)


async def explain_missing(
    database: Database, principal: Principal, kind: NamedKind, name: str
) -> NotFound | NotOffered:
    """Say that there is no such tool or prompt; to who looks after its server, that it is held or switched off."""
    async with database.transaction() as transaction:
        asked = {"kind": kind, "namespaced_name": name, "user_id": principal.user_id}
        row = await transaction.one(CATALOG["withheld"], **asked)
        await transaction.one(CATALOG["work_as_if_hidden"], **asked)
    if row is None:
        return NotFound(kind, name)
    return NotOffered.tool(name, held=row["held"]) if row["enabled"] else NotOffered.server(row["server"])


async def find(database: Database, principal: Principal, kind: NamedKind, name: str) -> NamedEntry:
    """Find the entry of that namespaced name, with its server, its own name and its definition as on the wire.

    Raises:
        NotFound, NotOffered: the principal sees no such entry; or looks after it, and it is held or switched off.
    """
    async with database.transaction(principal) as transaction:
        row = await transaction.one(
            CATALOG[f"find_{kind}"], NamedEntry, namespaced_name=name, user_id=principal.user_id
        )
    if row is None:
        raise await explain_missing(database, principal, kind, name)
    return unescape_row(row)


async def find_own(
    database: Database, principal: Principal, kind: NamedKind, ref: ServerRef, name: str
) -> NamedEntry | None:
    """Find the entry that a server itself calls by that name; None if the principal sees no such entry."""
    async with database.transaction(principal) as transaction:
        row = await transaction.one(
            CATALOG[f"find_own_{kind}"],
            NamedEntry,
            server_type=ref.server_type,
            server_ref_id=ref.server_ref_id,
            name=escape(name),
            user_id=principal.user_id,
        )
    return None if row is None else unescape_row(row)


async def tool_to_call(database: Database, ref: ServerRef, tool_name: str | None) -> ToolToCall:
    """Read a server's own tool; the definition of one that is not in the catalog is empty."""
    async with database.transaction() as transaction:
        found = await transaction.only(
            CATALOG["tool_to_call"],
            ToolToCall,
            server_type=ref.server_type,
            server_ref_id=ref.server_ref_id,
            tool_name=escape(tool_name),
        )
    return replace(found, definition=unescape(found.definition) or {})

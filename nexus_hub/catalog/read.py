"""Reader of the catalog: a principal's own entries and those of system servers."""

from dataclasses import asdict, dataclass
from typing import Any, Literal
from uuid import UUID

from nexus_hub.catalog.brief import Brief, count_bytes, estimate_tokens, shorten
from nexus_hub.catalog.entries import FoundTool, NamedEntry, PromptEntry, ResourceEntry, ToolEntry
from nexus_hub.catalog.store import CATALOG
from nexus_hub.db.pool import Database, Transaction
from nexus_hub.errors import NotFound
from nexus_hub.escape import escape, unescape, unescape_row
from nexus_hub.models import Principal, ServerRef
from nexus_hub.paging import Page, check_limit, decode, encode, page

Kind = Literal["tools", "resources", "prompts"]
NamedKind = Literal["tool", "prompt"]
Entry = ToolEntry | Brief | ResourceEntry | PromptEntry
LONGEST_QUERY = 2000


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
    """List a page of entries in the order of their names.

    Tools with a query are those that its first 2,000 characters speak of, the best first; with `compact` they are a
    name and one line. Either of the two makes it a `WeighedPage`.

    Raises:
        InvalidRequest: a limit outside 1..1000, or a cursor that is none of this list's.
    """
    if kind == "tools":
        return await _list_tools(database, principal, query or None, server, check_limit(limit), cursor, compact)
    limit = check_limit(limit)
    after_name, after_id = decode(cursor, (str, UUID))
    row_type: type[ResourceEntry | PromptEntry] = ResourceEntry if kind == "resources" else PromptEntry
    async with database.transaction(principal) as transaction:
        rows = await transaction.all(
            CATALOG[f"list_{kind}"],
            row_type,
            **_seen_by(principal),
            server=server,
            query=query,
            after_name=after_name,
            after_id=after_id,
            limit=limit + 1,
        )
    found = page(rows, limit, lambda row: encode(row.name, row.id))
    return Page([unescape_row(row) for row in found.items], found.next_cursor)


async def _list_tools(
    database: Database,
    principal: Principal,
    query: str | None,
    server: str | None,
    limit: int,
    cursor: str | None,
    compact: bool,
) -> Page[Entry]:
    async with database.transaction(principal) as transaction:
        filters = {**_seen_by(principal), "server": server, "limit": limit + 1}
        rows, key = await (
            _search_tools(transaction, query, cursor, filters) if query else _list_by_name(transaction, cursor, filters)
        )
        all_bytes = (
            await transaction.only(CATALOG["tools_bytes"], int, **_seen_by(principal)) if query or compact else None
        )
    found = page(rows, limit, lambda row: encode(*(getattr(row, part) for part in key)))
    items: list[ToolEntry] = [unescape_row(row.tool()) for row in found.items]
    shown: list[Entry] = [shorten(item) if compact else item for item in items]
    if all_bytes is None:
        return Page(shown, found.next_cursor)
    sizes = (count_bytes(asdict(one)) for one in shown) if compact else (row.definition_bytes for row in found.items)
    return WeighedPage(shown, found.next_cursor, estimate_tokens(all_bytes, sum(sizes)))


async def _list_by_name(
    transaction: Transaction, cursor: str | None, filters: dict[str, Any]
) -> tuple[list[FoundTool], tuple[str, ...]]:
    after_name, after_id = decode(cursor, (str, UUID))
    rows = await transaction.all(CATALOG["list_tools"], FoundTool, **filters, after_name=after_name, after_id=after_id)
    return rows, ("name", "id")


async def _search_tools(
    transaction: Transaction, query: str, cursor: str | None, filters: dict[str, Any]
) -> tuple[list[FoundTool], tuple[str, ...]]:
    after_score, after_name, after_id = decode(cursor, (float, str, UUID))
    rows = await transaction.all(
        CATALOG["search_tools"],
        FoundTool,
        **filters,
        query=query.strip()[:LONGEST_QUERY],
        after_score=after_score,
        after_name=after_name,
        after_id=after_id,
    )
    return rows, ("score", "name", "id")


def _seen_by(principal: Principal) -> dict[str, Any]:
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

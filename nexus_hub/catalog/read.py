"""Reader of the catalog: a principal's own entries and those of system servers."""

from typing import Any, Literal
from uuid import UUID

from nexus_hub.catalog.brief import count_bytes, estimate_tokens, shorten
from nexus_hub.catalog.store import CATALOG
from nexus_hub.db.pool import Database, Transaction
from nexus_hub.errors import NotFound
from nexus_hub.escape import escape, unescape
from nexus_hub.models import Principal, ServerRef
from nexus_hub.paging import checked_limit, decode, encode, page

Kind = Literal["tools", "resources", "prompts"]
NamedKind = Literal["tool", "prompt"]
LONGEST_QUERY = 2000
_INTERNAL = {"score", "definition_bytes"}


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
) -> dict[str, Any]:
    """List a page of entries in the order of their names: `{"items", "next_cursor"}`.

    Tools with a query are those that its first 2,000 characters speak of, the best first; with `compact` they are a
    name and a line. Either of the two adds `tokens`, see nexus_hub.catalog.brief.

    Raises:
        InvalidRequest: a limit outside 1..1000, or a cursor that is none of this list's.
    """
    if kind == "tools":
        return await _list_tools(database, principal, query or None, server, checked_limit(limit), cursor, compact)
    limit = checked_limit(limit)
    after_name, after_id = decode(cursor, (str, UUID))
    async with database.transaction(principal) as transaction:
        rows = await transaction.all(
            CATALOG[f"list_{kind}"],
            **_seen_by(principal),
            server=server,
            query=query,
            after_name=after_name,
            after_id=after_id,
            limit=limit + 1,
        )
    found = page(rows, limit, lambda row: encode(row["name"], row["id"]))
    return found | {"items": [unescape(row) for row in found["items"]]}


async def _list_tools(
    database: Database,
    principal: Principal,
    query: str | None,
    server: str | None,
    limit: int,
    cursor: str | None,
    compact: bool,
) -> dict[str, Any]:
    async with database.transaction(principal) as transaction:
        filters = {**_seen_by(principal), "server": server, "limit": limit + 1}
        rows, key = await (
            _search_tools(transaction, query, cursor, filters) if query else _list_by_name(transaction, cursor, filters)
        )
        sizes = await transaction.one(CATALOG["tools_bytes"], **_seen_by(principal)) if query or compact else None
    found = page(rows, limit, lambda row: encode(*(row[part] for part in key)))
    items = [unescape({name: row[name] for name in row.keys() - _INTERNAL}) for row in found["items"]]
    shown = [shorten(item) for item in items] if compact else items
    if sizes is None:
        return found | {"items": shown}
    cost = sum(map(count_bytes, shown)) if compact else sum(row["definition_bytes"] or 0 for row in found["items"])
    return found | {"items": shown, "tokens": estimate_tokens(int(sizes["bytes"]), cost)}


async def _list_by_name(
    transaction: Transaction, cursor: str | None, filters: dict[str, Any]
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    after_name, after_id = decode(cursor, (str, UUID))
    rows = await transaction.all(CATALOG["list_tools"], **filters, after_name=after_name, after_id=after_id)
    return rows, ("name", "id")


async def _search_tools(
    transaction: Transaction, query: str, cursor: str | None, filters: dict[str, Any]
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    after_score, after_name, after_id = decode(cursor, (float, str, UUID))
    rows = await transaction.all(
        CATALOG["search_tools"],
        **filters,
        query=query.strip()[:LONGEST_QUERY],
        after_score=after_score,
        after_name=after_name,
        after_id=after_id,
    )
    return rows, ("score", "name", "id")


def _seen_by(principal: Principal) -> dict[str, Any]:
    return {"all_users": principal.is_operator, "user_id": principal.user_id}


async def show(database: Database, principal: Principal, name: str) -> dict[str, Any]:
    """Show the tool of that namespaced name, as an item of the list has it, with its definition.

    Raises:
        NotFound: the principal may call no such tool.
    """
    async with database.transaction(principal) as transaction:
        row = await transaction.one(CATALOG["show_tool"], namespaced_name=name, user_id=principal.user_id)
    if row is None:
        raise NotFound("tool", name)
    found: dict[str, Any] = unescape(row)
    return found


async def find(database: Database, principal: Principal, kind: NamedKind, name: str) -> dict[str, Any]:
    """Find the entry of that namespaced name, with its server, its own name and its definition as on the wire.

    Raises:
        NotFound: the principal sees no such entry.
    """
    async with database.transaction(principal) as transaction:
        row = await transaction.one(CATALOG[f"find_{kind}"], namespaced_name=name, user_id=principal.user_id)
    if row is None:
        raise NotFound(kind, name)
    found: dict[str, Any] = unescape(row)
    return found


async def tool_definition(database: Database, ref: ServerRef, tool_name: str | None) -> dict[str, Any]:
    """Read a server's own tool as on the wire; one that is not in the catalog is empty."""
    async with database.transaction() as transaction:
        row = await transaction.one(
            CATALOG["tool_definition"],
            server_type=ref.server_type,
            server_ref_id=ref.server_ref_id,
            tool_name=escape(tool_name),
        )
    return unescape(row["definition"]) or {} if row else {}

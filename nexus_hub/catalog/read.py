"""Reading the catalog: a principal's own entries and those of system servers."""

from typing import Any, Literal
from uuid import UUID

from nexus_hub.catalog.store import CATALOG
from nexus_hub.db.pool import Database
from nexus_hub.errors import NotFound
from nexus_hub.escape import escape, restore
from nexus_hub.models import Principal, ServerRef
from nexus_hub.paging import checked_limit, decode, encode, page

Kind = Literal["tools", "resources", "prompts"]
NamedKind = Literal["tool", "prompt"]


async def listed(
    database: Database,
    principal: Principal,
    kind: Kind,
    *,
    query: str | None = None,
    server: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> dict[str, Any]:
    """A page of entries in the order of their names: `{"items", "next_cursor"}`.

    Raises:
        InvalidRequest: a limit outside 1..1000, or a cursor that is none of ours.
    """
    limit = checked_limit(limit)
    after_name, after_id = decode(cursor, (str, UUID))
    async with database.transaction(principal) as transaction:
        rows = await transaction.all(
            CATALOG[f"list_{kind}"],
            all_users=principal.is_operator,
            user_id=principal.user_id,
            server=server,
            query=query,
            after_name=after_name,
            after_id=after_id,
            limit=limit + 1,
        )
    found = page(rows, limit, lambda row: encode(row["name"], row["id"]))
    return found | {"items": [restore(row) for row in found["items"]]}


async def find(database: Database, principal: Principal, kind: NamedKind, name: str) -> dict[str, Any]:
    """The entry of that namespaced name, with its server, its own name and its definition as on the wire.

    Raises:
        NotFound: the principal sees no such entry.
    """
    async with database.transaction(principal) as transaction:
        row = await transaction.one(CATALOG[f"find_{kind}"], namespaced_name=name, user_id=principal.user_id)
    if row is None:
        raise NotFound(kind, name)
    found: dict[str, Any] = restore(row)
    return found


async def tool_definition(database: Database, ref: ServerRef, tool_name: str | None) -> dict[str, Any]:
    """A server's own tool as on the wire; one that is not in the catalog is empty."""
    async with database.transaction() as transaction:
        row = await transaction.one(
            CATALOG["tool_definition"],
            server_type=ref.server_type,
            server_ref_id=ref.server_ref_id,
            tool_name=escape(tool_name),
        )
    return restore(row["definition"]) or {} if row else {}

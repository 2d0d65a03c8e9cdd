"""Tools of one server, for who looks after it: also those that are switched off or held."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from nexus_hub.catalog.store import CATALOG
from nexus_hub.db.pool import Database
from nexus_hub.escape import unescape_row
from nexus_hub.models import ServerRef
from nexus_hub.paging import Page, check_limit, decode, encode, page

LONGEST_TEXT = 500


@dataclass(frozen=True, slots=True)
class ManagedTool:
    """A tool with its switch. It is `offered` if that and its server's are on, and it is not held."""

    id: UUID
    name: str
    tool_name: str
    title: str | None
    description: str | None
    enabled: bool
    held: bool
    offered: bool
    hash: str


async def list_all_tools(
    database: Database, ref: ServerRef, *, limit: int = 100, cursor: str | None = None
) -> Page[ManagedTool]:
    """List a page of a server's tools by their names, with the beginning of what describes each.

    Raises:
        InvalidRequest: a limit outside 1..1000, or a cursor that is none of this list's.
    """
    after_name, after_id = decode(cursor, (str, UUID))
    where: dict[str, Any] = {"server_type": ref.server_type, "server_ref_id": ref.server_ref_id}
    async with database.transaction(bounded=True) as transaction:
        rows = await transaction.all(
            CATALOG["all_tools"],
            ManagedTool,
            limit=check_limit(limit) + 1,
            longest_text=LONGEST_TEXT,
            after_name=after_name,
            after_id=after_id,
            **where,
        )
    found = page(rows, limit, lambda row: encode(row.name, row.id))
    return Page([unescape_row(row) for row in found.items], found.next_cursor)

"""Documents: what a search in memory looks through of the tools in the catalog."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal
from uuid import UUID

from nexus_hub.catalog.store import CATALOG
from nexus_hub.db.pool import Database
from nexus_hub.escape import unescape
from nexus_hub.json_text import read
from nexus_hub.models import ServerRef, ServerType
from nexus_hub.search.document import ToolDocument

LONGEST_TEXT = 4000
"""Characters of a title or a description that are looked through."""
MOST_PARAMETERS = 100
LONGEST_PARAMETER = 300
Owner = UUID | Literal["all"] | None
"""A user, all of them, or the system."""


@dataclass(frozen=True, slots=True)
class OfferRow:
    """Row of a server that offers tools; these are one text."""

    server_type: ServerType
    server_ref_id: UUID
    owner: UUID | None
    name: str
    tools: str

    @property
    def ref(self) -> ServerRef:
        """The server's reference."""
        return ServerRef(self.server_type, self.server_ref_id)


@dataclass(frozen=True, slots=True)
class OfferedTools:
    """The tools of one server, its name and its owner (None: it is the system's)."""

    ref: ServerRef
    owner: UUID | None
    name: str
    documents: tuple[ToolDocument, ...]
    sizes: tuple[int, ...]
    """The bytes of their definitions, in the same order."""


async def list_offers(database: Database, owner: Owner) -> list[ServerRef]:
    """List an owner's servers of which there is a catalog."""
    parameters = {"owner": None if owner == "all" else owner, "all_owners": owner == "all"}
    async with database.transaction() as transaction:
        rows = await transaction.all(CATALOG["indexed_servers"], **parameters)
    return [ServerRef(row["server_type"], row["server_ref_id"]) for row in rows]


async def count_own_tools(database: Database, most: int) -> int:
    """Count the tools of all users' own servers, up to so many."""
    async with database.transaction(bounded=True) as transaction:
        return await transaction.only(CATALOG["count_own_tools"], int, most=most)


async def read_offers(database: Database, servers: Collection[ServerRef]) -> list[OfferRow]:
    """Read what these servers offer; one that offers no tool is left out."""
    ids = [ref.server_ref_id for ref in servers]
    async with database.transaction() as transaction:
        return await transaction.all(CATALOG["indexed_tools"], OfferRow, servers=ids, longest_text=LONGEST_TEXT)


def make_offered(row: OfferRow) -> OfferedTools:
    """Make documents of a row; in a thread, since it may hold thousands of tools."""
    tools = read(row.tools)
    return OfferedTools(
        ref=row.ref,
        owner=row.owner,
        name=row.name,
        documents=tuple(_make_document(tool) for tool in tools),
        sizes=tuple(tool["bytes"] for tool in tools),
    )


def _make_document(tool: dict[str, Any]) -> ToolDocument:
    return ToolDocument(
        key=UUID(tool["id"]),
        name=unescape(tool["name"]),
        own_name=unescape(tool["own_name"]),
        title=unescape(tool["title"]),
        description=unescape(tool["description"]),
        parameters=tuple(describe_parameters(tool["properties"])),
        read_only=tool["read_only"] is True,
    )


def describe_parameters(properties: Any) -> Iterator[str]:
    """Give each parameter as its name and what is said of it; servers say all kinds of things there."""
    for name, said in islice(properties.items() if isinstance(properties, dict) else (), MOST_PARAMETERS):
        description = said.get("description") if isinstance(said, dict) else None
        text = f"{name}: {description}" if isinstance(description, str) else name
        yield unescape(text[:LONGEST_PARAMETER])

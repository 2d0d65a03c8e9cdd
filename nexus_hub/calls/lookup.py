"""Servers and tools as a call needs them: read anew for each one, or shared by many for a moment."""

from dataclasses import dataclass

from nexus_hub.calls.cache import TtlCache
from nexus_hub.calls.schemas import Schema
from nexus_hub.catalog import read
from nexus_hub.db.pool import Database
from nexus_hub.models import ServerRef
from nexus_hub.servers.registry import SealedServer, Servers
from nexus_hub.upstream.connections import Target


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool by what its server says of it."""

    repeatable: bool
    schema: Schema


class ServerCache:
    """Servers with their credentials opened, and tools; good for so many seconds, 0 for reading each time."""

    def __init__(self, database: Database, servers: Servers, *, seconds: float = 0) -> None:
        self._database = database
        self._servers = TtlCache(servers.open, seconds)
        self._tools = TtlCache(self._read_tool, seconds)

    async def server(self, ref: ServerRef) -> tuple[Target, SealedServer]:
        """See `Servers.open`."""
        return await self._servers(ref)

    async def tool(self, ref: ServerRef, name: str | None) -> Tool:
        """Give a server's own tool; one that is not in the catalog says nothing."""
        return await self._tools((ref, name))

    async def _read_tool(self, tool: tuple[ServerRef, str | None]) -> Tool:
        definition = await read.tool_definition(self._database, *tool)
        hints = definition.get("annotations") or {}
        repeatable = any(hints.get(hint) is True for hint in ("readOnlyHint", "idempotentHint"))
        return Tool(repeatable, Schema(definition.get("inputSchema") or {}))

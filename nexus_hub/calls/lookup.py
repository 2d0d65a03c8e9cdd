"""Servers and tools as a call needs them: read anew for each one, or shared by many for a moment."""

from dataclasses import dataclass

from nexus_hub.calls.cache import TtlCache
from nexus_hub.calls.schemas import Schema
from nexus_hub.catalog import read
from nexus_hub.db.pool import Database
from nexus_hub.models import Durable, ServerRef
from nexus_hub.servers.registry import SealedServer, Servers
from nexus_hub.upstream.connections import Target


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool by what its server says of it."""

    repeatable: bool
    schema: Schema
    durable: Durable | None = None
    """The operator's word on it, if there is one."""
    needs_task: bool = False
    """True if its server takes calls of it as tasks only."""
    is_offered: bool = True
    """False if it is switched off, or held."""
    is_held: bool = False


class ServerCache:
    """Servers with their credentials opened, and tools; good for so many seconds, 0 for reading each time.

    See `TtlCache` for `kept_seconds`, which need that `forget` is told of changes.
    """

    def __init__(self, database: Database, servers: Servers, *, seconds: float = 0, kept_seconds: float = 0) -> None:
        self._database = database
        self.log_in, self.need_login = servers.log_in, servers.need_login
        self._servers = TtlCache(servers.open, seconds, kept_seconds=kept_seconds)
        self._tools = TtlCache(self._read_tool, seconds, kept_seconds=kept_seconds)

    async def server(self, ref: ServerRef) -> tuple[Target, SealedServer]:
        """See `Servers.open`."""
        return await self._servers(ref)

    async def tool(self, ref: ServerRef, name: str | None) -> Tool:
        """Give a server's own tool; one that is not in the catalog says nothing."""
        return await self._tools((ref, name))

    def forget(self, ref: ServerRef | None) -> None:
        """Read a server and its tools anew, since they have changed; None: all of them."""
        self._servers.forget_all(lambda known: ref in (None, known))
        self._tools.forget_all(lambda known: ref in (None, known[0]))

    async def _read_tool(self, tool: tuple[ServerRef, str | None]) -> Tool:
        found = await read.tool_to_call(self._database, *tool)
        definition = found.definition
        hints = definition.get("annotations") or {}
        repeatable = any(hints.get(hint) is True for hint in ("readOnlyHint", "idempotentHint"))
        execution = definition.get("execution")
        needs_task = isinstance(execution, dict) and execution.get("taskSupport") == "required"
        schema = Schema(definition.get("inputSchema") or {})
        return Tool(repeatable, schema, found.durable, needs_task, found.enabled, found.held)

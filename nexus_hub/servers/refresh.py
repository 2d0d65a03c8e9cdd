"""Refreshing servers: finding those that are due, and reading one anew."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from nexus_hub.catalog import store
from nexus_hub.db.pool import Database
from nexus_hub.errors import DatabaseUnavailable, HubError, InternalError, NotFound, RefreshRunning
from nexus_hub.models import OPERATOR, ServerRef
from nexus_hub.servers import registry
from nexus_hub.servers.registry import SERVERS, Servers
from nexus_hub.settings import DAY_SECONDS
from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.events import ServerRefreshed
from nexus_hub.upstream.connections import Connections
from nexus_hub.upstream.snapshot import Snapshot

LONGEST_READ_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Due:
    """A server that is to be read anew."""

    ref: ServerRef
    name: str


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """The outcome of reading one server: counts of what it offers, or the code of the error."""

    name: str
    seconds: float
    tools: int = 0
    resources: int = 0
    prompts: int = 0
    error_code: str | None = None

    def as_row(self) -> dict[str, Any]:
        """Give the outcome as a JSON object."""
        return {
            "server": self.name,
            "tools": self.tools,
            "resources": self.resources,
            "prompts": self.prompts,
            "error_code": self.error_code,
            "seconds": round(self.seconds, 3),
        }


class Refresher:
    """Reads servers anew, a few at a time: one that is dead or slow holds up no other.

    What is read counts as fresh for `ttl_seconds`; reading one server takes `read_seconds` at most.
    """

    def __init__(
        self,
        database: Database,
        servers: Servers,
        connections: Connections,
        *,
        ttl_seconds: float = DAY_SECONDS,
        read_seconds: float = LONGEST_READ_SECONDS,
        concurrency: int = 8,
    ) -> None:
        self._database = database
        self._servers = servers
        self._connections = connections
        self._ttl_seconds = ttl_seconds
        self._read_seconds = read_seconds
        self._slots = asyncio.Semaphore(concurrency)

    async def find_due(self, server: str | None = None) -> list[Due]:
        """Find the one server of that name or id, due or not; without a name all that are due.

        Raises:
            NotFound, Conflict: no server, or several, have that name.
        """
        if server:
            found = await registry.find(self._database, OPERATOR, server)
            return [Due(ServerRef(found.server_type, found.id), found.name)]
        return [Due(row.ref, row.name) for row in await store.due(self._database)]

    async def refresh_due(self, due: Due) -> RefreshReport:
        """Refresh one server of a round; what goes wrong with it is part of the report.

        Raises:
            DatabaseUnavailable: nothing can be said of the server.
        """
        async with self._slots:
            began = time.monotonic()
            try:
                seen = await self.refresh(due.ref)
            except DatabaseUnavailable:
                raise
            except HubError as error:
                return RefreshReport(due.name, time.monotonic() - began, error_code=error.code)
            resources = len(seen.resources) + len(seen.resource_templates)
            return RefreshReport(due.name, time.monotonic() - began, len(seen.tools), resources, len(seen.prompts))

    async def refresh(self, ref: ServerRef) -> Snapshot:
        """Read anew what a server offers and store it; what was stored stays, as stale, if it can't be read.

        Raises:
            NotFound, CannotOpen: see `Servers.open`.
            RefreshRunning: somebody else is at it.
            UpstreamError: it does not answer as an MCP server.
        """
        claim, began = await store.claim_refresh(self._database, ref), time.monotonic()
        try:
            return await self._refresh(ref, claim, began)
        except DatabaseUnavailable:
            raise
        except Exception as error:
            code = error.code if isinstance(error, HubError) else InternalError.code
            await store.fail_refresh(self._database, ref, claim, code)
            emit(ServerRefreshed(ref.server_ref_id, (time.monotonic() - began) * 1000, code=code))
            raise
        finally:
            with suppress(DatabaseUnavailable):  # the lease runs out
                await store.release_refresh(self._database, ref, claim)

    async def _refresh(self, ref: ServerRef, claim: UUID, began: float) -> Snapshot:
        target, row = await self._servers.open(ref)
        seen = await self._connections.inspect(target, timeout=self._read_seconds)
        async with self._database.transaction() as transaction:
            if not await transaction.one(SERVERS[f"hold_{ref.server_type}_server"], id=ref.server_ref_id):
                raise NotFound("server", ref)
            if not await store.holds_refresh(transaction, ref, claim):
                raise RefreshRunning(ref)
            await store.store(transaction, ref, target.name, row.user_id, seen, self._ttl_seconds)
            if row.user_id is not None:
                await store.check_user_limits(transaction, row.user_id, self._servers.user_limits)
        counts = len(seen.tools), len(seen.resources) + len(seen.resource_templates), len(seen.prompts)
        emit(ServerRefreshed(ref.server_ref_id, (time.monotonic() - began) * 1000, target.name, *counts))
        return seen

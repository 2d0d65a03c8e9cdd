"""Refreshing servers: finding those that are due, and reading one anew."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from nexus_hub.catalog import store
from nexus_hub.catalog.changes import EntryChange, count_changes, summarize
from nexus_hub.db.pool import Database
from nexus_hub.errors import DatabaseUnavailable, HubError, InternalError, NotFound, NotOffered, RefreshRunning
from nexus_hub.models import OPERATOR, ServerRef
from nexus_hub.servers import registry
from nexus_hub.servers.registry import SERVERS, Servers
from nexus_hub.settings import DAY_SECONDS
from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.events import CatalogChanged, ServerRefreshed
from nexus_hub.telemetry.text import LONGEST_LINE, printable
from nexus_hub.upstream.snapshot import Snapshot

LONGEST_READ_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Due:
    """A server that is to be read anew."""

    ref: ServerRef
    name: str


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """The outcome of reading one server: counts of what it offers and of what changed, or the code of the error.

    `changes` and `omitted` say in a line what changed, and what was left out of its lists and why.
    """

    name: str
    seconds: float
    tools: int = 0
    resources: int = 0
    prompts: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    changes: str | None = None
    omitted: str | None = None
    error_code: str | None = None

    @classmethod
    def of(cls, name: str, seconds: float, read: "Reading") -> Self:
        """Make it of what was read."""
        tools, resources, prompts = read.counts
        counts = count_changes(read.changes)
        said = "; ".join(_name_omission(one) for one in read.seen.omitted)
        return cls(
            name,
            seconds,
            tools,
            resources,
            prompts,
            counts["added"],
            counts["changed"],
            counts["removed"],
            changes=summarize(read.changes) or None,
            omitted=printable(said, longest=LONGEST_LINE) or None,
        )

    def as_row(self) -> dict[str, Any]:
        """Give the outcome as a JSON object."""
        return {
            "server": self.name,
            "tools": self.tools,
            "resources": self.resources,
            "prompts": self.prompts,
            "added": self.added,
            "changed": self.changed,
            "removed": self.removed,
            "changes": self.changes,
            "omitted": self.omitted,
            "error_code": self.error_code,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Reading:
    """Outcome of reading a server: the snapshot, and its changes since the reading before."""

    seen: Snapshot
    changes: list[EntryChange]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Tools, resources with templates, and prompts."""
        seen = self.seen
        return len(seen.tools), len(seen.resources) + len(seen.resource_templates), len(seen.prompts)


class Refresher:
    """Reads servers anew, a few at a time: one that is dead or slow holds up no other.

    What is read counts as fresh for `ttl_seconds`; reading one server takes `read_seconds` at most.
    """

    def __init__(
        self,
        database: Database,
        servers: Servers,
        *,
        ttl_seconds: float = DAY_SECONDS,
        read_seconds: float = LONGEST_READ_SECONDS,
        concurrency: int = 8,
    ) -> None:
        self._database = database
        self._servers = servers
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
                read = await self.read(due.ref)
            except DatabaseUnavailable:
                raise
            except HubError as error:
                return RefreshReport(due.name, time.monotonic() - began, error_code=error.code)
            return RefreshReport.of(due.name, time.monotonic() - began, read)

    async def refresh(self, ref: ServerRef) -> Snapshot:
        """Read a server anew, as `read` does, and give what it offers."""
        return (await self.read(ref)).seen

    async def read(self, ref: ServerRef) -> Reading:
        """Read anew what a server offers and store it; what was stored stays, as stale, if it can't be read.

        Raises:
            NotFound, NotOffered, CannotOpen: see `Servers.open`.
            RefreshRunning: somebody else is at it.
            UpstreamError: it does not answer as an MCP server.
        """
        claim, began = await store.claim_refresh(self._database, ref), time.monotonic()
        try:
            return await self._refresh(ref, claim, began)
        except (DatabaseUnavailable, NotOffered):
            raise
        except Exception as error:
            code = error.code if isinstance(error, HubError) else InternalError.code
            await store.fail_refresh(self._database, ref, claim, code)
            emit(ServerRefreshed(ref.server_ref_id, (time.monotonic() - began) * 1000, code=code))
            raise
        finally:
            with suppress(DatabaseUnavailable):  # the lease runs out
                await store.release_refresh(self._database, ref, claim)

    async def _refresh(self, ref: ServerRef, claim: UUID, began: float) -> Reading:
        target, row = await self._servers.open(ref)
        seen = await self._servers.inspect(target, self._read_seconds)
        async with self._database.transaction() as transaction:
            if not await transaction.one(SERVERS[f"hold_{ref.server_type}_server"], id=ref.server_ref_id):
                raise NotFound("server", ref)
            if not await store.holds_refresh(transaction, ref, claim):
                raise RefreshRunning(ref)
            ttl_seconds = row.ttl_seconds or self._ttl_seconds
            changes = await store.store(transaction, ref, target.name, row.user_id, seen, ttl_seconds)
            if row.user_id is not None:
                await store.check_user_limits(transaction, row.user_id, self._servers.user_limits)
        read = Reading(seen, changes)
        emit(ServerRefreshed(ref.server_ref_id, (time.monotonic() - began) * 1000, target.name, *read.counts))
        if changes:
            emit(CatalogChanged(ref.server_ref_id, target.name, **count_changes(changes)))
        return read


def _name_omission(one: dict[str, Any]) -> str:
    return " ".join(filter(None, (one["place"], one.get("name"), one["reason"])))

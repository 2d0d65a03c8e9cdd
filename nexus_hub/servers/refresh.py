"""Refresh rounds: which servers are due, one of them read anew, and a look-out that starts a round early."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from nexus_hub.catalog import store
from nexus_hub.db.pool import Database
from nexus_hub.errors import HubError
from nexus_hub.models import OPERATOR, ServerRef
from nexus_hub.orchestration.prefect_client import ENDED, PrefectClient
from nexus_hub.servers import registry
from nexus_hub.servers.registry import Servers

logger = logging.getLogger(__name__)
LOOK_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Due:
    """A server that is to be read anew."""

    ref: ServerRef
    name: str


@dataclass(frozen=True, slots=True)
class Refreshed:
    """How reading one server went: what it offers, or the code of the error."""

    name: str
    seconds: float
    tools: int = 0
    resources: int = 0
    prompts: int = 0
    error_code: str | None = None

    def as_row(self) -> dict[str, Any]:
        """The outcome as a JSON object."""
        return {
            "server": self.name,
            "tools": self.tools,
            "resources": self.resources,
            "prompts": self.prompts,
            "error_code": self.error_code,
            "seconds": round(self.seconds, 3),
        }


class Refresher:
    """Reads servers anew, a few at a time: one that is dead or slow holds up no other."""

    def __init__(self, database: Database, servers: Servers, *, concurrency: int = 8) -> None:
        self._database = database
        self._servers = servers
        self._slots = asyncio.Semaphore(concurrency)

    async def due(self, server: str | None = None) -> list[Due]:
        """The one server of that name or id, due or not; without a name all that are due.

        Raises:
            NotFound, Conflict: no server, or several, have that name.
        """
        if server:
            found = await registry.find(self._database, OPERATOR, server)
            return [Due(ServerRef(found["server_type"], found["id"]), found["name"])]
        return [Due(ref, name) for ref, name in await store.due(self._database)]

    async def refresh(self, due: Due) -> Refreshed:
        """Read one server; what goes wrong with it is part of the answer.

        Raises:
            DatabaseUnavailable: nothing can be said of the server.
        """
        async with self._slots:
            began = time.monotonic()
            try:
                seen = await self._servers.refresh(due.ref)
            except HubError as error:
                if error.status == 503:  # the hub itself, not the server
                    raise
                return Refreshed(due.name, time.monotonic() - began, error_code=error.code)
            resources = len(seen.resources) + len(seen.resource_templates)
            return Refreshed(due.name, time.monotonic() - began, len(seen.tools), resources, len(seen.prompts))


class RefreshTrigger:
    """A worker's loop: starts the flow `refresh-catalog` as soon as a server is due, before its schedule does."""

    def __init__(
        self,
        database: Database,
        prefect_client: PrefectClient,
        *,
        interval: float = LOOK_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._prefect_client = prefect_client
        self._interval = interval
        self._clock = clock
        self._last: UUID | None = None

    async def run(self) -> None:
        """Look until cancelled; an error ends a look, not the loop."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.look()
            except Exception as error:  # its message may hold anything
                code = error.code if isinstance(error, HubError) else type(error).__name__
                logger.warning("what is due could not be refreshed early: %s", code)

    async def look(self) -> bool:
        """Start a round if a server is due and the last one is over; of several workers that look, one does."""
        if not await store.due(self._database) or await self._waits():
            return False
        moment = int(self._clock() / self._interval)
        self._last = await self._prefect_client.start_run(
            "refresh-catalog", "refresh-catalog due", {}, idempotency_key=f"refresh-catalog:{moment}"
        )
        return True

    async def _waits(self) -> bool:
        if self._last is None:
            return False
        state = (await self._prefect_client.states([self._last])).get(self._last)
        return state is not None and state.type not in ENDED

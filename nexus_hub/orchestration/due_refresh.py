"""A refresh round as soon as a server is due, before the flow's schedule starts one."""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID

from nexus_hub.catalog import store
from nexus_hub.db.pool import Database
from nexus_hub.orchestration.prefect_client import ENDED, MAINTENANCE_FLOWS
from nexus_hub.orchestration.prefect_runs import PrefectRuns
from nexus_hub.telemetry.loops import outlasting

INTERVAL_SECONDS = 15.0
FLOW = MAINTENANCE_FLOWS["cache_refresh"]


class RefreshTrigger:
    """A worker's loop: starts the flow `refresh-catalog` as soon as a server is due, before its schedule does."""

    def __init__(
        self,
        database: Database,
        prefect_client: PrefectRuns,
        *,
        interval: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._prefect_client = prefect_client
        self._interval = interval
        self._clock = clock
        self._last: UUID | None = None

    async def run(self) -> None:
        """Check until cancelled; an error ends a check, not the loop."""
        while True:
            await asyncio.sleep(self._interval)
            with outlasting("due-refresh"):
                await self.check()

    async def check(self) -> bool:
        """Start a round if a server is due and the last one is over; of several workers that check, one does."""
        if not await store.due(self._database) or await self._is_under_way():
            return False
        moment = int(self._clock() / self._interval)
        self._last = await self._prefect_client.start_run(FLOW, "due", {}, idempotency_key=f"{FLOW}:{moment}")
        return True

    async def _is_under_way(self) -> bool:
        if self._last is None:
            return False
        state = (await self._prefect_client.states([self._last])).get(self._last)
        return state is not None and state.type not in ENDED

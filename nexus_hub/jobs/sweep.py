"""The sweep: finds what nobody works on and puts it right. Its leases need no Prefect, and it can't stall itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.dispatch import Dispatcher
from nexus_hub.errors import HubError
from nexus_hub.jobs.execution import LEASE_SECONDS
from nexus_hub.jobs.mirror import Mirror
from nexus_hub.jobs.reconcile import BATCH, Reconciliation
from nexus_hub.jobs.store import JOBS

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 2.0
ROUND_SECONDS = 45
"""The longest that a round may take: then the next one begins, here or in another process."""
SILENT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Swept:
    """What one round did."""

    handed_over: int = 0
    released: int = 0
    given_up: int = 0


class Sweep:
    """Two loops in every API and worker process, of each of which one at a time does a round.

    One takes back jobs whose lease ran out, and needs the database alone. The other holds the jobs against what
    Prefect says, so that a Prefect that is slow or away can't hold up the first.
    """

    def __init__(
        self,
        database: Database,
        dispatcher: Dispatcher,
        mirror: Mirror,
        *,
        interval: float = INTERVAL_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        silent_seconds: float = SILENT_SECONDS,
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        self._database = database
        self._reconciliation = Reconciliation(database, dispatcher, mirror, silent_seconds)
        self._interval = interval
        self._lease_seconds = lease_seconds
        self._round_seconds = round_seconds
        self._wake = asyncio.Event()

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Both loops, which do rounds until cancelled; an error ends a round, not its loop."""
        return self._repeat(self.take_back, asyncio.Event()), self._repeat(self.reconcile, self._wake)

    def wake(self) -> None:
        """Do a round now, which also takes jobs that were stored a moment ago."""
        self._wake.set()

    async def round(self) -> Swept:
        """One round of each loop, unless another process is at it."""
        released = await self.take_back()
        reconciled = await self.reconcile()
        return Swept(reconciled.handed_over, released.released, reconciled.given_up)

    async def take_back(self) -> Swept:
        """Take back jobs whose lease ran out, unless another process is at it."""
        async with self._database.transaction() as lock:
            if not await self._alone(lock, "nexus_hub.leases"):
                return Swept()
            async with self._database.transaction() as transaction:
                rows = await transaction.all(
                    JOBS["release_expired_leases"], lease_seconds=self._lease_seconds, limit=BATCH
                )
        self._reconciliation.gone(row["flow_run_id"] for row in rows if row["flow_run_id"] is not None)
        return Swept(released=len(rows))

    async def reconcile(self) -> Swept:
        """Hold the jobs against what Prefect says, unless another process is at it."""
        woken = self._wake.is_set()
        self._wake.clear()
        async with self._database.transaction() as lock:
            if not await self._alone(lock, "nexus_hub.sweep"):
                return Swept()
            handed_over, given_up = await self._reconciliation.round(woken)
        return Swept(handed_over, given_up=given_up)

    async def _alone(self, lock: Transaction, name: str) -> bool:
        """Whether nobody else is at it; a process that hangs loses the lock some time after a round's end."""
        patience = f"{self._round_seconds * 1000 * 4 / 3:.0f}ms"
        row = await lock.one(JOBS["sweep_lock"], name=name, patience=patience)
        return row is not None and bool(row["taken"])

    async def _repeat(self, work: Callable[[], Awaitable[Swept]], wake: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(self._round_seconds):
                    await work()
            except Exception as error:  # its message may hold anything
                code = error.code if isinstance(error, HubError) else type(error).__name__
                logger.warning("a round of the sweep ended early: %s", code)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await wake.wait()

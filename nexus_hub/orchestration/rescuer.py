"""Rounds that rescue jobs whose lease ran out, and reconcile jobs with their flow runs; neither stalls the other."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.execution.leases import LEASE_SECONDS
from nexus_hub.jobs.store import JOBS
from nexus_hub.orchestration.calm import Calm
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.prefect_runs import PrefectRuns
from nexus_hub.orchestration.reconciler import BATCH, Patience, Reconciler
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.events import JobRescued, JobTags
from nexus_hub.telemetry.loops import keep_running, outlasting
from nexus_hub.telemetry.trace_context import find_trace_id

INTERVAL_SECONDS = 2.0
ROUND_SECONDS = 45
"""The longest that a round may take: then the next one begins, here or in another process."""


@dataclass(frozen=True, slots=True)
class RescueReport:
    """The counts of one round."""

    dispatched: int = 0
    rescued: int = 0
    abandoned: int = 0
    """Jobs whose flow run was abandoned before it claimed them."""


class Rescuer:
    """Two loops in every API and worker process, of each of which one at a time does a round.

    One rescues jobs whose lease ran out, and needs the database alone. The other reconciles the jobs with Prefect, so
    that a Prefect that is slow or away can't hold up the first.
    """

    def __init__(
        self,
        database: Database,
        prefect_client: PrefectRuns,
        mirror: Mirror,
        *,
        interval: float = INTERVAL_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        patience: Patience | None = None,
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        self._database = database
        self._calm = Calm(database.clock, max(lease_seconds / 2, 3 * interval), lambda: database.is_full)
        self._reconciler = Reconciler(database, prefect_client, mirror, patience or Patience(), self._calm)
        self._interval = interval
        self._lease_seconds = lease_seconds
        self._round_seconds = round_seconds
        self._wake = asyncio.Event()

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Make both loops, which do rounds until cancelled; an error ends a round, not its loop."""
        self._calm.begin()
        return (
            keep_running("rescue", partial(self._repeat, "rescue", self.rescue, asyncio.Event())),
            keep_running("reconcile", partial(self._repeat, "reconcile", self.reconcile, self._wake)),
        )

    def wake(self) -> None:
        """Do a round now, which also takes jobs that were stored a moment ago."""
        self._wake.set()

    async def round(self) -> RescueReport:
        """Do one round of each loop, unless another process is at it."""
        rescued = await self.rescue()
        reconciled = await self.reconcile()
        return RescueReport(reconciled.dispatched, rescued.rescued, reconciled.abandoned)

    async def rescue(self) -> RescueReport:
        """Rescue or fail the jobs whose lease ran out, unless another process is at it."""
        async with self._database.transaction() as lock:
            taken = await self._lock(lock, "nexus_hub.rescue")
            self._calm.see()
            is_calm = self._calm.lasts(self._lease_seconds)
            if not taken or not (is_calm or self._database.is_full):
                return RescueReport()
            async with self._database.transaction() as transaction:
                rows = await transaction.all(
                    JOBS["rescue_expired_leases"], lease_seconds=self._lease_seconds, limit=BATCH
                )
                if not is_calm:  # that was only to see if there is room again
                    await transaction.connection.rollback()
                    return RescueReport()
        for row in rows:
            context = row["trace_context"]
            tracing.mark("job.rescue", attributes={"nexus.job.id": row["id"]}, parent=context)
            job = JobTags(
                row["id"],
                server_id=row["server_ref_id"],
                flow_run_id=row["flow_run_id"],
                job_type=row["job_type"],
                trace_id=find_trace_id(context),
            )
            emit(JobRescued(job, row["status"], row["error_code"]))
        self._reconciler.end_runs(row["flow_run_id"] for row in rows if row["flow_run_id"] is not None)
        return RescueReport(rescued=len(rows))

    async def reconcile(self) -> RescueReport:
        """Reconcile the jobs with their flow runs, unless another process is at it."""
        woken = self._wake.is_set()
        self._wake.clear()
        async with self._database.transaction() as lock:
            if not await self._lock(lock, "nexus_hub.reconcile"):
                return RescueReport()
            dispatched, abandoned = await self._reconciler.round(woken)
        return RescueReport(dispatched, abandoned=abandoned)

    async def _lock(self, lock: Transaction, name: str) -> bool:
        """Take a round's lock, True if it is free; a process that hangs loses it some time after a round's end."""
        patience = f"{self._round_seconds * 1000 * 4 / 3:.0f}ms"
        row = await lock.only(JOBS["rescue_lock"], name=name, patience=patience)
        self._database.clock.note(row["now"])
        return bool(row["taken"])

    async def _repeat(self, loop: str, work: Callable[[], Awaitable[RescueReport]], wake: asyncio.Event) -> None:
        while True:
            with outlasting(loop):
                async with asyncio.timeout(self._round_seconds):
                    await work()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await wake.wait()

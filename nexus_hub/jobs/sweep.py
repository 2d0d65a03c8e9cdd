"""The sweep: finds what nobody works on and puts it right. It needs no Prefect, and cannot stall itself."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.dispatch import ENDED, Dispatcher, RunState
from nexus_hub.errors import HubError, PrefectUnavailable
from nexus_hub.escape import restore
from nexus_hub.jobs.execution import LEASE_SECONDS
from nexus_hub.jobs.mirror import Mirror
from nexus_hub.jobs.store import JOBS, cancel_flow_run
from nexus_hub.jobs.submit import Handover, hand_over

logger = logging.getLogger(__name__)

BATCH = 100
INTERVAL_SECONDS = 2.0
NEW_JOB_GRACE_SECONDS = 2
UNCLAIMED_GRACE_SECONDS = 30
SILENT_SECONDS = 120
STUCK = {"PENDING": timedelta(seconds=60), "RUNNING": timedelta(seconds=120), "CANCELLING": timedelta(seconds=120)}
"""How long a run may be in a state without claiming its job: its worker has died in between, or lost Prefect. If it
lives after all its claim comes too late, since giving up the run spends the attempt."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What one round did."""

    handed_over: int = 0
    released: int = 0
    given_up: int = 0


class Sweep:
    """A loop in every API and worker process, of which one at a time does a round."""

    def __init__(
        self,
        database: Database,
        dispatcher: Dispatcher,
        mirror: Mirror,
        *,
        interval: float = INTERVAL_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._mirror = mirror
        self._interval = interval
        self._lease_seconds = lease_seconds
        self._silent_seconds = silent_seconds
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Do rounds until cancelled; an error ends a round, not the loop."""
        while True:
            try:
                await self.round()
            except Exception as error:  # its message may hold anything
                code = error.code if isinstance(error, HubError) else type(error).__name__
                logger.warning("a round of the sweep ended early: %s", code)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()

    def wake(self) -> None:
        """Do a round now, which also takes jobs that were stored a moment ago."""
        self._wake.set()

    async def round(self) -> Swept:
        """One round, unless another process is at it."""
        woken = self._wake.is_set()
        self._wake.clear()
        async with self._database.transaction() as lock:
            taken = await lock.one(JOBS["sweep_lock"])
            if not taken or not taken["taken"]:
                return Swept()
            released = await self._release_expired()
            handed_over = await self._hand_over(0 if woken else NEW_JOB_GRACE_SECONDS)
            given_up = await self._give_up_lost()
            await self._close_mirrors()
        return Swept(handed_over, released, given_up)

    async def _release_expired(self) -> int:
        async with self._database.transaction() as transaction:
            rows = await transaction.all(JOBS["release_expired_leases"], lease_seconds=self._lease_seconds, limit=BATCH)
        for row in rows:
            if row["lost_flow_run_id"] is not None:
                with suppress(PrefectUnavailable):  # Prefect shows it as running then, and no more than that
                    await self._dispatcher.crash(row["lost_flow_run_id"])
        return len(rows)

    async def _hand_over(self, grace: float) -> int:
        async with self._database.transaction() as transaction:
            rows = await transaction.all(JOBS["undispatched_jobs"], grace=grace, limit=BATCH)
        done, refused = 0, set()
        for handover in map(_handover, rows):
            if handover.job_type in refused:
                continue
            if await hand_over(self._database, self._dispatcher, handover):
                done += 1
            else:  # Prefect is away, or lacks this one flow
                refused.add(handover.job_type)
        return done

    async def _give_up_lost(self) -> int:
        """Jobs that were handed over long ago and not claimed: their run may have ended, be stuck or be gone."""
        async with self._database.transaction() as transaction:
            rows = await transaction.all(JOBS["unclaimed_jobs"], grace=UNCLAIMED_GRACE_SECONDS, limit=BATCH)
        if not rows:
            return 0
        try:
            states = await self._dispatcher.states(row["flow_run_id"] for row in rows)
        except PrefectUnavailable:
            return 0
        for row in rows:
            if (state := states.get(row["flow_run_id"])) and state.type == "CANCELLED":
                await cancel_flow_run(self._database, row["flow_run_id"])
        lost = [row for row in rows if _is_lost(states.get(row["flow_run_id"]))]
        async with self._database.transaction() as transaction:
            return sum([await transaction.run(JOBS["give_up_run"], **row) for row in lost])

    async def _close_mirrors(self) -> None:
        """Rows of other flows' runs whose process died."""
        silent = await self._mirror.silent(self._silent_seconds, BATCH)
        if not silent:
            return
        try:
            states = await self._dispatcher.states(run for _, run in silent)
            for row, run in silent:
                await self._close_mirror(row, run, states.get(run))
        except PrefectUnavailable:
            return

    async def _close_mirror(self, row: UUID, run: UUID, state: RunState | None) -> None:
        """A run that waits to be started, or has been in its state for a moment only, may still begin its row."""
        long_ago = datetime.now(UTC) - timedelta(seconds=self._silent_seconds)
        if state and state.type not in ENDED and (state.type == "SCHEDULED" or state.since > long_ago):
            return
        if state and state.type == "CANCELLED":
            await self._mirror.cancel(row)
            return
        await self._mirror.fail(row, "run-lost", "The process of the flow run is gone.")
        if state and state.type not in ENDED:
            await self._dispatcher.crash(run)


async def hand_over_now(database: Database, dispatcher: Dispatcher, job_id: UUID) -> bool:
    """Hand one job to Prefect that nobody has yet; False if there is nothing to hand over, or the sweep has to."""
    async with database.transaction() as transaction:
        row = await transaction.one(JOBS["undispatched_job"], id=job_id)
    return row is not None and await hand_over(database, dispatcher, _handover(row))


def _is_lost(state: RunState | None) -> bool:
    if state is None or state.type in ENDED:
        return True
    return state.type in STUCK and state.since < datetime.now(UTC) - STUCK[state.type]


def _handover(row: dict[str, Any]) -> Handover:
    name = row["server"] or "unknown"
    if row["job_type"] != "resource_fetch":
        called = row["tool_name"] or row["params_name"] or ""
        name += f"__{restore(called) if row['params_escaped'] else called}"
    return Handover(row["id"], row["attempt"], row["job_type"], name)

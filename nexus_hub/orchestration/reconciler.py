"""Reconciliation of jobs with their flow runs in Prefect. The row decides, and Prefect follows it."""

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from nexus_hub.db.pool import Database
from nexus_hub.errors import NoDeployment, PrefectRefused, PrefectUnavailable
from nexus_hub.jobs.store import JOBS, cancel_flow_run
from nexus_hub.models import JobStatus
from nexus_hub.orchestration.dispatcher import BATCH_MAX_JOBS, BATCH_MIN_JOBS, JobDispatch, dispatch_batch, dispatch_job
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.prefect_client import ENDED, FLOWS, PAGE
from nexus_hub.orchestration.prefect_runs import PrefectRuns, RunState

BATCH = PAGE
NEW_JOB_GRACE_SECONDS = 2
LEFTOVER_INTERVAL_SECONDS = 30
LOST_RUN_LIMIT = 10
"""Flow runs of one attempt that may be lost before they claim the job; then the job fails."""
STUCK = {"PENDING": 0.5, "RUNNING": 1.0, "CANCELLING": 1.0}
"""The part of `Patience.abandoned` that a run may be in a state without claiming its job: its worker has died in
between, or lost Prefect. Should it live after all, the claim makes sure that either it or the next run takes the job.
"""
CANCELLED = {"CANCELLED", "CANCELLING"}


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds until what should have gone on by itself is looked after."""

    unclaimed: float = 30
    """Of a job that was dispatched and is not claimed."""
    abandoned: float = 120
    """Of a flow run of which nothing new is heard."""


class Reconciler:
    """Takes the steps of a round. Lists that may be longer than a batch go on where the last round stopped."""

    def __init__(self, database: Database, prefect_client: PrefectRuns, mirror: Mirror, patience: Patience) -> None:
        self._database = database
        self._prefect_client = prefect_client
        self._mirror = mirror
        self._patience = patience
        self._unclaimed_after: tuple[datetime, UUID] | None = None
        self._leftovers_from = 0
        self._leftovers_at = 0.0
        self._ending: set[UUID] = set()

    def end_runs(self, flow_run_ids: Iterable[UUID]) -> None:
        """End runs in the next round whose jobs have failed for want of a sign of life."""
        self._ending.update(flow_run_ids)

    async def round(self, woken: bool) -> tuple[int, int]:
        """Take all steps, or those before Prefect fails to answer: how many jobs were dispatched and runs abandoned."""
        dispatched = abandoned = 0
        with suppress(PrefectUnavailable):
            await self._end_rescued()
            await self._settle_lost()
            dispatched = await self._dispatch(0 if woken else NEW_JOB_GRACE_SECONDS)
            abandoned = await self._abandon_unclaimed()
            await self._close_mirrors()
            await self._end_leftovers()
        return dispatched, abandoned

    async def _end_rescued(self) -> None:
        ending = list(self._ending)[:BATCH]
        for run, state in (await self._prefect_client.states(ending)).items():
            await self._end_run(run, state)
        self._ending.difference_update(ending)

    async def _settle_lost(self) -> None:
        """End runs that lost their job; jobs whose run was cancelled in Prefect are cancelled."""
        async with self._database.transaction() as transaction:
            rows = await transaction.all(JOBS["lost_runs"], limit=BATCH)
        states = await self._prefect_client.states(row["lost_flow_run_id"] for row in rows)
        for row in rows:
            state = states.get(row["lost_flow_run_id"])
            if state and state.type in CANCELLED:
                async with self._database.transaction() as transaction:
                    await transaction.run(JOBS["cancel_lost_run"], **row)
            await self._end_run(row["lost_flow_run_id"], state)
            async with self._database.transaction() as transaction:
                await transaction.run(JOBS["settle_lost_run"], **row)

    async def _end_run(self, flow_run_id: UUID, state: RunState | None, status: JobStatus | None = None) -> None:
        """End a run whose process is gone: as Prefect was asked to, or like its job, if that has ended in it."""
        if state is None or state.type in ENDED:
            return
        if state.type in CANCELLED:
            status = "cancelled"
        if status is None:
            await self._prefect_client.crash(flow_run_id)
        else:
            await self._prefect_client.settle(flow_run_id, status)

    async def _dispatch(self, grace: float) -> int:
        """Dispatch jobs that never were, or are due for another attempt; each type by itself."""
        done = 0
        with suppress(NoDeployment):
            await self._prefect_client.has_batches()
            await self._group_waiting(grace)
            done += await self._dispatch_batches(grace)
        for job_type in FLOWS:
            with suppress(NoDeployment):
                done += await self._dispatch_type(job_type, grace)
        return done

    async def _group_waiting(self, grace: float) -> None:
        """Let many jobs that wait share flow runs: after an outage of Prefect, or stored by plain SQL."""
        grouped = BATCH_MAX_JOBS
        while grouped == BATCH_MAX_JOBS:
            async with self._database.transaction() as transaction:
                grouped = await transaction.run(
                    JOBS["group_waiting_jobs"],
                    batch_id=uuid4(),
                    grace=grace,
                    fewest=BATCH_MIN_JOBS,
                    limit=BATCH_MAX_JOBS,
                )

    async def _dispatch_batches(self, grace: float) -> int:
        async with self._database.transaction() as transaction:
            rows = await transaction.all(JOBS["undispatched_batches"], grace=grace, limit=BATCH)
        done = 0
        for row in rows:
            with suppress(PrefectRefused):
                await dispatch_batch(self._database, self._prefect_client, row["batch_id"], row["jobs"])
                done += row["jobs"]
        return done

    async def _dispatch_type(self, job_type: str, grace: float) -> int:
        async with self._database.transaction() as transaction:
            rows = await transaction.all(JOBS["undispatched_jobs"], job_type=job_type, grace=grace, limit=BATCH)
        done = 0
        for row in rows:
            with suppress(PrefectRefused):
                await dispatch_job(self._database, self._prefect_client, JobDispatch.from_row(row))
                done += 1
        return done

    async def _abandon_unclaimed(self) -> int:
        """Abandon the runs of jobs that were dispatched long ago and not claimed, if they ended or are stuck."""
        after_at, after_id = self._unclaimed_after or (None, None)
        async with self._database.transaction() as transaction:
            rows = await transaction.all(
                JOBS["unclaimed_jobs"],
                grace=self._patience.unclaimed,
                after_at=after_at,
                after_id=after_id,
                limit=BATCH,
            )
        last = rows[-1] if len(rows) == BATCH else None
        self._unclaimed_after = (last["dispatched_at"], last["id"]) if last else None
        states = await self._prefect_client.states(row["flow_run_id"] for row in rows)
        return sum([await self._abandon(row, states.get(row["flow_run_id"])) for row in rows])

    async def _abandon(self, row: dict[str, Any], state: RunState | None) -> int:
        if state and state.type == "CANCELLED":
            await cancel_flow_run(self._database, row["flow_run_id"])
            return 0
        if not self._is_abandoned(state):
            return 0
        lost = {name: row[name] for name in ("id", "attempt", "flow_run_id")}
        async with self._database.transaction() as transaction:
            return await transaction.run(JOBS["abandon_run"], most_lost_runs=LOST_RUN_LIMIT, **lost)

    async def _close_mirrors(self) -> None:
        """Close the rows of other flows' runs whose process died."""
        silent = await self._mirror.find_silent(self._patience.abandoned, BATCH)
        states = await self._prefect_client.states(run for _, run in silent)
        for row, run in silent:
            await self._close_mirror(row, run, states.get(run))

    async def _close_mirror(self, row: UUID, run: UUID, state: RunState | None) -> None:
        """Close a row, unless its run waits to be started or is new in its state: it may still begin the row."""
        long_ago = datetime.now(UTC) - timedelta(seconds=self._patience.abandoned)
        if state and state.type not in ENDED and (state.type == "SCHEDULED" or state.since > long_ago):
            return
        if state and state.type == "CANCELLED":
            await self._mirror.cancel(row)
            return
        await self._mirror.fail(row, "run-lost", "The process of the flow run is gone.")
        if state and state.type not in ENDED:
            await self._prefect_client.crash(run)

    async def _end_leftovers(self) -> None:
        """End runs that Prefect shows as under way, though their jobs ended long ago or went on without them.

        Left like that they would hold concurrency slots for ever.
        """
        if time.monotonic() < self._leftovers_at:
            return
        self._leftovers_at = time.monotonic() + LEFTOVER_INTERVAL_SECONDS
        long_ago = datetime.now(UTC) - timedelta(seconds=self._patience.abandoned)
        runs = await self._prefect_client.begun(long_ago, self._leftovers_from)
        self._leftovers_from = self._leftovers_from + BATCH if len(runs) == BATCH else 0
        old = {run: state for run, state in runs.items() if state.since < long_ago}
        async with self._database.transaction() as transaction:
            rows = await transaction.all(JOBS["uses_of_runs"], flow_run_ids=list(old), seconds=self._patience.abandoned)
        in_use = {row["flow_run_id"] for row in rows if row["in_use"]}
        statuses = {row["flow_run_id"]: row["status"] for row in rows}
        for run in old.keys() - in_use:
            await self._end_run(run, old[run], statuses.get(run))

    def _is_abandoned(self, state: RunState | None) -> bool:
        if state is None or state.type in ENDED:
            return True
        if state.type not in STUCK:
            return False
        return state.since < datetime.now(UTC) - timedelta(seconds=self._patience.abandoned * STUCK[state.type])

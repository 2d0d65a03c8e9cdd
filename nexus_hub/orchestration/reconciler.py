"""Reconciliation of jobs with their flow runs in Prefect. The row decides, and Prefect follows it."""

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.errors import NoDeployment, PrefectRefused, PrefectUnavailable
from nexus_hub.execution.shared_runs import SHARED_RUNS
from nexus_hub.jobs.endings import tell_closed
from nexus_hub.jobs.store import JOBS, cancel_flow_run
from nexus_hub.models import JobStatus
from nexus_hub.orchestration.calm import Calm
from nexus_hub.orchestration.dispatcher import (
    MOST_HANGING,
    REFUSED_SECONDS,
    JobDispatch,
    dispatch_job,
    open_run,
    start_run,
)
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.prefect_client import ENDED, FLOWS, PAGE, UNDER_WAY
from nexus_hub.orchestration.prefect_runs import PrefectRuns, RunState

BATCH = PAGE
QUEUED_AT_ONCE = 1000
KEPT_DAYS = 7
"""Closed shared runs are kept so long: a late cancellation in Prefect still finds what they carried."""
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


@dataclass(frozen=True, slots=True)
class WaitingState:
    """Jobs that wait, and the shared runs that there are for them; the age of the one that comes is in seconds."""

    undispatched: int
    many_run: bool
    queued: bool
    is_open: bool
    coming_id: UUID | None
    coming_flow_run_id: UUID | None
    coming_age: float | None


class Reconciler:
    """Takes the steps of a round. Lists that may be longer than a batch go on where the last round stopped."""

    def __init__(
        self, database: Database, prefect_client: PrefectRuns, mirror: Mirror, patience: Patience, calm: Calm
    ) -> None:
        self._database = database
        self._prefect_client = prefect_client
        self._mirror = mirror
        self._patience = patience
        self._calm = calm
        self._unclaimed_after: tuple[datetime, UUID] | None = None
        self._leftovers_from = 0
        self._leftovers_at = 0.0
        self._ending: set[UUID] = set()
        self._refused_until = 0.0

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
                    cancelled = await transaction.all(JOBS["cancel_lost_run"], **row)
                tell_closed(cancelled, "cancelled", "cancelled")
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
        """Dispatch jobs that never were, or are due for another attempt: together, or each type by itself."""
        async with self._database.transaction() as transaction:
            state = await transaction.only(
                SHARED_RUNS["waiting_state"], WaitingState, grace=grace, most_running=MOST_HANGING
            )
        done = 0
        if state.undispatched or state.queued or state.coming_id:
            done += await self._share(state, grace)
        for job_type in FLOWS if state.undispatched else ():
            with suppress(NoDeployment):
                done += await self._dispatch_type(job_type, grace)
        return done + await self._dispatch_paused(grace)

    async def _share(self, state: WaitingState, grace: float) -> int:
        """Let jobs that wait share runs, and see to it that one comes; where none can be made, nobody waits for one."""
        if time.monotonic() >= self._refused_until:
            try:
                return await self._serve_queue(state, grace)
            except NoDeployment:
                pass
            except PrefectRefused:
                self._refused_until = time.monotonic() + REFUSED_SECONDS
        async with self._database.transaction() as transaction:
            await transaction.run(SHARED_RUNS["close_unmade_run"])
            await transaction.run(SHARED_RUNS["leave_queue"], limit=QUEUED_AT_ONCE)
        return 0

    async def _serve_queue(self, state: WaitingState, grace: float) -> int:
        """Put into the queue what waits, and see to it that a run comes; how many jobs were put there."""
        await self._prefect_client.has_shared_runs()
        done = 0
        if state.undispatched > 1 or state.many_run or state.is_open or state.coming_id:
            done = await self._queue_waiting(grace)
        comes = state.coming_id is not None and await self._still_comes(state)
        if not comes and (state.queued or done):
            await open_run(self._database, self._prefect_client)
        return done

    async def _queue_waiting(self, grace: float) -> int:
        """Put all that waits for a flow run into the queue, such as after an outage of Prefect; how many jobs."""
        done, queued = 0, QUEUED_AT_ONCE
        while queued == QUEUED_AT_ONCE:
            async with self._database.transaction() as transaction:
                queued = await transaction.run(JOBS["queue_waiting"], grace=grace, limit=QUEUED_AT_ONCE)
            done += queued
        return done

    async def _still_comes(self, state: WaitingState) -> bool:
        """Have a run made that Prefect was not told of; False if it was, and will never begin."""
        run_id, flow_run_id = state.coming_id, state.coming_flow_run_id
        if run_id is None or (state.coming_age or 0) < NEW_JOB_GRACE_SECONDS:
            return True
        if flow_run_id is None:
            await start_run(self._database, self._prefect_client, run_id)
            return True
        if (state.coming_age or 0) < self._patience.unclaimed:
            return True
        prefects = (await self._prefect_client.states([flow_run_id])).get(flow_run_id)
        if not self._is_abandoned(prefects):
            return True
        if prefects and prefects.type == "CANCELLED":
            await cancel_flow_run(self._database, flow_run_id)
        async with self._database.transaction() as transaction:
            await transaction.run(SHARED_RUNS["close_shared_run"], id=run_id)
        return False

    async def _dispatch_type(self, job_type: str, grace: float) -> int:
        async with self._database.transaction() as transaction:
            rows = await transaction.all(JOBS["undispatched_jobs"], job_type=job_type, grace=grace, limit=BATCH)
        return await self._dispatch_rows(rows)

    async def _dispatch_paused(self, grace: float) -> int:
        """Tell Prefect of jobs that wait for a person's yes, such as those of a batch: each has a run of its own."""
        async with self._database.transaction() as transaction:
            rows = await transaction.all(JOBS["unpaused_jobs"], grace=grace, limit=BATCH)
        with suppress(NoDeployment):
            return await self._dispatch_rows(rows)
        return 0

    async def _dispatch_rows(self, rows: list[dict[str, Any]]) -> int:
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
        if state and state.type == "PAUSED":  # the yes to it has not reached Prefect
            await self._prefect_client.resume(row["flow_run_id"])
            return 0
        if not self._is_abandoned(state):
            return 0
        lost = {name: row[name] for name in ("id", "attempt", "flow_run_id")}
        async with self._database.transaction() as transaction:
            rows = await transaction.all(JOBS["abandon_run"], most_lost_runs=LOST_RUN_LIMIT, **lost)
        tell_closed([row for row in rows if row["status"] == "failed"], "failed", "run-lost")
        return len(rows)

    async def _close_mirrors(self) -> None:
        """Close the rows of other flows' runs whose process died."""
        if not self._calm.lasts(self._patience.abandoned):
            return
        silent = await self._mirror.find_silent(self._patience.abandoned, BATCH)
        states = await self._prefect_client.states(run for _, run in silent)
        for row, run in silent:
            await self._close_mirror(row, run, states.get(run))

    async def _close_mirror(self, row: UUID, run: UUID, state: RunState | None) -> None:
        """Close a row, unless its run waits to be started or is new in its state: it may still begin the row."""
        lately = state is not None and state.age < self._patience.abandoned
        if state and state.type not in ENDED and (state.type == "SCHEDULED" or lately):
            return
        if state and state.type == "CANCELLED":
            await self._mirror.cancel(row)
            return
        await self._mirror.fail(row, "run-lost", "The process of the flow run is gone.")
        if state and state.type not in ENDED:
            await self._prefect_client.crash(run)

    async def _end_leftovers(self) -> None:
        """End runs that Prefect shows as under way, though their jobs ended long ago or went on without them.

        Left like that they would hold concurrency slots for ever. Those whose process died before it had stored the job
        that somebody asked for in Prefect begin anew: the job has their id, so that it is stored once.
        """
        if time.monotonic() < self._leftovers_at:
            return
        self._leftovers_at = time.monotonic() + LEFTOVER_INTERVAL_SECONDS
        async with self._database.transaction() as transaction:
            await transaction.run(SHARED_RUNS["forget_closed_runs"], days=KEPT_DAYS, limit=1000)
        runs = await self._prefect_client.begun(self._patience.abandoned, self._leftovers_from)
        self._leftovers_from = self._leftovers_from + BATCH if len(runs) == BATCH else 0
        old = {run: state for run, state in runs.items() if state.age > self._patience.abandoned}
        async with self._database.transaction() as transaction:
            rows = await transaction.all(JOBS["uses_of_runs"], flow_run_ids=list(old), seconds=self._patience.abandoned)
        in_use = {row["flow_run_id"] for row in rows if row["in_use"]}
        statuses = {row["flow_run_id"]: row["status"] for row in rows}
        for run in old.keys() - in_use:
            if run not in statuses and _begins_anew(old[run]):
                await self._prefect_client.restart(run)
            else:
                await self._end_run(run, old[run], statuses.get(run))

    def _is_abandoned(self, state: RunState | None) -> bool:
        if state is None or state.type in ENDED:
            return True
        if state.type not in STUCK:
            return False
        return state.age > self._patience.abandoned * STUCK[state.type]


def _begins_anew(state: RunState) -> bool:
    return state.is_asked and state.type in UNDER_WAY and state.begun < LOST_RUN_LIMIT

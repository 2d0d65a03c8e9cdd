"""Dispatch of jobs to Prefect: a flow run for each attempt, or one for many of them, made once."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from nexus_hub.db.pool import Database
from nexus_hub.errors import DatabaseUnavailable, PrefectRefused, PrefectUnavailable
from nexus_hub.escape import unescape
from nexus_hub.jobs.store import JOBS
from nexus_hub.orchestration.prefect_runs import PrefectRuns
from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.defects import describe_error
from nexus_hub.telemetry.events import BatchDispatched, JobDispatched, JobTags

logger = logging.getLogger(__name__)
REFUSED_SECONDS = 60
"""Pause of a job that Prefect refuses to make a run for, so that it holds up no other."""
BATCH_MIN_JOBS = 10
"""So many jobs that wait for a flow run at the same time share one."""
BATCH_MAX_JOBS = 1000
MARKED_AT_ONCE = 100
"""So many jobs of a batch are noted as dispatched in one transaction: its run does not wait for the lock on all."""


@dataclass(frozen=True, slots=True)
class JobDispatch:
    """A job as Prefect is told of it: ids and a name for its run.

    `lost_runs` counts the runs of this attempt that were lost before they claimed the job.
    """

    job_id: UUID
    attempt: int
    job_type: str
    name: str
    lost_runs: int = 0

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "JobDispatch":
        """Make the dispatch of a row of `undispatched_jobs`."""
        name = row["server"] or "unknown"
        if row["job_type"] != "resource_fetch":
            called = row["tool_name"] or row["params_name"] or ""
            name += f"__{unescape(called) if row['params_escaped'] else called}"
        return cls(row["id"], row["attempt"], row["job_type"], name, row["lost_runs"])


async def dispatch_job(database: Database, prefect_client: PrefectRuns, dispatch: JobDispatch) -> None:
    """Tell Prefect of a job and note its flow run. A job that is refused waits a minute.

    Raises:
        PrefectUnavailable: it has to wait for the next round; `NoDeployment` if only its type has.
        DatabaseUnavailable: likewise; the same run is found again by its key.
    """
    began = time.monotonic()
    known = {"id": dispatch.job_id, "attempt": dispatch.attempt, "lost_runs": dispatch.lost_runs}
    try:
        flow_run_id = await prefect_client.start(
            dispatch.job_type, dispatch.name, dispatch.job_id, dispatch.attempt, dispatch.lost_runs
        )
    except PrefectRefused:
        async with database.transaction() as transaction:
            await transaction.run(JOBS["snooze_undispatched_job"], delay=REFUSED_SECONDS, **known)
        raise
    async with database.transaction() as transaction:
        await transaction.run(JOBS["mark_dispatched"], flow_run_id=flow_run_id, **known)
    job = JobTags(dispatch.job_id, dispatch.attempt, flow_run_id=flow_run_id)
    emit(JobDispatched(job, (time.monotonic() - began) * 1000))


async def dispatch_batch(database: Database, prefect_client: PrefectRuns, batch_id: UUID, jobs: int) -> None:
    """Tell Prefect of a batch and note its flow run with the jobs. One that is refused waits a minute.

    The first job is noted by itself: its notice calls a worker, which takes the run by any of its jobs.

    Raises:
        PrefectUnavailable, DatabaseUnavailable: as for `dispatch_job`.
    """
    began = time.monotonic()
    try:
        flow_run_id = await prefect_client.start_batch(batch_id, jobs)
    except PrefectRefused:
        async with database.transaction() as transaction:
            await transaction.run(JOBS["snooze_undispatched_batch"], delay=REFUSED_SECONDS, batch_id=batch_id)
        raise
    most, marked = 1, 1
    while marked:
        async with database.transaction() as transaction:
            marked = await transaction.run(
                JOBS["mark_batch_dispatched"], flow_run_id=flow_run_id, batch_id=batch_id, most=most
            )
        most = MARKED_AT_ONCE
    emit(BatchDispatched(batch_id, jobs, flow_run_id, (time.monotonic() - began) * 1000))


async def dispatch_now(database: Database, prefect_client: PrefectRuns, job_id: UUID) -> bool:
    """Dispatch one job that is not dispatched yet; False if there is none, or the reconciler has to."""
    async with database.transaction() as transaction:
        row = await transaction.one(JOBS["undispatched_job"], id=job_id)
    if row is None:
        return False
    if row["batch_id"] is not None:
        return await _try(dispatch_batch(database, prefect_client, row["batch_id"], row["jobs"]))
    return await _try(dispatch_job(database, prefect_client, JobDispatch.from_row(row)))


async def _try(dispatching: Coroutine[Any, Any, None]) -> bool:
    """Dispatch, and leave to the reconciler what fails; nothing may end the loop that goes on with the other jobs."""
    try:
        await dispatching
    except (PrefectUnavailable, DatabaseUnavailable):
        return False
    except Exception as error:  # its message may hold anything
        logger.warning("a job could not be dispatched: %s", describe_error(error))
        return False
    return True


class Dispatcher:
    """Dispatches new jobs in the background, a few at a time; the reconciler finds what it misses.

    Jobs that come faster than their runs can be made share one.
    """

    def __init__(self, database: Database, prefect_client: PrefectRuns, *, concurrency: int = 8) -> None:
        self._database = database
        self._prefect_client = prefect_client
        self._concurrency = concurrency
        self._waiting: deque[JobDispatch] = deque()
        self._working = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, dispatch: JobDispatch) -> None:
        """Dispatch a job soon."""
        self._waiting.append(dispatch)
        if self._working < self._concurrency:
            self._working += 1
            self._spawn(self._work())

    def start_batch(self, batch_id: UUID, jobs: int) -> None:
        """Dispatch a batch now."""
        self._spawn(_try(dispatch_batch(self._database, self._prefect_client, batch_id, jobs)))

    async def drain(self) -> None:
        """Wait until all that were started are done."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        try:
            while self._waiting:
                if len(self._waiting) < BATCH_MIN_JOBS:
                    await _try(dispatch_job(self._database, self._prefect_client, self._waiting.popleft()))
                else:
                    some = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_MAX_JOBS))]
                    await _try(self._group([dispatch.job_id for dispatch in some]))
        finally:
            self._working -= 1

    async def _group(self, job_ids: list[UUID]) -> None:
        batch_id = uuid4()
        async with self._database.transaction() as transaction:
            jobs = await transaction.run(JOBS["group_jobs"], ids=job_ids, batch_id=batch_id)
        if jobs:
            await dispatch_batch(self._database, self._prefect_client, batch_id, jobs)

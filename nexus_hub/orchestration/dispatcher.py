"""Dispatch of jobs to Prefect: a flow run for a job that comes alone, shared runs for those that come together."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID, uuid4

from nexus_hub.db.pool import Database
from nexus_hub.errors import ApprovalNeeded, DatabaseUnavailable, PrefectRefused, PrefectUnavailable
from nexus_hub.escape import unescape
from nexus_hub.execution.shared_runs import SHARED_RUNS
from nexus_hub.jobs.store import JOBS
from nexus_hub.orchestration.prefect_runs import PrefectRuns
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.defects import describe_error
from nexus_hub.telemetry.events import JobDispatched, JobTags, RunOpened

logger = logging.getLogger(__name__)
REFUSED_SECONDS = 60
"""Pause of a job that Prefect refuses to make a run for, so that it holds up no other."""
BATCH_MAX_JOBS = 1000
"""So many jobs may come in one request."""
FORGOTTEN_SECONDS = 60.0
FORGOTTEN_AT_ONCE = 20
MOST_KNOWN = 200_000
"""So many live jobs are kept in mind; any role of the database may send notices of what is none."""
MOST_HANGING = 8
"""Jobs that hang and may have runs of their own beside new ones that get theirs; each takes room in a worker."""


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
    trace_context: str | None = None
    is_paused: bool = False
    """It waits for a person's yes: its run is there, paused, and takes no worker."""

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "JobDispatch":
        """Make the dispatch of a row of `undispatched_jobs`."""
        name = row["server"] or "unknown"
        if row["job_type"] != "resource_fetch":
            called = row["tool_name"] or row["params_name"] or ""
            name += f"__{unescape(called) if row['params_escaped'] else called}"
        return cls(
            row["id"],
            row["attempt"],
            row["job_type"],
            name,
            row["lost_runs"],
            row["trace_context"],
            row["error_code"] == ApprovalNeeded.code,
        )


async def dispatch_job(database: Database, prefect_client: PrefectRuns, dispatch: JobDispatch) -> None:
    """Tell Prefect of a job and note its flow run. A job that is refused waits a minute.

    Raises:
        PrefectUnavailable: it has to wait for the next round; `NoDeployment` if only its type has.
        DatabaseUnavailable: likewise; the same run is found again by its key.
    """
    tags: tracing.Attributes = {"nexus.job.id": dispatch.job_id, "nexus.job.attempt": dispatch.attempt}
    with tracing.span("job.dispatch", "client", tags, parent=dispatch.trace_context):
        await _dispatch(database, prefect_client, dispatch)


async def _dispatch(database: Database, prefect_client: PrefectRuns, dispatch: JobDispatch) -> None:
    began = time.monotonic()
    known = {"id": dispatch.job_id, "attempt": dispatch.attempt, "lost_runs": dispatch.lost_runs}
    try:
        flow_run_id = await prefect_client.start(
            dispatch.job_type,
            dispatch.name,
            dispatch.job_id,
            dispatch.attempt,
            dispatch.lost_runs,
            is_paused=dispatch.is_paused,
        )
    except PrefectRefused:
        if dispatch.is_paused:  # what waits for a person's yes is not due for want of a run
            raise
        async with database.transaction() as transaction:
            await transaction.run(JOBS["snooze_undispatched_job"], delay=REFUSED_SECONDS, **known)
        raise
    async with database.transaction() as transaction:
        await transaction.run(JOBS["mark_dispatched"], flow_run_id=flow_run_id, **known)
        # The answer may have come while Prefect was told of the question.
        is_due = dispatch.is_paused and await transaction.one(JOBS["is_due"], id=dispatch.job_id) is not None
    if is_due:
        await prefect_client.resume(flow_run_id)
    tracing.annotate({"nexus.flow_run.id": flow_run_id})
    job = JobTags(dispatch.job_id, dispatch.attempt, flow_run_id=flow_run_id, trace_id=tracing.current_trace_id())
    emit(JobDispatched(job, (time.monotonic() - began) * 1000))


async def open_run(
    database: Database, prefect_client: PrefectRuns, run_id: UUID | None = None, *, one_more: bool = False
) -> bool:
    """Have a shared run made, if none takes jobs or comes already; with `one_more`, if none comes. True if it was.

    Raises:
        PrefectUnavailable, PrefectRefused, DatabaseUnavailable: the reconciler goes on with it.
    """
    async with database.transaction() as transaction:
        opened = await transaction.one(SHARED_RUNS["open_run"], UUID, id=run_id or uuid4(), one_more=one_more)
    if opened is not None:
        await start_run(database, prefect_client, opened)
    return opened is not None


async def start_run(database: Database, prefect_client: PrefectRuns, run_id: UUID) -> None:
    """Tell Prefect of a shared run that comes, and call the workers.

    Raises:
        PrefectUnavailable, PrefectRefused, DatabaseUnavailable: it is to be tried again.
    """
    began = time.monotonic()
    with tracing.span("run.dispatch", "client", {"nexus.run.id": run_id}) as span:
        flow_run_id = await prefect_client.start_shared(run_id)
        span.set({"nexus.flow_run.id": flow_run_id})
        async with database.transaction() as transaction:
            await transaction.run(SHARED_RUNS["note_run"], id=run_id, flow_run_id=flow_run_id)
    emit(RunOpened(run_id, flow_run_id, (time.monotonic() - began) * 1000))


async def dispatch_now(database: Database, prefect_client: PrefectRuns, job_id: UUID) -> bool:
    """Dispatch one job that is not dispatched yet; False if there is none, or the reconciler has to."""
    async with database.transaction() as transaction:
        row = await transaction.one(JOBS["undispatched_job"], id=job_id)
    return row is not None and await _try(dispatch_job(database, prefect_client, JobDispatch.from_row(row)))


async def _try(dispatching: Coroutine[Any, Any, object]) -> bool:
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
    """Dispatches new jobs in the background; the reconciler finds what it misses.

    A job that comes alone gets a run of its own. While others are under way it waits in the queue, which shared runs
    take from: if there is none to join, one is made.
    """

    def __init__(self, database: Database, prefect_client: PrefectRuns, *, most_hanging: int = MOST_HANGING) -> None:
        self._database = database
        self._prefect_client = prefect_client
        self._most_hanging = most_hanging
        self._hanging: set[UUID] = set()
        """Those of the live ones that were heard of long ago."""
        self._live: dict[UUID, float] = {}
        """The jobs that were heard of and have not ended, and when that was (monotonic)."""
        self._arriving = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._opening: asyncio.Task[Any] | None = None
        self._wanted: tuple[UUID, bool] | None = None

    def notice(self, job_id: UUID, *, ended: bool) -> None:
        """Take note of a job that is under way, in whichever process, or has ended."""
        self._live.pop(job_id, None)
        self._hanging.discard(job_id)
        if not ended:
            self._live[job_id] = time.monotonic()
        if len(self._live) + len(self._hanging) > MOST_KNOWN:
            self.forget()

    def forget(self) -> None:
        """Forget what is under way, since the end of it may have been missed."""
        self._live.clear()
        self._hanging.clear()

    @contextmanager
    def arrival(self) -> Iterator[bool]:
        """Store a job in the block; True if it is to wait for a shared run, since others are under way."""
        crowded = self._arriving > 0 or self._is_busy()
        self._arriving += 1
        try:
            yield crowded
        finally:
            self._arriving -= 1

    def start(self, dispatch: JobDispatch) -> None:
        """Dispatch a job with a run of its own soon."""
        self._spawn(dispatch_job(self._database, self._prefect_client, dispatch))

    def open_run(self, run_id: UUID | None = None, *, one_more: bool = False) -> None:
        """Have a shared run made soon, if there is none to join; with `one_more`, also beside one."""
        self._wanted = run_id or uuid4(), one_more
        if self._opening is None or self._opening.done():
            self._opening = self._spawn(self._open_wanted())

    async def drain(self) -> None:
        """Wait until all that were started are done."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _open_wanted(self) -> None:
        """Open what was asked for, once more if that was while another one was looked for."""
        while self._wanted is not None:
            (run_id, one_more), self._wanted = self._wanted, None
            await open_run(self._database, self._prefect_client, run_id, one_more=one_more)

    def _is_busy(self) -> bool:
        """Tell if a job is under way; of those that have not been heard of for a while it takes several."""
        if self._live:
            long_ago = time.monotonic() - FORGOTTEN_SECONDS
            for job_id, at in list(islice(self._live.items(), FORGOTTEN_AT_ONCE)):
                if at < long_ago:
                    del self._live[job_id]
                    self._hanging.add(job_id)
        return bool(self._live) or len(self._hanging) > self._most_hanging

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(_try(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

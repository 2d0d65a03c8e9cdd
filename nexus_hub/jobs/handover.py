"""Telling Prefect of jobs: a flow run for each attempt, or one for many of them, made once."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from nexus_hub.db.pool import Database
from nexus_hub.dispatch import Dispatcher
from nexus_hub.errors import DatabaseUnavailable, PrefectRefused, PrefectUnavailable
from nexus_hub.escape import restore
from nexus_hub.jobs.store import JOBS

REFUSED_SECONDS = 60
"""How long a job waits that Prefect refuses to make a run for, so that it holds up no other."""


FEWEST_IN_BATCH = 10
"""So many jobs that wait for a flow run at the same time share one."""
MOST_IN_BATCH = 1000
MARKED_AT_ONCE = 100
"""So many jobs of a batch are noted as handed over in one transaction: its run does not wait for the lock on all."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What Prefect is told of a job: ids and a name for its run.

    `lost_runs` counts the runs of this attempt that were lost before they claimed the job.
    """

    job_id: UUID
    attempt: int
    job_type: str
    name: str
    lost_runs: int = 0

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Handover":
        """The handover of a row of `undispatched_jobs`."""
        name = row["server"] or "unknown"
        if row["job_type"] != "resource_fetch":
            called = row["tool_name"] or row["params_name"] or ""
            name += f"__{restore(called) if row['params_escaped'] else called}"
        return cls(row["id"], row["attempt"], row["job_type"], name, row["lost_runs"])


async def hand_over(database: Database, dispatcher: Dispatcher, handover: Handover) -> None:
    """Tell Prefect of a job and note its flow run. A job that is refused waits a minute.

    Raises:
        PrefectUnavailable: it has to wait for the next round; `NoDeployment` if only its type has.
        DatabaseUnavailable: likewise; the same run is found again by its key.
    """
    known = {"id": handover.job_id, "attempt": handover.attempt, "lost_runs": handover.lost_runs}
    try:
        flow_run_id = await dispatcher.start(
            handover.job_type, handover.name, handover.job_id, handover.attempt, handover.lost_runs
        )
    except PrefectRefused:
        async with database.transaction() as transaction:
            await transaction.run(JOBS["put_off"], delay=REFUSED_SECONDS, **known)
        raise
    async with database.transaction() as transaction:
        await transaction.run(JOBS["mark_dispatched"], flow_run_id=flow_run_id, **known)


async def hand_over_batch(database: Database, dispatcher: Dispatcher, batch_id: UUID, jobs: int) -> None:
    """Tell Prefect of a batch and note its flow run with the jobs. One that is refused waits a minute.

    The first job is noted by itself: its notice calls a worker, which takes the run by any of its jobs.

    Raises:
        PrefectUnavailable, DatabaseUnavailable: as for `hand_over`.
    """
    try:
        flow_run_id = await dispatcher.start_batch(batch_id, jobs)
    except PrefectRefused:
        async with database.transaction() as transaction:
            await transaction.run(JOBS["put_off_undispatched_batch"], delay=REFUSED_SECONDS, batch_id=batch_id)
        raise
    most, marked = 1, 1
    while marked:
        async with database.transaction() as transaction:
            marked = await transaction.run(
                JOBS["mark_batch_dispatched"], flow_run_id=flow_run_id, batch_id=batch_id, most=most
            )
        most = MARKED_AT_ONCE


async def hand_over_now(database: Database, dispatcher: Dispatcher, job_id: UUID) -> bool:
    """Hand one job to Prefect that nobody has yet; False if there is nothing to hand over, or the sweep has to."""
    async with database.transaction() as transaction:
        row = await transaction.one(JOBS["undispatched_job"], id=job_id)
    if row is None:
        return False
    if row["batch_id"] is not None:
        return await _tried(hand_over_batch(database, dispatcher, row["batch_id"], row["jobs"]))
    return await _tried(hand_over(database, dispatcher, Handover.of(row)))


async def _tried(handing_over: Coroutine[Any, Any, None]) -> bool:
    try:
        await handing_over
    except (PrefectUnavailable, DatabaseUnavailable):
        return False
    return True


class Handovers:
    """Tells Prefect of new jobs in the background, a few at a time; the sweep finds what it misses.

    Jobs that come faster than their runs can be made share one.
    """

    def __init__(self, database: Database, dispatcher: Dispatcher, *, at_once: int = 8) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._at_once = at_once
        self._waiting: deque[Handover] = deque()
        self._working = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, handover: Handover) -> None:
        """Hand a job over soon."""
        self._waiting.append(handover)
        if self._working < self._at_once:
            self._working += 1
            self._spawn(self._work())

    def start_batch(self, batch_id: UUID, jobs: int) -> None:
        """Hand a batch over now."""
        self._spawn(_tried(hand_over_batch(self._database, self._dispatcher, batch_id, jobs)))

    async def drain(self) -> None:
        """Wait until all that were started are done."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        while self._waiting:
            if len(self._waiting) < FEWEST_IN_BATCH:
                await _tried(hand_over(self._database, self._dispatcher, self._waiting.popleft()))
            else:
                some = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_IN_BATCH))]
                await _tried(self._group([handover.job_id for handover in some]))
        self._working -= 1

    async def _group(self, job_ids: list[UUID]) -> None:
        batch_id = uuid4()
        async with self._database.transaction() as transaction:
            jobs = await transaction.run(JOBS["group_jobs"], ids=job_ids, batch_id=batch_id)
        if jobs:
            await hand_over_batch(self._database, self._dispatcher, batch_id, jobs)

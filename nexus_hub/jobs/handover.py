"""Telling Prefect of jobs: a flow run for each attempt, made once."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.dispatch import Dispatcher
from nexus_hub.errors import DatabaseUnavailable, PrefectRefused, PrefectUnavailable
from nexus_hub.escape import restore
from nexus_hub.jobs.store import JOBS

REFUSED_SECONDS = 60
"""How long a job waits that Prefect refuses to make a run for, so that it holds up no other."""


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


async def hand_over_now(database: Database, dispatcher: Dispatcher, job_id: UUID) -> bool:
    """Hand one job to Prefect that nobody has yet; False if there is nothing to hand over, or the sweep has to."""
    async with database.transaction() as transaction:
        row = await transaction.one(JOBS["undispatched_job"], id=job_id)
    return row is not None and await _tried(database, dispatcher, Handover.of(row))


async def _tried(database: Database, dispatcher: Dispatcher, handover: Handover) -> bool:
    try:
        await hand_over(database, dispatcher, handover)
    except (PrefectUnavailable, DatabaseUnavailable):
        return False
    return True


class Handovers:
    """Tells Prefect of new jobs in the background, a few at a time; the sweep finds what it misses."""

    def __init__(self, database: Database, dispatcher: Dispatcher, *, at_once: int = 8) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._slots = asyncio.Semaphore(at_once)
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, handover: Handover) -> None:
        """Hand a job over soon."""
        task = asyncio.create_task(self._run(handover))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, handover: Handover) -> None:
        async with self._slots:
            await _tried(self._database, self._dispatcher, handover)

    async def drain(self) -> None:
        """Wait until all that were started are done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

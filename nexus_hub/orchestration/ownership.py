"""The right to carry out a flow run of jobs, which the jobs' rows give without a question to Prefect."""

from enum import Enum
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.execution.shared_runs import SharedRuns
from nexus_hub.jobs.store import JOBS

TAKEN_SECONDS = 15
"""Time that a worker has to begin a run that it took, before others may take it."""


class Ownership(Enum):
    """The process that may carry out a flow run of jobs."""

    ACQUIRED = "this process, and for a while nobody else"
    HELD_ELSEWHERE = "another process, which has said so a moment ago"
    UNKNOWN = "the first process that says so to Prefect"


async def take_run(database: Database, flow_run_id: UUID) -> Ownership:
    """Take a flow run whose jobs have never begun, for `TAKEN_SECONDS`; of all who ask one gets `ACQUIRED`."""
    async with database.transaction() as transaction:
        if await transaction.run(JOBS["take_run"], flow_run_id=flow_run_id):
            return Ownership.ACQUIRED
        # A statement of its own: it sees what another one committed while the first waited for it.
        taken = await transaction.one(JOBS["run_was_taken"], flow_run_id=flow_run_id, seconds=TAKEN_SECONDS)
    return Ownership.UNKNOWN if taken is None else Ownership.HELD_ELSEWHERE


async def take_shared_run(shared_runs: SharedRuns, run_id: object, flow_run_id: UUID) -> Ownership:
    """Take a shared run, unless this process takes jobs for another one that it has just begun."""
    try:
        run = UUID(str(run_id))
    except ValueError:
        return Ownership.UNKNOWN
    if not shared_runs.wants_run():
        return Ownership.HELD_ELSEWHERE
    if await shared_runs.take(run, flow_run_id):
        return Ownership.ACQUIRED
    return Ownership.HELD_ELSEWHERE if await shared_runs.was_taken(run) else Ownership.UNKNOWN

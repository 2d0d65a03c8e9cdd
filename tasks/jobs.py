"""Tasks that read and write jobs."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from nexus_hub.access import users
from nexus_hub.execution.attempt import Attempt, NotClaimed, Outcome
from nexus_hub.execution.run_report import RunReport
from nexus_hub.jobs import submit
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import Principal
from tasks.context import current
from tasks.options import DATABASE_LONG, hub_task


@hub_task("store-job", retry=DATABASE_LONG)
async def store_job(request: JobRequest, user: str, flow_run_id: UUID) -> UUID:
    """Store the job of a flow that a person or a schedule started: one for each flow run."""
    runtime = current()
    bounds = runtime.job_bounds
    once = replace(
        request,
        idempotency_key=f"flow-run:{flow_run_id}",
        timeout_seconds=min(request.timeout_seconds, bounds.timeout_seconds),
    )
    principal = Principal(await users.find(runtime.database, user) if user else None)
    asker = runtime.submission.asker
    job, _ = await submit.submit(runtime.database, principal, once, bounds, flow_run_id=flow_run_id, asker=asker)
    job_id: UUID = job["id"]
    return job_id


@hub_task("claim-job", retry=DATABASE_LONG)
async def claim_job(job_id: UUID, attempt: int, flow_run_id: UUID) -> Attempt | NotClaimed:
    """Take the job for this attempt, or say why not."""
    return await current().execution.claim(job_id, attempt, flow_run_id)


@hub_task("run-jobs")
async def run_jobs(run_id: UUID, flow_run_id: UUID) -> RunReport:
    """Run the jobs that wait in the queue, until there are none, another run takes over, or the worker stops."""
    return await current().shared_runs.run(run_id, flow_run_id)


@hub_task("snooze-job", retry=DATABASE_LONG)
async def snooze_job(attempt: Attempt, delay: float) -> datetime | None:
    """Put the job back for the same attempt, later."""
    return await current().execution.snooze(attempt, delay)


@hub_task("record-job")
async def record_job(attempt: Attempt) -> Outcome:
    """Write down how the attempt ended, however long the database is away."""
    return await current().execution.record(attempt)

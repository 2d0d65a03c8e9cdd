"""An attempt of one job as a flow run: claim, the steps of the call, record."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from pydantic import Field

from flows.artifacts import attach, attempt_page
from flows.run_log import write_duration, write_line
from flows.this_run import rename, wait
from nexus_hub.calls.pipeline import CallSteps
from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.execution.attempt import Attempt, ClaimStale, NotClaimed, Released
from nexus_hub.jobs.requests import JobRequest
from tasks import jobs, mcp_calls, rate_limit, vault
from tasks.context import available
from tasks.failures import TaskFailed

STORE_AGAIN_SECONDS = 15
"""A run that somebody asked for in Prefect tries so often to store its job while the hub's database takes none."""
NO_ARGUMENTS: Any = Field(default={})
"""An optional JSON object: a default of None would hide its editor in Prefect's form behind a choice of types."""


async def _call_upstream(attempt: Attempt) -> None:
    with write_duration("called"):
        await mcp_calls.call_upstream(attempt)


STEPS: CallSteps[Attempt] = CallSteps(vault.open_credentials, rate_limit.take_rate_limit, _call_upstream)
"""The steps of the pipeline as tasks of this flow run, each with its own retries."""


async def run_attempt(job_id: UUID | None, attempt: int, request: JobRequest | None, user: str) -> "State[None]":
    """Run one attempt of a stored job, or store the job that a person asked for and run that."""
    run_id = UUID(flow_run.id)
    async with available() as runtime:
        try:
            if job_id is None:
                if request is None:
                    write_line("ended: invalid-request")
                    return Failed(message="invalid-request: name what to run")
                try:
                    job_id = await jobs.store_job(request, user, run_id)
                except TaskFailed as failure:
                    if failure.code != DatabaseUnavailable.code:
                        raise
                    later = runtime.prefect_client.clock.now() + timedelta(seconds=STORE_AGAIN_SECONDS)
                    return await wait(later, failure.code)
                await rename(request.name, job_id)
            claimed = await jobs.claim_job(job_id, attempt, run_id)
            if isinstance(claimed, NotClaimed):
                return await _not_claimed(claimed)
            write_line("claimed attempt %d of %d of job %s", claimed.number, claimed.job.max_attempts, claimed.id)
            with runtime.execution.hold(claimed):
                return await _work(claimed)
        except TaskFailed as failure:
            write_line("ended: %s", failure)
            return Failed(message=str(failure))


async def _work(attempt: Attempt) -> "State[None]":
    try:
        if seconds := await STEPS.run(attempt):
            return await _snooze(attempt, seconds)
    except TaskFailed as failure:
        if (later := attempt.snooze_seconds) is not None:
            return await _snooze(attempt, later)
        outcome = await jobs.record_job(attempt)
        await attach(attempt_page(attempt, outcome, failure.code), f"{outcome}: {failure.code}")
        return Cancelled() if outcome == "cancelled" else Failed(message=str(failure))
    outcome = await jobs.record_job(attempt)
    await attach(attempt_page(attempt, outcome, None), outcome)
    return _to_state(outcome)


def _to_state(outcome: str) -> "State[None]":
    match outcome:
        case "completed":
            return Completed()
        case "cancelled":
            return Cancelled()
        case _:
            return Failed(message=outcome)


async def _snooze(attempt: Attempt, seconds: float) -> "State[None]":
    reason = attempt.failure.code if attempt.failure else "waits for the server's rate limit"
    available_at = await jobs.snooze_job(attempt, seconds)
    if available_at is None:
        attempt.failure = ClaimStale()
        return _to_state(await jobs.record_job(attempt))
    return await wait(available_at, Released.code if attempt.shutting_down else reason)


async def _not_claimed(claimed: NotClaimed) -> "State[None]":
    if claimed.available_at is not None:
        return await wait(claimed.available_at, "waits until it is due")
    if claimed.status is None:
        write_line("ended: not-found")
        return Failed(message="not-found: there is no such job")
    message = f"nothing to do: the job is {claimed.status}"
    write_line(message)
    match claimed.status:
        case "cancelled":
            return Cancelled(message=message)
        case "failed":
            return Failed(message=message)
        case _:
            return Completed(message=message)

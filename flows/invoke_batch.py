"""Flow `invoke-batch`: a shared run, which carries many jobs."""

from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.artifacts import attach, shared_run_page
from flows.run_log import write_line
from flows.this_run import is_cancelled, rename
from tasks import jobs
from tasks.context import available
from tasks.failures import TaskFailed


@flow(name="invoke-batch", persist_result=False, log_prints=False)
async def invoke_batch(batch_id: UUID | None = None) -> "State[None]":
    """Run the jobs that come together, which the hub alone starts; each has its own row, where its result is.

    Args:
        batch_id: Filled by the hub: the id of this shared run.
    """
    if batch_id is None:
        return Failed(message="invalid-request: the hub starts shared runs; send the jobs to POST /v1/jobs:batch")
    async with available():
        try:
            report = await jobs.run_jobs(batch_id, UUID(flow_run.id))
        except TaskFailed as failure:
            write_line("ended: %s", failure)
            return Failed(message=str(failure))
        await rename("1 job" if report.jobs == 1 else f"{report.jobs} jobs", batch_id)
        await attach(shared_run_page(report), report.summary())
        return Cancelled() if await is_cancelled() else Completed(message=report.summary())

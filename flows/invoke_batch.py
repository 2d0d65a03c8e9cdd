"""Flow `invoke-batch`: run many jobs in one run."""

from datetime import UTC, datetime
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.artifacts import attach, batch_page
from flows.run_log import write_line
from flows.this_run import is_cancelled, wait
from tasks import jobs
from tasks.context import available
from tasks.failures import TaskFailed


@flow(name="invoke-batch", persist_result=False, log_prints=False)
async def invoke_batch(batch_id: UUID | None = None) -> "State[None]":
    """Run the jobs of a batch, which the hub alone starts; each has its own row in `job_results`, where its result is.

    Args:
        batch_id: Filled by the hub: the batch of jobs that this run works on.
    """
    if batch_id is None:
        return Failed(message="invalid-request: the hub starts batches; send the jobs to POST /v1/jobs:batch")
    async with available():
        try:
            report = await jobs.run_batch(batch_id, UUID(flow_run.id))
        except TaskFailed as failure:
            write_line("ended: %s", failure)
            return Failed(message=str(failure))
        write_line("in this process: %s", report.summary())
        if report.unfinished:
            await wait(datetime.now(UTC), "released")
        await attach(batch_page(report), report.summary())
        return Cancelled() if await is_cancelled() else Completed(message=report.summary())

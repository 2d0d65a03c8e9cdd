"""Flow `check-jobs`: say so when `job_results` grows too large."""

from dataclasses import asdict

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.artifacts import attach, facts_table
from flows.this_run import give_up_retries, run_name
from tasks import cleanup
from tasks.context import available
from tasks.failures import TaskFailed

SILENT = {"told", "known", "off"}
"""Ends of telling the webhook that need no word about it."""


@flow(
    name="check-jobs",
    flow_run_name=lambda: run_name("size", otherwise="size"),
    persist_result=False,
    log_prints=False,
    retries=2,
    retry_delay_seconds=60,
    timeout_seconds=300,
)
async def check_jobs() -> "State[None]":
    """Look at the size of `job_results`; past 1,000,000 rows the run fails with the alert as its message.

    The webhook of the settings is told of each change. The counts are those of the views `job_results_alert` and
    `job_results_stats`.
    """
    async with available():
        try:
            alert = await cleanup.read_alert()
            stats = await cleanup.read_stats()
            told = await cleanup.tell_webhook(alert)
        except TaskFailed as failure:
            return Failed(message=str(failure))
    message = f"{alert.status} ({alert.row_count:,} rows)" + (f"; {told}" if told not in SILENT else "")
    await attach(f"# job_results\n\n{message}\n\n{facts_table(asdict(stats))}\n", message, key="check-jobs")
    if alert.status == "OK":
        return Completed(message=message)
    await give_up_retries()
    return Failed(message=message)

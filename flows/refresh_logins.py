"""Flow `refresh-logins`: renew logins at upstream servers ahead of their end."""

from dataclasses import asdict

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.artifacts import attach, facts_table
from flows.this_run import run_name
from tasks import logins
from tasks.context import available
from tasks.failures import TaskFailed


@flow(
    name="refresh-logins",
    flow_run_name=lambda: run_name("due", otherwise="due"),
    persist_result=False,
    log_prints=False,
    retries=2,
    retry_delay_seconds=30,
    timeout_seconds=280,
)
async def refresh_logins() -> "State[None]":
    """Renew the logins at upstream servers that end within ten minutes and were used within a day.

    No call waits for an authorization server then. What can't be renewed just now is renewed by the call that needs it.
    """
    async with available():
        try:
            report = await logins.refresh_due_logins()
        except TaskFailed as failure:
            return Failed(message=str(failure))
    if not report.due:
        return Completed(message="nothing to do")
    message = (
        f"{report.refreshed} of {report.due} logins renewed, {report.needed} need a person, {report.failed} failed"
    )
    await attach(f"# Logins\n\n{facts_table(asdict(report))}\n", message, key="refresh-logins")
    return Completed(message=message)

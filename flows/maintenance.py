"""Steps that all maintenance flows share: one run at a time, mirrored, with an artifact at the end."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.artifacts import attach
from flows.this_run import give_up_retries
from nexus_hub.errors import AtWork, DatabaseUnavailable, RunCancelled
from nexus_hub.models import ServerRef
from nexus_hub.orchestration.mirror import Kind
from tasks import mirror
from tasks.context import available, exclusive_lock
from tasks.failures import TaskFailed

RETRYABLE = {DatabaseUnavailable.code}
"""Codes of what a later try of the same flow run may find mended."""


@dataclass(frozen=True, slots=True)
class RunProblem:
    """Reason that a run counts as failed though it came to its end."""

    code: str
    error: str


class Report(Protocol):
    """Report of a flow: for the row, for people, and in a few words."""

    def as_result(self) -> dict[str, Any]:
        """Give the row's result."""

    def as_markdown(self) -> str:
        """Write the artifact."""

    def summary(self) -> str:
        """Write the message of the run's state."""

    def problem(self) -> RunProblem | None:
        """Name what makes it a failure all the same."""


@dataclass
class MaintenanceRun:
    """A maintenance flow run, as its steps see it."""

    kind: Kind
    job_id: UUID | None
    heartbeats: AsyncExitStack
    row: UUID | None = None

    async def begin(self, params: dict[str, Any], ref: ServerRef | None = None) -> None:
        """Show that there is something to do in `job_results`, with signs of life until the run ends."""
        self.row = await mirror.begin_mirror(self.kind, UUID(flow_run.id), params, self.job_id, ref)
        await self.heartbeats.enter_async_context(mirror.keep_alive(self.row))

    async def on_progress(self, progress: dict[str, Any]) -> None:
        """Note how far it has come; a run that was cancelled stops here."""
        if self.row is not None:
            await mirror.note_mirror(self.row, progress)


Steps = Callable[[MaintenanceRun], Awaitable[Report | None]]


async def run_maintenance(kind: Kind, job_id: UUID | None, steps: Steps) -> "State[None]":
    """Take the steps, unless another run of this flow is at it; a report of None: there was nothing to do."""
    async with available(), AsyncExitStack() as heartbeats:
        run = MaintenanceRun(kind, job_id, heartbeats)
        try:
            async with exclusive_lock(flow_run.flow_name):
                report = await steps(run)
            return await _complete(run, report)
        except TaskFailed as failure:
            return await _fail(run, failure)


async def _complete(run: MaintenanceRun, report: Report | None) -> "State[None]":
    if report is None:
        if run.job_id is not None:
            await run.begin({})
            await mirror.complete_mirror(run.row or run.job_id, {}, None, None)
        return Completed(message="nothing to do")
    problem = report.problem()
    if run.row is not None:
        code, error = (problem.code, problem.error) if problem else (None, None)
        await mirror.complete_mirror(run.row, report.as_result(), code, error)
    await attach(report.as_markdown(), report.summary(), key=flow_run.flow_name)
    if problem is None:
        return Completed(message=report.summary())
    await give_up_retries()
    return Failed(message=f"{problem.code}: {problem.error}")


async def _fail(run: MaintenanceRun, failure: TaskFailed) -> "State[None]":
    if failure.code == RunCancelled.code:
        return Cancelled()
    if failure.code == AtWork.code and run.job_id is None and run.kind != "key_rotation":
        return Completed(message=str(failure))
    if failure.code not in RETRYABLE:
        await give_up_retries()
    if row := run.row or run.job_id:
        with suppress(TaskFailed):  # the reconciler ends the row
            await mirror.fail_mirror(row, failure.code, f"{failure.summary}.")
    return Failed(message=str(failure))


async def close_mirror(_flow: "Flow[..., Any]", run: FlowRun, state: "State[Any]") -> None:
    """Close the row of a run that ended in any way, as a hook."""
    cancelled = state.is_cancelled() or state.is_cancelling()
    code = "cancelled" if cancelled else "timed-out" if state.name == "TimedOut" else "run-lost"
    words = f"The flow run ended as {state.name}."
    await mirror.abandon_mirror(run.id, "cancelled" if cancelled else "failed", code, words)


HOOKS: dict[str, Any] = {"on_failure": [close_mirror], "on_crashed": [close_mirror], "on_cancellation": [close_mirror]}

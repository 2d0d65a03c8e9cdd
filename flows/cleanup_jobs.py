"""Flow `cleanup-jobs`: fail orphans, then delete what ended long ago."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State

from flows.artifacts import facts_table
from flows.maintenance import HOOKS, MaintenanceRun, RunProblem, run_maintenance
from flows.parameters import KEEP_ENDED, KEEP_ORPHANED, Days
from flows.this_run import run_name
from nexus_hub.orchestration.cleanup import CleanupReport
from tasks import cleanup, vault


@flow(
    name="cleanup-jobs",
    flow_run_name=lambda: run_name("{days_completed} and {days_orphaned} days", otherwise="days"),
    persist_result=False,
    log_prints=False,
    retries=2,
    retry_delay_seconds=60,
    timeout_seconds=6 * 3600,
    **HOOKS,
)
async def cleanup_jobs(
    days_completed: Days = KEEP_ENDED,
    days_orphaned: Days = KEEP_ORPHANED,
    job_id: UUID | None = None,
) -> "State[None]":
    """Delete jobs that ended long ago; what has given no sign of life is failed with a reason first.

    Live jobs are never touched. Old backups of rotations, old rate-limit rows, old entries of the audit, and tokens and
    grants of OAuth clients that are over go too.

    Args:
        days_completed: How many days ended jobs are kept, 0 to 3650; 0 means 0.
        days_orphaned: After how many days of silence a job is an orphan, and how many days it is kept after that.
        job_id: Filled by the hub: the stored row that this run carries out.
    """

    async def steps(run: MaintenanceRun) -> CleanupPage:
        await cleanup.check_days(days_completed, days_orphaned)
        await run.begin({"days_completed": days_completed, "days_orphaned": days_orphaned})
        report = await cleanup.clean_up(days_completed, days_orphaned, run.on_progress)
        backups = await vault.purge_backups()
        await cleanup.purge_rate_limits()
        await cleanup.purge_audit()
        await cleanup.purge_grants()
        return CleanupPage(report, backups)

    return await run_maintenance("job_cleanup", job_id, steps)


@dataclass(frozen=True, slots=True)
class CleanupPage:
    """Page on a clean-up that has come to its end."""

    report: CleanupReport
    backups: int

    def as_result(self) -> dict[str, Any]:
        """Give the row's result."""
        return {**self.report.as_counts(), "orphans_failed": self.report.orphans_failed}

    def as_markdown(self) -> str:
        """Write the artifact."""
        facts = {
            "orphans failed": self.report.orphans_failed,
            "ended jobs deleted": self.report.deleted_completed,
            "failed orphans deleted": self.report.deleted_orphaned,
            "deleted in all": self.report.total_deleted,
            "old backups of key rotations deleted": self.backups,
            "seconds": f"{self.report.seconds:.1f}",
        }
        return f"# Clean-up\n\n{facts_table(facts)}\n"

    def summary(self) -> str:
        """Write the message of the run's state."""
        return f"{self.report.total_deleted} jobs deleted, {self.report.orphans_failed} orphans failed"

    def problem(self) -> RunProblem | None:
        """Name none: what could not be done ends the run."""
        return None

"""Tasks that clean up, and look at how large things are."""

from nexus_hub.audit import store as audit
from nexus_hub.authorization import grants
from nexus_hub.jobs import monitoring
from nexus_hub.orchestration.alert_webhook import AlertWebhook
from nexus_hub.orchestration.cleanup import CleanupReport, parse_days
from nexus_hub.orchestration.webhooks import AlertUndelivered
from nexus_hub.steps import OnProgress
from tasks.context import current
from tasks.failures import codes_only
from tasks.options import DATABASE, hub_task
from tasks.steps import run_step_as_task


@codes_only
async def check_days(days_completed: object, days_orphaned: object) -> None:
    """Refuse days outside the range; too small for a task run of its own."""
    parse_days("days_completed", days_completed)
    parse_days("days_orphaned", days_orphaned)


@codes_only
async def clean_up(days_completed: int, days_orphaned: int, on_progress: OnProgress) -> CleanupReport:
    """Fail orphans, then delete what ended long ago, each step as a task of its own."""
    return await current().cleanup.run(days_completed, days_orphaned, on_progress, step=run_step_as_task)


@hub_task("purge-rate-limits", retry=DATABASE)
async def purge_rate_limits() -> int:
    """Delete the counts of calls that no limit looks at any more."""
    return await current().limiter.purge()


@hub_task("purge-audit", retry=DATABASE)
async def purge_audit() -> int:
    """Delete entries of the audit that are older than the settings say."""
    return await audit.purge(current().database, current().settings.audit_days)


@hub_task("purge-grants", retry=DATABASE)
async def purge_grants() -> int:
    """Delete tokens, grants and requests of OAuth clients that are over, and clients that nobody uses."""
    return await grants.purge(current().database)


@hub_task("read-alert", retry=DATABASE)
async def read_alert() -> monitoring.TableAlert:
    """Check if `job_results` has grown too large."""
    return await monitoring.table_alert(current().database)


@hub_task("read-stats", retry=DATABASE)
async def read_stats() -> monitoring.JobStats:
    """Count the jobs of each state."""
    return await monitoring.stats(current().database)


@hub_task("tell-webhook", retry=DATABASE)
async def tell_webhook(alert: monitoring.TableAlert) -> str:
    """Tell the webhook of the alert's state, if that has changed; what has come of it."""
    runtime = current()
    try:
        return await AlertWebhook(runtime.database, runtime.settings).tell(alert)
    except AlertUndelivered as error:  # the alert is there all the same, and the next look tries again
        return error.code

"""Tasks that clean up, and look at how large things are."""

from typing import Any

from nexus_hub.jobs import monitoring
from nexus_hub.orchestration.cleanup import checked_days
from nexus_hub.orchestration.mirror import OnProgress
from tasks.context import current
from tasks.failures import codes_only
from tasks.options import DATABASE, hub_task


@codes_only
async def check_days(days_completed: object, days_orphaned: object) -> None:
    """Refuse days outside the range; too small for a task run of its own."""
    checked_days("days_completed", days_completed)
    checked_days("days_orphaned", days_orphaned)


@hub_task("fail-orphans", retry=DATABASE)
async def fail_orphans(days_orphaned: int) -> int:
    """Fail what has given no sign of life for so long, with a reason; how many that were."""
    return await current().cleanup.fail_orphans(days_orphaned)


@hub_task("delete-ended-jobs")
async def delete_ended(days_completed: int, on_progress: OnProgress) -> int:
    """Delete what ended that long ago, batch by batch; the flow's own retries go on where it stopped."""
    return await current().cleanup.delete_ended(days_completed, on_progress)


@hub_task("delete-orphans")
async def delete_orphaned(days_orphaned: int, on_progress: OnProgress) -> int:
    """Delete what failed as an orphan that long ago."""
    return await current().cleanup.delete_orphaned(days_orphaned, on_progress)


@hub_task("purge-rate-limits", retry=DATABASE)
async def purge_rate_limits() -> int:
    """Delete the counts of calls that no limit looks at any more."""
    return await current().limiter.purge()


@hub_task("read-alert", retry=DATABASE)
async def read_alert() -> dict[str, Any]:
    """Whether `job_results` has grown too large."""
    return await monitoring.table_alert(current().database)


@hub_task("read-stats", retry=DATABASE)
async def read_stats() -> dict[str, Any]:
    """How many jobs there are of each state."""
    return await monitoring.stats(current().database)
